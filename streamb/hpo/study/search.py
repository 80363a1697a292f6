"""The search of a study: chooses the next trial, records the results, and decides when the search is over."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamb.clock import Clock
from streamb.errors import InvalidInput
from streamb.hpo.optimizer import Optimizer
from streamb.hpo.space import SpaceExhausted
from streamb.hpo.study.evaluation import VALIDATION, Answer, Task
from streamb.hpo.study.pruning import Bar, bar_of, paired_variance
from streamb.hpo.study.records import Kept, Records
from streamb.hpo.study.study import Outcome, Progress, StoppedBy, TrialResult, best_of
from streamb.hpo.trial import Status

_RESERVE: Final = 0.1
_NEAR_S: Final = 2.0
"""Seconds before the deadline at which an executor may stop, so as to be done in time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search ends.

    Attributes:
        n_trials: number of trials, including those of earlier runs.
        ends_at: monotonic time of the deadline in seconds; None for no deadline.
        trial_s: how long one trial may take, in seconds; None for no limit.
        later: number of evaluations that follow the search within the same deadline.
        workers: number of trials at the same time.
    """

    n_trials: int
    ends_at: float | None = None
    trial_s: float | None = None
    later: int = 0
    workers: int = 1


class Search:
    """Supplies an executor with trials.

    Attributes:
        stopped_by: why the search ended; None while it runs.
        limits: when it ends.
        unfinished: numbers of the trials that were cut off by the end of the search.

    Args:
        optimizer: chooses trials and learns from their results.
        limits: when the search ends.
        clock: measures the deadline.
        prune: whether to stop clearly worse trials between their folds.
        records: keeps the results; the optimizer is given those that it does not know yet.
        watchers: objects that are notified of each trial.
        began_at: monotonic time in seconds when the study began, earlier by the time that previous runs took.

    Raises:
        InvalidInput: the records and the optimizer's journal are of different searches.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        limits: Limits,
        clock: Clock,
        *,
        prune: bool = False,
        records: Records | None = None,
        watchers: Sequence[Progress] = (),
        began_at: float | None = None,
    ) -> None:
        self.stopped_by: StoppedBy | None = None
        self.limits = limits
        self.unfinished: set[int] = set()
        self._optimizer, self._clock, self._prune = optimizer, clock, prune
        self._records, self._watchers = records, watchers
        self._began_at = clock.monotonic() if began_at is None else began_at
        self._results: dict[int, TrialResult] = {}
        self._started: dict[int, tuple[float, Bar | None]] = {}
        self._stop, self._counting = threading.Event(), threading.Lock()
        self._maximize = optimizer.direction == "maximize"
        if records is not None:
            self._restore_all(records)

    # --- what an executor asks ------------------------------------------------------------------------------------

    @property
    def limit_s(self) -> float | None:
        """Return how long one trial may take, in seconds; None for no limit."""
        return self.limits.trial_s

    def left_s(self) -> float | None:
        """Return the seconds until the deadline; 0 once the search was stopped."""
        if self._stop.is_set():
            return 0.0
        ends_at = self.limits.ends_at
        return None if ends_at is None else ends_at - self._reserve_s(ends_at) - self._clock.monotonic()

    def next(self) -> Task | None:
        """Return the next trial; None when the search has no more."""
        left = self.left_s()
        if left is not None and left <= 0.0:
            self.stopped_by = self.reason()
            return None
        with self._counting:  # another thread may ask for a trial while one ends
            begun = len(self._results) + len(self._started)
        if begun >= self.limits.n_trials:
            self.stopped_by = StoppedBy.TRIALS
            return None
        try:
            trial = self._optimizer.ask()
        except SpaceExhausted:
            self.stopped_by = StoppedBy.EXHAUSTED
            return None
        bar = self._bar() if self._prune else None
        self._started[trial.id] = (self._clock.monotonic() - self._began_at, bar)
        return Task(trial.id, trial.parameters, bar)

    def finished(self, task: Task, answer: Answer) -> None:
        """Keep the result of a trial, learn from it, and notify the watchers."""
        began, bar = self._started[task.number]
        result = self._result(task, answer, began)
        value, variance = self._worth(result, bar)
        if self._records is not None:
            self._records.append(Kept(result, value, variance))
        self._optimizer.tell(task.number, value, failed=value is None, variance=variance)
        self._ended(result)

    def cut(self, task: Task, seconds: float) -> None:
        """Report a trial that the deadline cut off; it runs again from the start when the study is resumed."""
        began, _ = self._started[task.number]
        self.stopped_by = self.reason()
        self.unfinished.add(task.number)
        answer = Answer(Outcome.TIMED_OUT, (), seconds, f"stopped by the {self.stopped_by.value}")
        result = self._result(task, answer, began)
        self._ended(result)

    def reason(self) -> StoppedBy:
        """Return why a search ends before its last trial: the deadline if it is near, otherwise the user."""
        left = self.left_s()
        late = left is not None and left <= _NEAR_S and not self._stop.is_set()
        return StoppedBy.DEADLINE if late else StoppedBy.USER

    # --- what others ask ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the search now; may be called from any thread."""
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """Whether the search was asked to stop."""
        return self._stop.is_set()

    @property
    def results(self) -> tuple[TrialResult, ...]:
        """The results of all trials so far, in order of their numbers."""
        return tuple(self._results[number] for number in sorted(self._results))

    def leader(self) -> TrialResult | None:
        """The trial with the best score over all folds."""
        return best_of(self.results, self._optimizer.direction)

    def winner(self, default: TrialResult | None) -> TrialResult | None:
        """Return the best trial, under noise by expected value, but none that scored below the defaults."""
        leader, best = self.leader(), self._optimizer.best
        chosen = None if best is None else self._results.get(best.trial.id)
        if chosen is None or not chosen.complete or chosen.score is None:
            return leader
        if default is not None and default.score is not None:
            worse = chosen.score < default.score if self._maximize else chosen.score > default.score
            return leader if worse else chosen
        return chosen

    # --- inside ---------------------------------------------------------------------------------------------------

    def _reserve_s(self, ends_at: float) -> float:
        """Seconds reserved for scoring the best trial again: as long as that takes, at most a tenth of the whole."""
        longest = max((result.seconds for result in self.results if result.complete), default=0.0)
        rounds = math.ceil(self.limits.later / self.limits.workers)
        return min(_RESERVE * (ends_at - self._began_at), longest * rounds)

    def _restore_all(self, records: Records) -> None:
        numbers = {kept.result.number for kept in records.kept}
        told = {trial.id for trial in self._optimizer.trials if trial.status is not Status.RUNNING}
        if not told <= numbers or not numbers <= set(range(len(self._optimizer.trials))):
            raise InvalidInput(
                f"the journal beside {records.path} holds other trials than that file: one of the two was changed or"
                " replaced; restore it, or use another folder"
            )
        for kept in records.kept:
            self._restore(kept)

    def _restore(self, kept: Kept) -> None:
        number = kept.result.number
        trial = self._optimizer.trials[number]
        if trial.status is Status.RUNNING:  # the process ended after writing one file and before writing the other
            self._optimizer.tell(number, kept.value, failed=kept.value is None, variance=kept.variance)
        self._results[number] = replace(kept.result, parameters=trial.parameters)

    def _result(self, task: Task, answer: Answer, began: float) -> TrialResult:
        return TrialResult(
            number=task.number,
            parameters=dict(task.parameters),
            score=answer.score,
            fold_scores=answer.fold_scores,
            status=answer.status,
            seconds=answer.seconds,
            started_at=began,
            error=answer.error,
            node=answer.node,
        )

    def _worth(self, result: TrialResult, bar: Bar | None) -> tuple[float | None, float | None]:
        """The value of a trial for the optimizer, and its variance."""
        if result.status is Outcome.PRUNED and bar is not None:
            return bar.estimate(result.fold_scores)
        return result.score, paired_variance(result.fold_scores, self._scores(complete=True))

    def _bar(self) -> Bar | None:
        return bar_of(self._scores(complete=True), self._scores(complete=False), maximize=self._maximize)

    def _scores(self, *, complete: bool) -> list[tuple[float, ...]]:
        status = Outcome.COMPLETED if complete else Outcome.PRUNED
        return [result.fold_scores for result in self.results if result.status is status]

    def _ended(self, result: TrialResult) -> None:
        with self._counting:
            self._results[result.number] = result
            del self._started[result.number]
        if not self._watchers:
            return
        leader, left = self.leader(), self._expected_s()
        for watcher in self._watchers:
            watcher.trial(result, leader, left)

    def _expected_s(self) -> float | None:
        """The expected seconds left, by the duration of the trials so far; at most until the deadline."""
        done = len(self._results)
        elapsed = self._clock.monotonic() - self._began_at
        expected = elapsed / done * (self.limits.n_trials - done) if done else math.inf
        left = self.left_s()
        least = min(expected, math.inf if left is None else left)
        return max(0.0, least) if math.isfinite(least) else None


class Again:
    """Supplies evaluations that are not trials: nothing is chosen or learned from them."""

    def __init__(self, tasks: Sequence[Task], search: Search, clock: Clock) -> None:
        self._waiting, self._clock, self._search = list(tasks), clock, search
        self._ends_at, self.limit_s = search.limits.ends_at, search.limit_s
        self.found: dict[tuple[int, int], float] = {}

    def left_s(self) -> float | None:
        if self._search.stop_requested:
            return 0.0
        return None if self._ends_at is None else self._ends_at - self._clock.monotonic()

    def next(self) -> Task | None:
        left = self.left_s()
        return self._waiting.pop(0) if self._waiting and (left is None or left > 0.0) else None

    def finished(self, task: Task, answer: Answer) -> None:
        if answer.score is not None:
            self.found[(task.number, task.repeat)] = answer.score

    def cut(self, task: Task, seconds: float) -> None:
        """Do nothing: there was no time for this evaluation."""

    def scores(self, number: int) -> dict[int, float]:
        """Return the score of each repeat of the trial with this number."""
        return {repeat: score for (one, repeat), score in self.found.items() if one == number and repeat != VALIDATION}
