"""What one gateway counted for one model version, and the exact merge of many such counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.outcome import BLAMED, Outcome

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since the gateway started, all integers, so that merging is exact in any order and grouping.

    Attributes:
        model_id: the model; "" for requests that never reached one (a wrong path, a missing key).
        version: the version; "" likewise.
        counts: answers by `Outcome` value; absent means none.
        codes: answers by HTTP status.
        latency: time from a request's arrival to its answer, of answers that the version had a part in (a client's
            mistake or a full queue is quick and would hide a slow version).
        rows: rows of requests that were answered with predictions.
        batch_sizes: calls by the bit length of their number of rows: key `k` counts `2**(k-1)` to `2**k - 1` rows.
        batch_rows: rows of all calls together.
        retries: calls repeated because their replica died.
        in_flight: requests queued or being answered at the moment (a gauge; merging adds them).
        queued: of these, the ones that wait for a call.
    """

    model_id: str
    version: str
    counts: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[int, int] = field(default_factory=dict)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    rows: int = 0
    batch_sizes: Mapping[int, int] = field(default_factory=dict)
    batch_rows: int = 0
    retries: int = 0
    in_flight: int = 0
    queued: int = 0

    @property
    def total(self) -> int:
        """All answers."""
        return sum(self.counts.values())

    @property
    def blamed(self) -> int:
        """Answers that count against the version: model errors, timeouts, no healthy replica."""
        return sum(self.counts.get(outcome, 0) for outcome in BLAMED)

    @property
    def error_rate(self) -> float | None:
        """Blamed answers over blamed and good ones; None when there is neither."""
        judged = self.blamed + self.counts.get(Outcome.OK, 0)
        return self.blamed / judged if judged else None


def merge(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """One snapshot for each model version, ordered by model and version.

    >>> one = Snapshot("m", "1.0.0", counts={"ok": 2}, rows=2)
    >>> merge([one, one]) == [Snapshot("m", "1.0.0", counts={"ok": 4}, rows=4)]
    True
    """
    groups: dict[tuple[str, str], list[Snapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault((snapshot.model_id, snapshot.version), []).append(snapshot)
    return [_merge_group(model_id, version, group) for (model_id, version), group in sorted(groups.items())]


def _merge_group(model_id: str, version: str, group: list[Snapshot]) -> Snapshot:
    return Snapshot(
        model_id,
        version,
        counts=_add(one.counts for one in group),
        codes=_add(one.codes for one in group),
        latency=LatencyHistogram.merge(one.latency for one in group),
        rows=sum(one.rows for one in group),
        batch_sizes=_add(one.batch_sizes for one in group),
        batch_rows=sum(one.batch_rows for one in group),
        retries=sum(one.retries for one in group),
        in_flight=sum(one.in_flight for one in group),
        queued=sum(one.queued for one in group),
    )


def _add(parts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    total: Counter[K] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
