"""What an aggregator knows, as one immutable value and as bytes."""

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
    """Rows of one model version since monitoring began, by what became of them.

    Attributes:
        rows: counted.
        dropped: not looked at by their replica, because more came than it could fold.
        unreadable: do not fit the baseline.
        late: folded, but told so late that their minute was closed.
        damaged: told in bytes that could not be read.
    """

    rows: int = 0
    dropped: int = 0
    unreadable: int = 0
    late: int = 0
    damaged: int = 0

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class AggregatorState:
    """All that an aggregator knows, to be kept over a restart.

    Attributes:
        at: the newest moment that it has seen.
        series: the panes of each series, the oldest first.
    """

    at: float = 0.0
    sources: tuple[SourceState, ...] = ()
    totals: Mapping[VersionKey, Totals] = field(default_factory=dict)
    series: Mapping[SeriesKey, tuple[tuple[int, Counts], ...]] = field(default_factory=dict)
    outcomes: WindowsState = field(default_factory=WindowsState)


def encode_state(state: AggregatorState) -> bytes:
    """A state as bytes; `decode_state` reads them."""
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
    """Read what `encode_state` wrote.

    Raises:
        ArtifactCorrupt: the bytes are damaged, or of a newer streamb.
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
