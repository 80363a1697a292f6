"""The state of an aggregator, as one immutable value and as bytes."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, Final, TypeAlias

import msgpack

from streamb.errors import ArtifactCorrupt, StreambError
from streamb.metrics.windows import ByVersion, Report, WindowsState, by_version
from streamb.monitoring.collection.push import Counts, Member, VersionKey, pack_snapshots, read_counts, unpack_snapshots
from streamb.monitoring.collection.sources import SourceState

_FORMAT: Final = 1

SeriesKey: TypeAlias = tuple[str, str, str]
"""`(model_id, version, baseline_id)`."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The number of rows of one model version since monitoring began, by how they were counted.

    Attributes:
        rows: rows that were counted.
        dropped: rows that their replica skipped, because it got more than it could fold.
        unreadable: rows that do not fit the baseline.
        late: rows that were folded, but pushed after their minute was closed.
        damaged: rows that were pushed in unreadable bytes.
    """

    rows: int = 0
    dropped: int = 0
    unreadable: int = 0
    late: int = 0
    damaged: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum of both."""
        return Totals(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class AggregatorState:
    """The whole state of an aggregator, to be kept over a restart.

    Attributes:
        at: the latest time that it has seen, seconds since the epoch.
        sources: the last push of every source.
        totals: the rows of each version since monitoring began.
        series: the panes of each series, the oldest first.
        outcomes: the outcomes of requests.
    """

    at: float = 0.0
    sources: tuple[SourceState, ...] = ()
    totals: Mapping[VersionKey, Totals] = field(default_factory=dict)
    series: Mapping[SeriesKey, tuple[tuple[int, Counts], ...]] = field(default_factory=dict)
    outcomes: WindowsState = field(default_factory=WindowsState)


def encode_state(state: AggregatorState) -> bytes:
    """Return a state as bytes, for `decode_state`."""
    outcomes = state.outcomes
    body = {
        "format": _FORMAT,
        "at": state.at,
        "sources": [[list(astuple(one.member)), one.at] for one in state.sources],
        "totals": [[*key, list(astuple(totals))] for key, totals in state.totals.items()],
        "series": [
            [*key, [[pane, counts.to_bytes()] for pane, counts in panes]] for key, panes in state.series.items()
        ],
        "outcomes": [
            [[name, one.at, pack_snapshots(one.counts.values())] for name, one in outcomes.sources.items()],
            [[name, one.at, pack_snapshots(one.counts.values())] for name, one in outcomes.gone.items()],
            [[second, pack_snapshots(counts.values())] for second, counts in outcomes.buckets.items()],
            pack_snapshots(outcomes.totals.values()),
        ],
    }
    data: bytes = msgpack.packb(body)
    return data


def decode_state(data: bytes) -> AggregatorState:
    """Return the state from the result of `encode_state`.

    Raises:
        ArtifactCorrupt: the bytes are damaged, or from a newer streamb.
    """
    try:
        body: dict[str, Any] = msgpack.unpackb(data)
        if body["format"] != _FORMAT:
            raise ArtifactCorrupt(f"the Monitor's state has format {body['format']}; this streamb reads {_FORMAT}")
        sources, gone, buckets, totals = body["outcomes"]
        return AggregatorState(
            at=float(body["at"]),
            sources=tuple(SourceState(Member(*member), float(at)) for member, at in body["sources"]),
            totals={(model, version): Totals(*numbers) for model, version, numbers in body["totals"]},
            series={
                (model, version, baseline_id): tuple((pane, read_counts(baseline_id, one)) for pane, one in panes)
                for model, version, baseline_id, panes in body["series"]
            },
            outcomes=WindowsState(
                {name: Report(at, _read(counts)) for name, at, counts in sources},
                {name: Report(at, _read(counts)) for name, at, counts in gone},
                {second: _read(counts) for second, counts in buckets},
                _read(totals),
            ),
        )
    except (ValueError, TypeError, KeyError, IndexError, zlib.error) as error:
        raise ArtifactCorrupt(f"the Monitor's state cannot be read: {error!r}") from error
    except StreambError as error:
        raise ArtifactCorrupt(f"the Monitor's state cannot be read: {error.message}") from error


def _read(data: bytes) -> ByVersion:
    return by_version(unpack_snapshots(data))
