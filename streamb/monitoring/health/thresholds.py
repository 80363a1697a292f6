"""What a model's health is judged by, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from streamb.errors import InvalidInput

_SHARES: Final = frozenset({"min_accuracy", "max_error_rate", "max_drift_score"})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of a healthy model; what is None is not judged, except drift: then its report's own word counts.

    Attributes:
        max_latency_ms: milliseconds, of the 95th percentile.
        min_accuracy: share of right labels, 0 to 1; from feedback.
        max_error_rate: share of requests that may fail, 0 to 1.
        min_throughput: answered requests per second.
        max_drift_score: 0 to 1.
    """

    max_latency_ms: float | None = None
    min_accuracy: float | None = None
    max_error_rate: float | None = None
    min_throughput: float | None = None
    max_drift_score: float | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Read what a user gave; a value of None judges nothing.

        >>> Thresholds.from_options({"max_latency_ms": 200, "max_error_rate": 0.05}).max_latency_ms
        200

        Raises:
            InvalidInput: a name is unknown or a value not allowed; `details["problems"]` names each.
        """
        known = [one.name for one in fields(cls)]
        problems = [f"{name}: no such threshold; there are {', '.join(known)}" for name in options if name not in known]
        for name, value in options.items():
            if name in known and value is not None and (problem := _problem(name, value)):
                problems.append(f"{name} {problem}, not {value!r}")
        if problems:
            raise InvalidInput(f"performance_thresholds: {'; '.join(problems)}", problems=problems)
        return cls(**options)

    def to_options(self) -> dict[str, float | None]:
        """As JSON; `from_options` reads it back."""
        return asdict(self)


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with a value, as the end of a sentence; None when nothing is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "must be a number"
    if name in _SHARES:
        return None if 0 <= value <= 1 else "must be a share from 0 to 1"
    if name == "max_latency_ms":
        return None if value > 0 else "must be above 0"
    return None if value >= 0 else "must not be negative"
