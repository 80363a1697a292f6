"""The counters that a gateway updates on every request: plain integers of one event loop, no locks, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from streamb.metrics.callers import MINE, MOST_KEYS, THEIRS, CallerCounter, prediction_key
from streamb.metrics.histogram import BUCKETS, LatencyHistogram, bucket_of
from streamb.metrics.outcome import BLAMED, Outcome
from streamb.metrics.predictions import OTHER, PredictionCounter
from streamb.metrics.snapshot import FEEDBACK_COUNTS, FEEDBACK_SUMS, SHADOW_COUNTS, Snapshot, Told

_LARGEST_DIFFERENCE = 1e3
TOLD_LOOKS: Final = 30
MOST_TOLD: Final = 2_000
"""Feedback is reported by its answer for so many reports (one a second), and so many at most."""


class VersionRecorder:
    """Counts for one model version in one gateway. Not thread-safe: it belongs to the gateway's event loop."""

    __slots__ = (
        "_answered",
        "_aside",
        "_batch_rows",
        "_batch_sizes",
        "_callers",
        "_difference_nano",
        "_differences",
        "_disturbed",
        "_failed",
        "_fallbacks",
        "_late",
        "_learned",
        "_look",
        "_predictions",
        "_retries",
        "_rows",
        "_shadow_expected",
        "_shadow_predictions",
        "_shadowed",
        "_told",
        "_total_ns",
        "_waited_ns",
        "model_id",
        "version",
    )

    def __init__(self, model_id: str, version: str, classes: Sequence[Any] | None = None) -> None:
        self.model_id = model_id
        self.version = version
        self._answered = [0] * BUCKETS
        self._rows = 0
        self._failed: Counter[tuple[Outcome, int]] = Counter()
        self._late: Counter[int] = Counter()
        self._total_ns = 0
        self._batch_sizes: Counter[int] = Counter()
        self._batch_rows = 0
        self._retries = 0
        self._fallbacks = 0
        self._predictions = PredictionCounter(classes)
        self._learned = dict.fromkeys((*FEEDBACK_COUNTS, *FEEDBACK_SUMS), 0)
        self._shadowed = dict.fromkeys(SHADOW_COUNTS, 0)
        self._differences: Counter[int] = Counter()
        self._difference_nano = 0
        self._disturbed = 0
        self._waited_ns = 0
        self._shadow_predictions = PredictionCounter(classes)
        self._shadow_expected = PredictionCounter()
        self._aside: Counter[tuple[Outcome, int]] = Counter()
        self._callers = CallerCounter()
        self._look = 0
        self._told: dict[int, tuple[int, Told]] = {}

    def answered(self, seconds: float, rows: int, caller: str | None = None) -> None:
        """Count a request that was answered with predictions `seconds` after its arrival.

        Args:
            seconds: the time of the answer.
            rows: the rows of the request.
            caller: who asked; None if it is not counted by caller.
        """
        self._rows += rows
        self._total_ns += int(seconds * 1e9)
        bucket = bucket_of(seconds)
        self._answered[bucket] += 1
        if caller is not None:
            tally = self._callers.of(caller)
            tally["ok"] += 1
            tally[bucket] += 1

    def disturbed(self, rows: int, caller: str | None = None) -> None:
        """Count a request that was answered after its replica had died: its latency is not the version's."""
        self._rows += rows
        self._disturbed += 1
        if caller is not None:
            self._callers.of(caller)["ok"] += 1

    def set_aside(self, outcome: Outcome, status: int) -> None:
        """Count a request whose version was named or overridden: it is no evidence."""
        self._aside[outcome, status] += 1

    def waited(self, seconds: float) -> None:
        """Count the time that a request waited for a call."""
        self._waited_ns += int(seconds * 1e9)

    def failed(self, outcome: Outcome, status: int, seconds: float, caller: str | None = None) -> None:
        """Count a request that was answered with an error; the time without a replica is not the version's latency."""
        self._failed[outcome, status] += 1
        tally = self._callers.of(caller) if caller is not None else None
        if tally is not None:
            tally[outcome.value] += 1
        if outcome in BLAMED and outcome is not Outcome.UNAVAILABLE:
            bucket = bucket_of(seconds)
            self._late[bucket] += 1
            self._total_ns += int(seconds * 1e9)
            if tally is not None:
                tally[bucket] += 1

    def called(self, rows: int) -> None:
        """Count one call to the version, with this number of rows."""
        self._batch_sizes[rows.bit_length()] += 1
        self._batch_rows += rows

    def retried(self) -> None:
        """Count one call that was repeated."""
        self._retries += 1

    def fell_back(self) -> None:
        """Count one request that the version's fallback answered."""
        self._fallbacks += 1

    def predicted(self, values: NDArray[Any], task: str) -> None:
        """Count the predictions of one call, all rows at once.

        Args:
            task: the version's task: "classification", "regression" or "other".
        """
        self._predictions.count(values, task)

    def shadow_predicted(self, values: NDArray[Any], task: str, caller: str | None = None) -> None:
        """Count this version's predictions for a copied request; see `predicted`."""
        self._shadow_predictions.count(values, task)
        self._tell(MINE, values, task, caller)

    def shadow_expected(self, values: NDArray[Any], task: str, caller: str | None = None) -> None:
        """Count what the version that answered the client predicted for the same request, by its own task."""
        self._shadow_expected.count(values, task)
        self._tell(THEIRS, values, task, caller)

    def _tell(self, whose: str, values: NDArray[Any], task: str, caller: str | None) -> None:
        """Count predictions for a caller's copied request in its tally, too: copies are few."""
        if caller is None:
            return
        counter, tally = PredictionCounter(), self._callers.of(caller)
        counter.count(values, task)
        for prediction, count in counter.counts().items():
            key = prediction_key(whose, prediction)
            tally[key if key in tally or len(tally) < MOST_KEYS else prediction_key(whose, OTHER)] += count

    def learned(self, key: str, by: int = 1, caller: str | None = None) -> None:
        """Count feedback on a prediction, under one of `FEEDBACK_COUNTS` or `FEEDBACK_SUMS`.

        Args:
            key: what is counted.
            by: how much is added.
            caller: who told it; None if it is not counted by caller.

        Raises:
            KeyError: there is no such key.
        """
        self._learned[key] += by
        if caller is not None and by > 0:
            self._callers.of(caller)[key] += by

    def tell(self, name: int, caller: str, counts: Mapping[str, int]) -> None:
        """Remember for a while what feedback counts that another gateway may be told as well.

        Args:
            name: a number that stands for the answer and the field.
            caller: who told it.
            counts: what it added to the counters.
        """
        self._told[name] = self._look, (caller, counts)
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]

    def shadowed(self, key: str, by: int = 1, caller: str | None = None) -> None:
        """Count the result of a copied request, under one of `SHADOW_COUNTS`.

        Args:
            key: what is counted.
            by: how much is added.
            caller: whose request was copied; None if it is not counted by caller.

        Raises:
            KeyError: there is no such key.
        """
        self._shadowed[key] += by
        if caller is not None:
            self._callers.of(caller)[f"shadow_{key}"] += by

    def differed(self, relative: float) -> None:
        """Count the relative difference of a shadow's number from the answer's; above 1,000 or NaN counts as 1,000."""
        if not relative <= _LARGEST_DIFFERENCE:
            relative = _LARGEST_DIFFERENCE
        self._differences[bucket_of(relative)] += 1
        self._difference_nano += int(relative * 1e9)

    def snapshot(self, *, in_flight: int = 0, queued: int = 0, overdue: int = 0) -> Snapshot:
        """Return the counts so far; `in_flight`, `queued` and `overdue` are gauges that only the batcher knows."""
        self._look += 1
        if self._told:
            self._told = {name: one for name, one in self._told.items() if self._look - one[0] <= TOLD_LOOKS}
        answered = sum(self._answered) + self._disturbed
        counts: Counter[str] = Counter({Outcome.OK.value: answered} if answered else {})
        codes: Counter[int] = Counter({200: answered} if answered else {})
        for (outcome, status), count in self._failed.items():
            counts[outcome.value] += count
            codes[status] += count
        aside: Counter[str] = Counter()
        for (outcome, status), count in self._aside.items():
            aside[outcome.value] += count
            codes[status] += count
        timed = Counter(self._late)
        timed.update({index: count for index, count in enumerate(self._answered) if count})
        return Snapshot(
            self.model_id,
            self.version,
            counts=dict(counts),
            codes=dict(codes),
            latency=LatencyHistogram(tuple(sorted(timed.items())), self._total_ns),
            rows=self._rows,
            batch_sizes=dict(self._batch_sizes),
            batch_rows=self._batch_rows,
            retries=self._retries,
            in_flight=in_flight,
            queued=queued,
            fallbacks=self._fallbacks,
            predictions=self._predictions.counts(),
            feedback={key: count for key, count in self._learned.items() if count},
            shadow={key: count for key, count in self._shadowed.items() if count},
            shadow_difference=LatencyHistogram(tuple(sorted(self._differences.items())), self._difference_nano),
            overdue=overdue,
            disturbed=self._disturbed,
            waited_ns=self._waited_ns,
            shadow_predictions=self._shadow_predictions.counts(),
            shadow_expected=self._shadow_expected.counts(),
            aside=dict(aside),
            callers=self._callers.counts(),
            told={name: told for name, (_, told) in self._told.items()},
        )
