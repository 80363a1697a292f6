"""What sources tell the Monitor: integers counted since their last push, and who they are. All of it plain bytes.

A source is one process: a replica, which pushes what it folded, or a gateway, which pushes all it counted since it
started. A push has one member for each source in it: one where a source pushes by itself, many where an aggregator of
a node has merged several (`streamb.monitoring.collection.tree`). Members, not pushes, are what is counted once.
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
"""What was folded: by a baseline's bins, or without one."""

_BROKEN: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, zlib.error)


@dataclass(frozen=True, slots=True)
class Member:
    """One push of one source, by name.

    Attributes:
        source: the process; unique over the platform's life.
        incarnation: what counts in it; a new one begins at sequence 1.
        sequence: 1, 2, 3… of this incarnation. A number that was counted before is never counted again.
        model_id, version: of a replica; "" for a gateway, which answers for all of them.
        baseline_id: the baseline it folds by; "" for none.
        leaving: it ends on purpose, and this was its last push.
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
        """The model version."""
        return self.model_id, self.version

    @property
    def name(self) -> SourceName:
        """Which counts of which process."""
        return self.source, self.incarnation


@dataclass(frozen=True, slots=True)
class PaneCounts:
    """What was folded for one model version in one minute, by one baseline.

    Attributes:
        pane: minutes since the epoch.
        baseline_id: of the baseline whose bins `data` counts; "" where `data` is a `Sketch`.
        data: the `Profile` or `Sketch` as bytes; empty where no row could be folded.
        rows: rows that were folded.
        dropped: rows that were not looked at, because more came than could be folded.
        unreadable: rows that do not fit the baseline.
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
    """What one gateway counted since it started.

    Attributes:
        data: its snapshots, from `pack_snapshots`.
    """

    source: str
    incarnation: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Push:
    """What goes to the Monitor in one call.

    Attributes:
        members: the sources whose counts are in it; never empty.
        panes: what they folded, together.
        outcomes: what gateways counted; never merged, since it is a standing and no difference.
    """

    members: tuple[Member, ...]
    panes: tuple[PaneCounts, ...] = ()
    outcomes: tuple[SourceOutcomes, ...] = ()

    @property
    def empty(self) -> bool:
        """True where nothing was counted: it only says that the sources are alive."""
        return not self.panes and not self.outcomes


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to a push; whoever gets it may forget what the push held.

    Attributes:
        counted_before: members that had been counted already, in a push that had other ones, too. *Nothing* of this
            push was counted then: it has to come again without them. Never said of a push with one member.
        baselines: the bytes of the baseline in force, for versions of members that fold by another one.
        through_node: there are so many sources that they should push to the aggregator of their node.
    """

    counted_before: tuple[Member, ...] = ()
    baselines: Mapping[VersionKey, bytes] = field(default_factory=dict)
    through_node: bool = False


def decode_counts(counts: PaneCounts) -> Counts | None:
    """What a pane holds; None where no row could be folded.

    Raises:
        StreambError: the bytes are damaged.
    """
    return read_counts(counts.baseline_id, counts.data) if counts.data else None


def read_counts(baseline_id: str, data: bytes) -> Counts:
    """Counts from their bytes: a `Profile` where there is a baseline, else a `Sketch`."""
    return Profile.from_bytes(data) if baseline_id else Sketch.from_bytes(data)


def added(parts: Iterable[Counts | None]) -> Counts | None:
    """The sum of counts by one baseline, or of sketches; None where no row could be folded."""
    found = [one for one in parts if one is not None]
    return reduce(operator.add, found) if found else None


def pack_snapshots(snapshots: Iterable[Snapshot]) -> bytes:
    """Snapshots as bytes."""
    return zlib.compress(_dumps([_snapshot_to_plain(snapshot) for snapshot in snapshots]), 1)


def unpack_snapshots(data: bytes) -> tuple[Snapshot, ...]:
    """Read what `pack_snapshots` wrote.

    Raises:
        InvalidInput: the bytes are damaged.
    """
    try:
        return tuple(_snapshot_from_plain(one) for one in _loads(zlib.decompress(data)))
    except _BROKEN as error:
        raise InvalidInput(f"these snapshots are damaged: {error}") from error


def encode_push(push: Push, at: float) -> bytes:
    """A push with the moment of its arrival, for the file."""
    return _dumps([at, *([_in_order(one) for one in listed] for listed in (push.members, push.panes, push.outcomes))])


def decode_push(record: bytes) -> tuple[Push, float]:
    """Read what `encode_push` wrote.

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
    """By name, without what is empty: fields come and go between releases, files stay."""
    found: dict[str, Any] = {}
    for one in fields(Snapshot):
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
