"""The push of a source to the Monitor: the counts since its last push, and the source's identity, as plain bytes.

A source is one process: a replica, which pushes the rows that it folded, or a gateway, which pushes its counts since it
started. A push has one member for each source: one if a source pushes itself, several if the aggregator of a node has
merged them (`streamb.monitoring.collection.tree`). Each member, not each push, is counted once.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any, Final, TypeAlias

import msgpack

from streamb.errors import InvalidInput
from streamb.metrics import LatencyHistogram, Snapshot
from streamb.monitoring.profiles.profile import Profile
from streamb.monitoring.profiles.sketch import Sketch

VersionKey: TypeAlias = tuple[str, str]
"""`(model_id, version)`."""

SourceName: TypeAlias = tuple[str, str]
"""`(source, incarnation)`."""

Counts: TypeAlias = Profile | Sketch
"""Folded rows: a profile in a baseline's bins, or a sketch without a baseline."""

_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, zlib.error)


@dataclass(frozen=True, slots=True)
class Member:
    """The identity of one push of one source.

    Attributes:
        source: the id of the process, never used again on the platform.
        incarnation: the id of the collector in it; a new one begins at sequence 1.
        sequence: 1, 2, 3… of this incarnation; a number that was counted is never counted again.
        model_id, version: what a replica runs; "" for a gateway, which serves all of them.
        baseline_id: the baseline that it folds by; "" if there is none.
        leaving: whether the process ends on purpose, so that this is its last push.
    """

    source: str
    incarnation: str
    sequence: int
    model_id: str = ""
    version: str = ""
    baseline_id: str = ""
    leaving: bool = False

    @property
    def key(self) -> VersionKey:
        """The model version: `(model_id, version)`."""
        return self.model_id, self.version

    @property
    def name(self) -> SourceName:
        """The source's name: `(source, incarnation)`."""
        return self.source, self.incarnation


@dataclass(frozen=True, slots=True)
class PaneCounts:
    """The folded rows of one model version in one minute, by one baseline.

    Attributes:
        pane: the minute, in minutes since the epoch.
        baseline_id: the baseline in whose bins `data` counts; "" if `data` is a `Sketch`.
        data: the `Profile` or `Sketch` as bytes; empty if no row could be folded.
        rows: the number of folded rows.
        dropped: the number of rows that were skipped, because more came than could be folded.
        unreadable: the number of rows that do not fit the baseline.
    """

    model_id: str
    version: str
    pane: int
    baseline_id: str
    data: bytes
    rows: int = 0
    dropped: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class SourceOutcomes:
    """The counts of one gateway since it started.

    Attributes:
        data: its snapshots, from `pack_snapshots`.
    """

    source: str
    incarnation: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Push:
    """The counts that are sent to the Monitor in one call.

    Attributes:
        members: the sources whose counts are in the push; never empty.
        panes: their folded rows, added up.
        outcomes: the counts of gateways; never merged, since they are totals and not differences.
    """

    members: tuple[Member, ...]
    panes: tuple[PaneCounts, ...] = ()
    outcomes: tuple[SourceOutcomes, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the push has no counts, and only shows that the sources are alive."""
        return not self.panes and not self.outcomes


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to a push; its receiver may discard the counts of the push.

    Attributes:
        counted_before: members that had been counted already, in a push that also has others. Then *nothing* of this
            push was counted, and it must be sent again without them. Always empty for a push with one member.
        baselines: the bytes of the baseline in force, for versions of members that fold by another one.
        through_node: whether there are so many sources that they should push to the aggregator of their node.
    """

    counted_before: tuple[Member, ...] = ()
    baselines: Mapping[VersionKey, bytes] = field(default_factory=dict)
    through_node: bool = False


def decode_counts(counts: PaneCounts) -> Counts | None:
    """Return the counts in a pane; None if no row could be folded.

    Raises:
        StreambError: the bytes are damaged.
    """
    return read_counts(counts.baseline_id, counts.data) if counts.data else None


def read_counts(baseline_id: str, data: bytes) -> Counts:
    """Return counts from their bytes: a `Profile` if there is a baseline, else a `Sketch`."""
    return Profile.from_bytes(data) if baseline_id else Sketch.from_bytes(data)


def added(parts: Iterable[Counts | None]) -> Counts | None:
    """Return the sum of profiles of one baseline, or of sketches; None if no row could be folded."""
    found = [one for one in parts if one is not None]
    return reduce(operator.add, found) if found else None


def pack_snapshots(snapshots: Iterable[Snapshot]) -> bytes:
    """Return snapshots as bytes, for `unpack_snapshots`."""
    return zlib.compress(_dumps([_snapshot_to_plain(snapshot) for snapshot in snapshots]), 1)


def unpack_snapshots(data: bytes) -> tuple[Snapshot, ...]:
    """Return the snapshots from the result of `pack_snapshots`.

    Raises:
        InvalidInput: the bytes are damaged.
    """
    try:
        return tuple(_snapshot_from_plain(one) for one in _loads(zlib.decompress(data)))
    except _BROKEN as error:
        raise InvalidInput(f"these snapshots are damaged: {error}") from error


def encode_push(push: Push, at: float) -> bytes:
    """Return a push and the time of its arrival as bytes, for the log and `decode_push`."""
    return _dumps([at, *([_in_order(one) for one in listed] for listed in (push.members, push.panes, push.outcomes))])


def decode_push(record: bytes) -> tuple[Push, float]:
    """Return the push and the time of its arrival from the result of `encode_push`.

    Raises:
        InvalidInput: the bytes are damaged.
    """
    try:
        at, members, panes, outcomes = _loads(record)
        return Push(
            tuple(Member(*one) for one in members),
            tuple(PaneCounts(*one) for one in panes),
            tuple(SourceOutcomes(*one) for one in outcomes),
        ), float(at)
    except _BROKEN as error:
        raise InvalidInput(f"this push is damaged: {error}") from error


def _in_order(record: Member | PaneCounts | SourceOutcomes) -> list[Any]:
    return [getattr(record, name) for name in record.__slots__]


def _snapshot_to_plain(snapshot: Snapshot) -> dict[str, Any]:
    """The fields by name, without empty ones, since a file may be read by a release with other fields.

    The counts by caller are for rollouts only.
    """
    found: dict[str, Any] = {}
    for one in fields(Snapshot):
        if one.name == "callers":
            continue
        value = getattr(snapshot, one.name)
        if isinstance(value, LatencyHistogram):
            value = [value.buckets, value.total_ns] if value.buckets else None
        elif isinstance(value, Mapping):
            value = dict(value)
        if value:
            found[one.name] = value
    return found


def _snapshot_from_plain(plain: Mapping[str, Any]) -> Snapshot:
    known: dict[str, Any] = {"model_id": "", "version": ""}
    for one in fields(Snapshot):
        if one.name in plain:
            value = plain[one.name]
            if isinstance(value, list):
                value = LatencyHistogram(tuple((index, count) for index, count in value[0]), value[1])
            known[one.name] = value
    return Snapshot(**known)


def _dumps(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, default=_wide)
    return data


def _loads(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False, ext_hook=_narrow)


_BIG_INTEGER: Final = 1
"""Sums may pass 64 bits: as an extension, signed and big-endian."""


def _wide(value: Any) -> Any:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise TypeError(f"{type(value).__name__} cannot be pushed")


def _narrow(code: int, data: bytes) -> Any:
    if code == _BIG_INTEGER:
        return int.from_bytes(data, "big", signed=True)
    raise ValueError(f"unknown extension {code}")
