"""Executors of tasks: their interface, and the one that works in this process."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Final, Protocol

from streamb.clock import Clock
from streamb.hpo.study.evaluation import Answer, Evaluator, Task, this_node
from streamb.hpo.study.study import Outcome

_LOOK_S: Final = 0.25


class Source(Protocol):
    """Supplies tasks and receives their answers; used from one thread at a time."""

    @property
    def limit_s(self) -> float | None:
        """Return how long one task may take, in seconds; None for no limit."""
        ...

    def left_s(self) -> float | None:
        """Return the seconds until everything must stop; None for no deadline. Tasks still running then are cut off."""
        ...

    def next(self) -> Task | None:
        """Return the next task to evaluate; None when there is nothing more to start."""
        ...

    def finished(self, task: Task, answer: Answer) -> None:
        """Record that a task has ended, with success or failure."""
        ...

    def cut(self, task: Task, seconds: float) -> None:
        """Record that the deadline cut off a task after some seconds."""
        ...


class Executor(Protocol):
    """Evaluates the tasks of a source with one evaluator.

    Attributes:
        name: "sequential", "processes" or "ray".
        workers: the largest number of tasks at the same time.
    """

    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...

    def run(self, source: Source) -> None:
        """Evaluate tasks until the source has no more, or until its deadline; may be called again."""
        ...

    def close(self) -> None:
        """End the executor's processes."""
        ...


class InProcess:
    """One task after another in this process.

    With a limit or a deadline, a task runs in a thread that is abandoned when its time is over, or when the search is
    stopped: Python cannot end it, so it goes on using a CPU until it is done. Worker processes can be ended.
    """

    name = "sequential"
    workers = 1

    def __init__(self, evaluator: Evaluator, clock: Clock) -> None:
        self._evaluator, self._clock = evaluator, clock

    def run(self, source: Source) -> None:
        while (task := source.next()) is not None:
            left, limit = source.left_s(), source.limit_s
            limits = [one for one in (left, limit) if one is not None]
            began = self._clock.monotonic()
            answer = evaluated_within(self._evaluator, task, min(limits) if limits else None, lambda: is_over(source))
            seconds = self._clock.monotonic() - began
            if answer is not None:
                source.finished(task, answer)
            elif limit is not None and (left is None or limit < left) and not is_over(source):
                source.finished(task, too_long(limit, seconds))
            else:
                source.cut(task, seconds)

    def close(self) -> None:
        """Nothing to release."""


def evaluated_within(
    evaluator: Evaluator, task: Task, limit_s: float | None, is_over: Callable[[], bool] = lambda: False
) -> Answer | None:
    """Evaluate a task; return None if it takes longer than `limit_s` seconds, or once `is_over` returns True.

    Without a limit it is evaluated in this thread and cannot be cut off.
    """
    if limit_s is None:
        with warnings.catch_warnings(action="ignore"):
            return evaluator(task)
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(evaluator(task)), name="trial", daemon=True)
    left = limit_s
    with warnings.catch_warnings(action="ignore"):
        thread.start()
        while left > 0.0 and thread.is_alive() and not is_over():
            thread.join(min(left, _LOOK_S))
            left -= _LOOK_S
    return found[0] if found else None


def is_over(source: Source, grace_s: float = 0.0) -> bool:
    """Return whether the source's time ends within `grace_s` seconds."""
    left = source.left_s()
    return left is not None and left <= grace_s


def too_long(limit_s: float, seconds: float) -> Answer:
    """Return the answer for a task that took longer than its limit (both in seconds)."""
    return Answer(Outcome.TIMED_OUT, (), seconds, f"it took longer than {limit_s:g} s", this_node())
