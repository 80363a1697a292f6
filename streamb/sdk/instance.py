"""One instance of a model: its interface, and its state in a pool."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol


class Instance(Protocol):
    """One process with one model."""

    @property
    def started(self) -> Future[None]:
        """Done once the model is ready; fails with `StartFailed` if it could not be made."""
        ...

    def predict(self, rows: list[Any]) -> Future[list[Any]]:
        """Ask the model; fails with `Unavailable` if the process died."""
        ...

    def numbers(self) -> Future[dict[str, float]]:
        """ "cpu", "memory" (percent), "busy" (0..1) and "rate" (answers a second), since this was last asked."""
        ...

    def stop(self) -> None:
        """Stop it at once."""
        ...


@dataclass(slots=True, eq=False)
class Member:
    """An instance in a pool.

    Attributes:
        in_flight: the requests that it works on.
        ready: whether it can take requests.
        leaving: whether it takes no new requests and stops after the last one.
        dead: whether it failed; the next tick removes it.
        numbers: its latest CPU, memory and busy numbers, reported at `numbers_at`.
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
        """Read what the instance has reported and ask it again; raises the error that the instance failed with."""
        if not self.ready and self.instance.started.done():
            self.instance.started.result()
            self.ready = True
        if self.ready and (self.asked is None or self.asked.done()):
            if self.asked is not None:
                self.numbers, self.numbers_at = self.asked.result(), now
            self.asked = self.instance.numbers()
