"""One instance of a model: what a pool asks of it, and what it keeps of it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol


class Instance(Protocol):
    """One process with one model."""

    @property
    def started(self) -> Future[None]:
        """Done once the model can be asked; fails with `StartFailed` when it could not be made."""
        ...

    def predict(self, rows: list[Any]) -> Future[list[Any]]:
        """Ask the model; fails with `Unavailable` when the process died."""
        ...

    def numbers(self) -> Future[dict[str, float]]:
        """ "cpu", "memory" (percent) and "busy" (0..1), since this was last asked."""
        ...

    def stop(self) -> None:
        """End it, whatever it is doing."""
        ...


@dataclass(slots=True, eq=False)
class Member:
    """An instance in a pool.

    Attributes:
        in_flight: requests that it has.
        ready: it can be asked.
        leaving: it gets no more requests, and ends with the last one.
        dead: it failed; the next look removes it.
        numbers: what it has said of itself last, at `numbers_at`.
    """

    instance: Instance
    in_flight: int = 0
    ready: bool = False
    leaving: bool = False
    dead: bool = False
    asked: Future[dict[str, float]] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    numbers_at: float = -math.inf

    def look(self, now: float) -> None:
        """Take in what has come from the instance, and ask it again; raises what the instance failed with."""
        if not self.ready and self.instance.started.done():
            self.instance.started.result()
            self.ready = True
        if self.ready and (self.asked is None or self.asked.done()):
            if self.asked is not None:
                self.numbers, self.numbers_at = self.asked.result(), now
            self.asked = self.instance.numbers()
