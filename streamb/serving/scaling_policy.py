"""The targets and limits of autoscaling, and what is not possible among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from streamb.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """The targets and limits of autoscaling.

    Attributes:
        min_instances: the least number; 0 allows none at all after `idle_s` without work.
        max_instances: the largest number.
        target_cpu: percent of CPU (and of busy time) to run at.
        scale_up_threshold: above this percent, more instances; the other signals use the same ratio to their targets.
        scale_down_threshold: below this percent, fewer.
        target_queue: so many waiting requests per instance call for as much again as it does, unless they are worked
            off within `target_wait_s`.
        target_wait_s: a wait of so many seconds calls for as much again.
        target_latency_ms: target of the watched latency percentile; None: latency is ignored.
        target_memory: percent of the machine's memory; None: memory is ignored.
        tolerance: pressures within `1 ± tolerance` change nothing, whatever the thresholds.
        cooldown_up_s: seconds that the load must have been high without a break before each step up.
        cooldown_down_s: seconds that the load must have been low without a break before each step down.
        idle_s: seconds without any work before the last instance is removed.

    Raises:
        InvalidInput: some values are not allowed; the message names each.
    """

    min_instances: int = 1
    max_instances: int = 4
    target_cpu: float = 70.0
    scale_up_threshold: float = 80.0
    scale_down_threshold: float = 30.0
    target_queue: float = 20.0
    target_wait_s: float = 1.0
    target_latency_ms: float | None = None
    target_memory: float | None = 80.0
    tolerance: float = 0.1
    cooldown_up_s: float = 5.0
    cooldown_down_s: float = 60.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise InvalidInput(f"this scaling policy is not valid: {'; '.join(problems)}", problems=problems)

    @property
    def up_pressure(self) -> float:
        """The pressure above which instances are added."""
        return max(self.scale_up_threshold / self.target_cpu, 1 + self.tolerance)

    @property
    def down_pressure(self) -> float:
        """The pressure below which instances are removed."""
        return min(self.scale_down_threshold / self.target_cpu, 1 - self.tolerance)


def _problems(policy: ScalingPolicy) -> list[str]:
    names = [field.name for field in fields(policy)]
    unusual = [
        f"{name} must be a number, not {value!r}"
        for name in names
        if (value := getattr(policy, name)) is not None
        and (isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value))
    ]
    if unusual:
        return unusual
    wholes = ("min_instances", "max_instances")
    positive = ("max_instances", "scale_down_threshold", "target_queue", "target_wait_s")
    optional = ("target_latency_ms", "target_memory")
    found = [f"{name} must be a whole number" for name in wholes if not isinstance(getattr(policy, name), int)]
    found += [f"{name} must be above 0" for name in positive if getattr(policy, name) <= 0]
    found += [
        f"{name} must be above 0, or None"
        for name in optional
        if (one := getattr(policy, name)) is not None and one <= 0
    ]
    found += [f"{name} must not be negative" for name in names if name.endswith("_s") and getattr(policy, name) < 0]
    if not 0 <= policy.min_instances <= policy.max_instances:
        found.append(f"min_instances must lie between 0 and max_instances ({policy.max_instances})")
    if not policy.scale_down_threshold < policy.target_cpu <= policy.scale_up_threshold:
        found.append("scale_down_threshold must be below target_cpu, and scale_up_threshold not below it")
    if policy.target_cpu < 1:
        found.append(f"target_cpu is in percent: {100 * policy.target_cpu:g}, not {policy.target_cpu:g}")
    if not 0 <= policy.tolerance < 1:
        found.append("tolerance must be at least 0 and below 1")
    return found
