"""A trial: one point of the search space that is, or was, evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where a trial is in its short life."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """One point and what came of it.

    Attributes:
        id: 0, 1, 2, ... in the order of asking.
        parameters: values by name: the active ones, and those that are fixed.
        row: its row in the space; None for an initial point outside of the space, which is run but not learned from.
        status: failed includes a value that is not a number.
        value: what was told, in the user's units; None until then, or when it failed.
        variance: of the value, where known: the squared standard error of a mean over folds.
        constraints: by name; feasible where at most 0.
    """

    id: int
    parameters: dict[str, Any]
    row: tuple[float, ...] | None = field(repr=False)
    status: Status = Status.RUNNING
    value: float | None = None
    variance: float | None = None
    constraints: dict[str, float] | None = None

    @property
    def feasible(self) -> bool:
        """Whether every constraint that was told holds."""
        return all(value <= 0.0 for value in (self.constraints or {}).values())


@dataclass(frozen=True, slots=True)
class Best:
    """The trial to take, under noise not always the one with the best value.

    Attributes:
        trial: which one.
        value: what was told of it.
        estimate: what the surrogate believes its value to be without noise; the value itself where there is no
            surrogate.
    """

    trial: Trial
    value: float
    estimate: float


def is_number(value: Any) -> bool:
    """Whether a told value can be learned from: a real number, neither NaN nor infinite."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
