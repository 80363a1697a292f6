"""Evaluations after a search: the best trial and the defaults on other folds, and on the validation data."""

from __future__ import annotations

from collections.abc import Sequence

from streamb.clock import Clock
from streamb.hpo.study.evaluation import VALIDATION, Answer, Task
from streamb.hpo.study.search import Search


class Again:
    """A source of evaluations that are no trials: nothing is chosen or learned from them."""

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
        """There was no time for this one."""

    def scores(self, number: int) -> dict[int, float]:
        """The score of each repeat of a trial."""
        return {repeat: score for (one, repeat), score in self.found.items() if one == number and repeat != VALIDATION}
