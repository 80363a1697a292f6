"""Who evaluates tasks: what every executor does, and the one that works in this process."""

from __future__ import annotations

import threading
from typing import Protocol

from streamb.clock import Clock
from streamb.hpo.evaluation import Answer, Evaluator, Task, quiet, this_node
from streamb.hpo.study import Outcome


class Source(Protocol):
    """Where tasks come from and answers go to; used from one thread at a time."""

    @property
    def limit_s(self) -> float | None:
        """How long one task may take; None for no limit."""
        ...

    def left_s(self) -> float | None:
        """Seconds until everything must stop; None for no deadline. What still runs then is cut off."""
        ...

    def next(self) -> Task | None:
        """What to evaluate now; None when there is nothing more to begin."""
        ...

    def finished(self, task: Task, answer: Answer) -> None:
        """A task has ended, well or badly."""
        ...

    def cut(self, task: Task, seconds: float) -> None:
        """A task was cut off by the deadline after some seconds."""
        ...


class Executor(Protocol):
    """Evaluates the tasks of a source with one evaluator.

    Attributes:
        name: "sequential", "processes" or "ray".
        workers: tasks at the same time, at most.
    """

    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...

    def run(self, source: Source) -> None:
        """Evaluate until the source has nothing more, or its deadline; may be called again."""
        ...

    def close(self) -> None:
        """Release processes."""
        ...


class InProcess:
    """One task after another in this process.

    With a limit or a deadline, a task runs in a thread that is left alone when its time is over: Python can not end it,
    so it goes on using a CPU until it is done. Worker processes can be ended.
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
            answer = self._answer(task, min(limits) if limits else None)
            seconds = self._clock.monotonic() - began
            if answer is not None:
                source.finished(task, answer)
            elif limit is not None and (left is None or limit < left):
                source.finished(task, too_long(limit, seconds))
            else:
                source.cut(task, seconds)

    def close(self) -> None:
        """Nothing to release."""

    def _answer(self, task: Task, limit_s: float | None) -> Answer | None:
        if limit_s is None:
            with quiet():
                return self._evaluator(task)
        found: list[Answer] = []
        thread = threading.Thread(target=lambda: found.append(self._evaluator(task)), name="trial", daemon=True)
        with quiet():
            thread.start()
            thread.join(max(0.0, limit_s))
        return found[0] if found else None


def too_long(limit_s: float, seconds: float) -> Answer:
    """The answer for a task that took longer than one may."""
    return Answer(Outcome.TIMED_OUT, (), seconds, f"it took longer than {limit_s:g} s", this_node())
