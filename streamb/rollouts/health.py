"""What a version is judged by during a step, and on what: the criteria that a user sets, and the evidence."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.metrics.snapshot import Snapshot

PERCENTILES: Final = (50, 95, 99)
MOST_CUSTOM: Final = 20

_SHARES: Final = frozenset(
    {"max_error_rate", "min_accuracy", "min_success_rate", "max_drift_score", "max_prediction_shift"}
    | {"max_error_increase"}
)
_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class HealthCriteria:
    """The limits of a version; None: not judged.

    Attributes:
        max_error_rate: share of failed requests, 0 to 1; also the limit of the fast abort.
        max_latency_ms: of the percentile below.
        latency_percentile: 50, 95 or 99; also the one that is compared with stable.
        min_accuracy: share of labels that the predictions met.
        min_success_rate: share of successes among what clients reported.
        max_error_value: mean absolute error against labels (regression).
        min_throughput: answered requests per second.
        max_drift_score: 0 to 1, from monitoring.
        max_prediction_shift: Jensen-Shannon distance of the predictions from those of stable, 0 to 1.
        max_error_increase: how much higher than stable's the error rate may be (difference of the shares).
        max_latency_increase: how much higher than stable's the percentile may be (ratio less 1).
        latency_slack_ms: a percentile that is higher by no more than this is never held against the version.
        compare_with_stable: compare error rate and latency with the stable version.
        custom: import paths "package.module:function" of a user's own criteria: `f(StepEvidence) -> Finding`.
    """

    max_error_rate: float | None = None
    max_latency_ms: float | None = None
    latency_percentile: int = 95
    min_accuracy: float | None = None
    min_success_rate: float | None = None
    max_error_value: float | None = None
    min_throughput: float | None = None
    max_drift_score: float | None = None
    max_prediction_shift: float | None = None
    max_error_increase: float = 0.01
    max_latency_increase: float = 0.25
    latency_slack_ms: float = 5.0
    compare_with_stable: bool = True
    custom: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> HealthCriteria:
        """Read what a user gave; a value of None leaves the default.

        Raises:
            InvalidInput: a name is unknown or a value not allowed; `details["problems"]` names each.
        """
        known = {one.name for one in fields(cls)}
        problems = [
            f"{name}: no such criterion; there are {', '.join(sorted(known))}" for name in options if name not in known
        ]
        read: dict[str, Any] = {}
        for name, value in options.items():
            if name in known and value is not None:
                problem = _problem(name, value)
                if problem:
                    problems.append(f"{name} {problem}, not {value!r}")
                else:
                    read[name] = tuple(value) if name == "custom" else value
        if problems:
            raise InvalidInput(f"health_check_criteria: {'; '.join(problems)}", problems=problems)
        return cls(**read)

    def to_options(self) -> dict[str, Any]:
        """As JSON; `from_options` reads it back."""
        return {**asdict(self), "custom": list(self.custom)}


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What happened to the target version during a step, and to the stable version in the same time.

    Attributes:
        target: since the step began, that is, since its weight was in force on every gateway.
        stable: the same time; None where there is nothing to compare with: a first version, or a step that takes all
            traffic from stable.
        target_recent: the last 10 seconds.
        target_lately: longer windows within the step, while gateways refuse to call the target: they then try it so
            seldom that the last seconds say nothing.
        seconds: since the step began.
        drift_score: what monitoring says about the target version; None: it says nothing.
        drift_proven: monitoring has ruled out chance as the reason for that score.
        usual_error_rate: stable's error rate where `stable` is None: before it lost its traffic.
    """

    target: Snapshot
    stable: Snapshot | None
    target_recent: Snapshot
    seconds: float
    drift_score: float | None = None
    drift_proven: bool = True
    usual_error_rate: float | None = None
    target_lately: tuple[Snapshot, ...] = ()


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with a value, as the end of a sentence; None when nothing is."""
    if name == "custom":
        return _problem_of_custom(value)
    if name == "compare_with_stable":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "must be a number"
    if name == "latency_percentile":
        return None if value in PERCENTILES else f"must be one of {', '.join(map(str, PERCENTILES))}"
    if name in _SHARES:
        return None if 0 <= value <= 1 else "must be a share from 0 to 1"
    return None if value >= 0 else "must not be negative"


def _problem_of_custom(value: Any) -> str | None:
    if not isinstance(value, list | tuple) or len(value) > MOST_CUSTOM:
        return f'must be a list of at most {MOST_CUSTOM} import paths "package.module:function"'
    for path in value:
        if not isinstance(path, str) or not _FUNCTION.fullmatch(path):
            return 'must name functions as "package.module:function"'
        if path.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
            return "must name functions of your own, none of Python's library"
    return None
