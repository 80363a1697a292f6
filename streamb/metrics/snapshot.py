"""The counts of one gateway for one model version, with exact merging and differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from streamb.metrics import callers
from streamb.metrics.callers import Callers
from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.outcome import BLAMED, Outcome
from streamb.metrics.predictions import NAN, OTHER, Prediction, bounded

FEEDBACK_COUNTS: Final = (
    *("labels", "correct", "successes", "failures", "values"),
    *("duplicates", "late", "orphans", "unjoinable", "ambiguous", "foreign", "pinned"),
)
"""The counters of feedback; from `duplicates` on, of feedback that is no evidence."""

FEEDBACK_SUMS: Final = ("value_micro", "error_micro", "squared_error_micro")
"""The sums of feedback, in millionths."""

SHADOW_COUNTS: Final = ("sent", "compared", "disagreed", "retyped", "slower", "failed", "refused", "dropped")
"""The counters of requests that are copied to a shadow version."""

_SIGNED: Final = frozenset({"value_micro"})
"""Sums that may decrease: the values that clients report may be negative."""

_NOT_COUNTED: Final = frozenset({"model_id", "version", "in_flight", "queued", "overdue"})
"""Fields that are gauges: present values, not counts."""

_CALLERS: Final = "callers"
_TOLD: Final = "told"
Told: TypeAlias = tuple[str, Mapping[str, int]]
"""Who told something, and what it adds to which counters of feedback."""

_PREDICTIONS: Final = ("predictions", "shadow_predictions", "shadow_expected")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since the gateway started, all integers, so that merging is exact in any order and grouping.

    In mappings, a missing key means 0, and zero counts are left out.

    Attributes:
        model_id: the model; "" for requests that never reached one (a wrong path, a missing key).
        version: the version; "" for requests that never reached one.
        counts: answers by `Outcome` value.
        codes: answers by HTTP status.
        latency: time from a request's arrival to its answer, of answers that the version had a part in (a client's
            mistake or a full queue is quick and would hide a slow version).
        rows: rows of requests that were answered with predictions.
        batch_sizes: calls by the bit length of their number of rows: key `k` counts `2**(k-1)` to `2**k - 1` rows.
        batch_rows: rows of all calls together.
        retries: calls repeated because their replica died.
        in_flight: requests queued or being answered at the moment (a gauge; merging adds them).
        queued: of these, the ones that wait for a call.
        fallbacks: requests of this version that its fallback answered.
        predictions: predictions by class label or by bucket of numbers (`streamb.metrics.predictions`).
        feedback: counts and sums of feedback: `FEEDBACK_COUNTS` and `FEEDBACK_SUMS`.
        shadow: results of copied requests: `SHADOW_COUNTS`.
        shadow_difference: relative differences of the shadow's numbers from the answer's (a histogram of plain numbers,
            not of seconds).
        overdue: of the requests in flight, the ones that have waited longer than the version should take (a gauge).
        disturbed: successful answers that are not in `latency`, because they waited for a replica that had died.
        waited_ns: time that requests waited for a call, in nanoseconds, summed over all requests: its increase per
            nanosecond is the mean length of the queue.
        shadow_predictions: predictions for copied requests, as `predictions`.
        shadow_expected: what the version that answered the client predicted for the same requests.
        aside: answers by `Outcome` value to requests whose version was named or overridden: they are no evidence, and
            are in none of the other counts but `codes`, `batch_sizes`, `batch_rows` and the gauges.
        callers: part of the counts by caller (`metrics.callers`).
        told: the newest feedback on answers that any gateway may be told of: by the answer and the field, who told it
            and what it counts. Whoever adds up gateways counts each once (`metrics.windows`).
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
    fallbacks: int = 0
    predictions: Mapping[Prediction, int] = field(default_factory=dict)
    feedback: Mapping[str, int] = field(default_factory=dict)
    shadow: Mapping[str, int] = field(default_factory=dict)
    shadow_difference: LatencyHistogram = field(default_factory=LatencyHistogram)
    overdue: int = 0
    disturbed: int = 0
    waited_ns: int = 0
    shadow_predictions: Mapping[Prediction, int] = field(default_factory=dict)
    shadow_expected: Mapping[Prediction, int] = field(default_factory=dict)
    aside: Mapping[str, int] = field(default_factory=dict)
    callers: Callers = field(default_factory=dict)
    told: Mapping[int, Told] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of all answers."""
        return sum(self.counts.values())

    @property
    def ok(self) -> int:
        """The number of answers with predictions."""
        return self.counts.get(Outcome.OK, 0)

    @property
    def blamed(self) -> int:
        """The number of answers that count against the version: model errors, timeouts, no healthy replica."""
        return sum(self.counts.get(outcome, 0) for outcome in BLAMED)

    @property
    def judged(self) -> int:
        """The number of answers that say something about the version: successful ones and blamed ones."""
        return self.ok + self.blamed

    @property
    def refused(self) -> int:
        """The number of requests not sent to the version because its circuit breaker was open."""
        return self.counts.get(Outcome.REFUSED, 0)

    @property
    def client_errors(self) -> int:
        """The number of requests that were refused as the client's mistake."""
        return self.counts.get(Outcome.CLIENT_ERROR, 0)

    @property
    def error_rate(self) -> float | None:
        """The share of blamed answers among judged ones, 0 to 1; None if there are none."""
        return self.blamed / judged if (judged := self.judged) else None

    @property
    def labels(self) -> set[str]:
        """The names of the class labels that are counted in it."""
        return {key for name in _PREDICTIONS for key in getattr(self, name) if isinstance(key, str)} - {OTHER, NAN}

    def with_labels(self, kept: set[str]) -> Snapshot:
        """Return the snapshot with the labels in `kept` counted by name, and all others as "other".

        Args:
            kept: the names that this version has anywhere the snapshot is added to; new ones are added while there is
                room (`streamb.metrics.predictions.bounded`).
        """
        if self.labels <= kept:
            return self
        changes: dict[str, Any] = {name: bounded(getattr(self, name), kept) for name in _PREDICTIONS}
        return replace(self, **changes)

    def less_told(self, told: Iterable[Told]) -> Snapshot:
        """Return the counts without some feedback."""
        feedback, tallies = Counter(self.feedback), {caller: Counter(tally) for caller, tally in self.callers.items()}
        for caller, counts in told:
            feedback.subtract(counts)
            if caller in tallies:
                tallies[caller].subtract(counts)
        kept = {caller: {key: n for key, n in tally.items() if n > 0} for caller, tally in tallies.items()}
        left = {key: n for key, n in feedback.items() if n > 0 or (n and key in _SIGNED)}
        return replace(self, feedback=left, callers=kept)

    def minus(self, earlier: Snapshot) -> Snapshot:
        """Return the counts since `earlier`; adding `earlier` again gives exactly this snapshot.

        The gauges are the present ones. A counter that is lower than before belongs to a source that restarted and
        counts from zero: then everything here is new.

        Raises:
            ValueError: `earlier` is of another model version.

        >>> Snapshot("m", "1", rows=5, counts={"ok": 3}).minus(Snapshot("m", "1", rows=3, counts={"ok": 3}))
        ... # doctest: +ELLIPSIS
        Snapshot(model_id='m', version='1', counts={}, codes={}, ... rows=2, ...)
        """
        if (self.model_id, self.version) != (earlier.model_id, earlier.version):
            raise ValueError(f"{earlier.model_id} {earlier.version} is not {self.model_id} {self.version}")
        try:
            return Snapshot(*(_less(name, getattr(self, name), getattr(earlier, name)) for name in self.__slots__))
        except ValueError:
            return self


