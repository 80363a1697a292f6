"""The options of a deployment, read and checked: every unknown name and every bad value is refused with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.rollouts.health import HealthCriteria

START: Final = "start"
"""Names the gate before anything of a deployment happens."""
_MONTH_S: Final = 30 * 86_400.0
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "traffic_split_percentage": (1, 100),
    "step_seconds": (0, _MONTH_S),
    "step_max_seconds": (0, _MONTH_S),
    "min_samples": (1, 10**9),
    "approval_timeout_s": (0, _MONTH_S),
    "hold_seconds": (0, _MONTH_S),
    "shadow_percent": (0, 100),
}
_FLAGS: Final = frozenset({"rollback_on_failure", "approval_required", "fallback_to_stable"})


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """What a user may say about how a deployment proceeds. None: the strategy's own default.

    Attributes:
        traffic_split_percentage: where a canary starts.
        steps: the percents of a canary, instead.
        step_seconds: how long a step is watched at least.
        step_max_seconds: how long the evidence may stay inconclusive before somebody is asked.
        min_samples: judged requests of the target version that a step needs.
        rollback_on_failure: a version that fails is rolled back; without it the deployment pauses.
        health_check_criteria: what a version is judged by.
        approval_required: somebody must approve before the first traffic moves.
        approval_before: further gates: "start", or the percent of a step.
        approval_timeout_s: a gate that nobody opens for so long aborts the deployment.
        fallback_to_stable: requests that the target version fails are answered by the stable one.
        shadow_percent: so much of the traffic is copied to the target version while it has no weight.
        hold_seconds: how long the old version is kept warm after the switch.
        overrides: `{"users": [...]}`: who always gets the target version.
    """

    traffic_split_percentage: float | None = None
    steps: tuple[float, ...] = ()
    step_seconds: float | None = None
    step_max_seconds: float | None = None
    min_samples: int | None = None
    rollback_on_failure: bool = True
    health_check_criteria: HealthCriteria = field(default_factory=HealthCriteria)
    approval_required: bool = False
    approval_before: tuple[str | float, ...] = ()
    approval_timeout_s: float = 86_400.0
    fallback_to_stable: bool = True
    shadow_percent: float = 0.0
    hold_seconds: float | None = None
    overrides: frozenset[str] = frozenset()

    @property
    def shadow(self) -> int:
        """`shadow_percent` in ten-thousandths."""
        return round(self.shadow_percent * 100)


NAMES: Final = frozenset(one.name for one in fields(RolloutOptions))


def read_options(options: Mapping[str, Any]) -> RolloutOptions:
    """The options as the platform uses them.

    Raises:
        InvalidInput: names each option that is unknown, or the first one whose value is not allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(given.keys() - NAMES)
    if unknown:
        raise InvalidInput(
            f"there is no option {', '.join(unknown)} of a deployment; there are {', '.join(sorted(NAMES))}",
            options=unknown,
        )
    return RolloutOptions(**{name: _read(name, value) for name, value in given.items()})


def _read(name: str, value: Any) -> Any:
    """One option's value."""
    if name in _RANGES:
        number = _number(name, value, *_RANGES[name])
        if name != "min_samples":
            return number
        if number != int(number):
            raise InvalidInput(f"min_samples must be a whole number, not {value!r}")
        return int(number)
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false, not {value!r}")
        return value
    if name == "health_check_criteria":
        return HealthCriteria.from_options(_mapping(name, value))
    if name == "overrides":
        return _users(_mapping(name, value))
    return _steps(value) if name == "steps" else _gates(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a number, not {value!r}")
    if not low <= value <= high:
        raise InvalidInput(f"{name} must be from {low:g} to {high:g}, not {value:g}")
    return float(value)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be an object of names and values, not {value!r}")
    return value


def _users(value: Mapping[str, Any]) -> frozenset[str]:
    users = value.get("users", [])
    listed = isinstance(users, Sequence | set | frozenset) and not isinstance(users, str)
    if set(value) - {"users"} or not listed or not all(isinstance(user, str) and user for user in users):
        raise InvalidInput('overrides must be {"users": [the user ids that always get the target version]}')
    return frozenset(users)


def _steps(value: Any) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not 1 <= len(value) <= 100:
        raise InvalidInput(f"steps must be a list of 1 to 100 percents, not {value!r}")
    percents = tuple(_number("each of steps", one, 1, 100) for one in value)
    if any(later <= earlier for earlier, later in pairwise(round(percent * 100) for percent in percents)):
        raise InvalidInput(f"steps must rise from one to the next, unlike {list(value)}")
    return percents


def _gates(value: Any) -> tuple[str | float, ...]:
    gates = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return tuple(START if gate == START else _number("each of approval_before", gate, 1, 100) for gate in gates)
