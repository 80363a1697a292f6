"""A trial: one point of the search space that is, or was, evaluated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Whether a trial is running, completed or failed."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the search space and its result.

    Attributes:
        id: 0, 1, 2, ... in the order in which trials were asked for.
        parameters: values by name, of the active parameters and the fixed ones.
        row: its row in the space; None for an initial point outside the space, which is run but not learned from.
        status: running, complete, or failed (also if the value was not a finite number).
        value: the objective's value as given to `tell`; None while it runs, or if it failed.
        variance: the variance of the value, if known: the squared standard error of a mean over folds.
        constraints: the values of the constraints by name; each holds if it is at most 0.
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
        """Whether every constraint given to `tell` holds."""
        return all(value <= 0.0 for value in (self.constraints or {}).values())


@dataclass(frozen=True, slots=True)
class Best:
    """The best trial of a search; under noise not always the one with the best single value.

    Attributes:
        trial: the trial.
        value: the objective's value as given to `tell`.
        estimate: the surrogate's estimate of the value without noise; the value itself if there is no surrogate.
    """

    trial: Trial
    value: float
    estimate: float


def is_number(value: Any) -> bool:
    """Return whether a value can be learned from: a real number, neither NaN nor infinite."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False