def merge(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Merge snapshots into one for each model version, ordered by model and version.

    >>> one = Snapshot("m", "1.0.0", counts={"ok": 2}, rows=2)
    >>> merge([one, one]) == [Snapshot("m", "1.0.0", counts={"ok": 4}, rows=4)]
    True
    """
    groups: dict[tuple[str, str], list[Snapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault((snapshot.model_id, snapshot.version), []).append(snapshot)
    return [merge_version(model_id, version, group) for (model_id, version), group in sorted(groups.items())]


def merge_version(model_id: str, version: str, group: Iterable[Snapshot]) -> Snapshot:
    """Merge the snapshots of one model version; an empty snapshot if there are none."""
    group = list(group)
    if not group:
        return Snapshot(model_id, version)
    names = Snapshot.__slots__[2:]
    return Snapshot(model_id, version, *(_sum(name, [getattr(one, name) for one in group]) for name in names))


def _sum(name: str, values: list[Any]) -> Any:
    """What a field of several snapshots comes to: every kind of counter knows how it adds up."""
    if name == _CALLERS:
        return callers.added(values)
    if name == _TOLD:
        return {}
    if isinstance(values[0], int):
        return sum(values)
    if isinstance(values[0], LatencyHistogram):
        return LatencyHistogram.merge(values)
    total: Counter[Any] = Counter()
    for part in values:
        total.update(part)
    return {key: count for key, count in total.items() if count}


def _less(name: str, later: Any, earlier: Any) -> Any:
    """What was added to a field; ValueError where it went back. Names and gauges are the later ones."""
    if name in _NOT_COUNTED:
        return later
    if name == _CALLERS:
        return callers.since(later, earlier)
    if name == _TOLD:
        return {}
    if isinstance(later, LatencyHistogram):
        return later.minus(earlier)
    if isinstance(later, int):
        return _risen(later - earlier)
    difference = Counter(later)
    difference.subtract(earlier)
    return {key: count if key in _SIGNED else _risen(count) for key, count in difference.items() if count}


def _risen(difference: int) -> int:
    if difference < 0:
        raise ValueError("a counter went back")
    return difference
