"""Decides how many instances a model needs: one pure function for Serve applications and for `ModelScaler`.

Notation: `n` instances report, `v` is a signal's mean over them, `t` what it should be, `r = v / t` its pressure. Then

    desired = ceil(n * r)

(Kubernetes, "Horizontal Pod Autoscaling", section "Algorithm details"), the largest over the signals, once the pressure
of one of them passes `scale_up_threshold / target_cpu`; and the same number downwards once the pressures of all of them
are below `scale_down_threshold / target_cpu`. Between the two nothing moves. As `ceil` leaves a pressure of at most 1,
and no threshold for more lies below that, a load that stays as it is never makes the number swing.

Signals of load (CPU, busy share, queue) decide alone. Latency and memory are symptoms: a slow model is slow, and a big
one big, on any number of instances. They count only while a signal of load is at its target or above.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from streamb.errors import InvalidInput

_ROUNDING: Final = 1e-9
"""`n * r` may exceed a whole number by this much without adding an instance."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The present load of the instances. None, NaN, infinite and negative values count as unknown.

    Attributes:
        instances: the number of instances that the other numbers describe.
        cpu: percent of the cores that an instance reserves (of one, where it reserves less), mean.
        memory: percent of the machine's memory, of the largest instance.
        queue: waiting calls per instance; all waiting calls while there is no instance.
        latency_ms: the watched latency percentile, in milliseconds.
        busy: share of the time, 0..1, that the instances spend predicting, mean.
        analysing: whether a deployment compares versions on these instances: removing some would distort the results.
        released: how many instances suffice, after a deployment has moved traffic elsewhere: the others are removed at
            once, as far as the load allows.
    """

    instances: int
    cpu: float | None = None
    memory: float | None = None
    queue: float | None = None
    latency_ms: float | None = None
    busy: float | None = None
    analysing: bool = False
    released: int | None = None


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """The targets and limits of autoscaling.

    Attributes:
        min_instances: the least number; 0 allows none at all after `idle_s` without work.
        max_instances: the largest number.
        target_cpu: percent of CPU (and of busy time) to run at.
        scale_up_threshold: above this percent, more instances; the other signals use the same ratio to their targets.
        scale_down_threshold: below this percent, fewer.
        target_queue: calls that may wait, per instance.
        target_latency_ms: target of the watched latency percentile; None: latency is ignored.
        target_memory: percent of the machine's memory; None: memory is ignored.
        tolerance: pressures within `1 ± tolerance` change nothing, whatever the thresholds.
        cooldown_up_s: seconds from one step up to the next.
        cooldown_down_s: seconds that the load must have been low without a break before each step down.
        idle_s: seconds without any work before the last instance is removed.
        step_up: the most instances that one step adds.
        step_down: the most instances that one step removes.

    Raises:
        InvalidInput: some values are not allowed; the message names each.
    """

    min_instances: int = 1
    max_instances: int = 4
    target_cpu: float = 70.0
    scale_up_threshold: float = 80.0
    scale_down_threshold: float = 30.0
    target_queue: float = 4.0
    target_latency_ms: float | None = None
    target_memory: float | None = 80.0
    tolerance: float = 0.1
    cooldown_up_s: float = 5.0
    cooldown_down_s: float = 60.0
    idle_s: float = 300.0
    step_up: int = 4
    step_down: int = 1

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


@dataclass(frozen=True, slots=True)
class ScalingState:
    """The state kept from one decision to the next.

    Attributes:
        target: how many instances there should be.
        up_at: when the target was last raised, in seconds; None: never.
        low_since: since when fewer would have sufficed without a break; None: they would not.
        low_peak: the largest number needed since then.
    """

    target: int
    up_at: float | None = None
    low_since: float | None = None
    low_peak: int = 0


def desired_instances(
    signals: Signals, policy: ScalingPolicy, state: ScalingState, now: float
) -> tuple[int, ScalingState, str]:
    """Return how many instances there should be from now on, the state for the next decision, and the reason.

    >>> policy = ScalingPolicy(min_instances=1, max_instances=8, target_cpu=70)
    >>> desired_instances(Signals(2, cpu=95.0), policy, ScalingState(2), now=0.0)[::2]
    (3, 'CPU at 95 %, target 70 %: from 2 to 3')

    Args:
        now: seconds on any clock; one that jumps back delays a step by one cooldown at most.
    """
    low, high = policy.min_instances, policy.max_instances
    bounded = min(max(state.target, low), high)
    if bounded != state.target and not (signals.analysing and bounded < state.target):
        reason = f"from {state.target} to {bounded}: the limits are {low} and {high}"
        return bounded, ScalingState(bounded, now if bounded > state.target else state.up_at), reason
    load, symptoms = _pressures(signals, policy)
    if not load:
        return _keep(state, "no usable signal of load")
    pressures = {**load, **symptoms} if max(load.values()) >= 1 else load
    name = max(pressures, key=lambda one: pressures[one])
    told = _told(name, signals, policy)
    wanted = _instances(signals.instances, pressures[name], high)
    if pressures[name] > policy.up_pressure:
        return _grow(wanted, policy, state, now, told)
    if signals.instances < state.target:
        return _keep(state, told)  # the load is higher than the reporting instances alone show
    left = max(wanted, low, state.target if signals.released is None else signals.released)
    if left < state.target and pressures[name] < 1 - policy.tolerance:
        return left, ScalingState(left, state.up_at), f"{told}: from {state.target} to {left}, as traffic moved away"
    if state.target and pressures[name] < policy.down_pressure:
        return _shrink(0 if _idle(signals, policy) else wanted, signals, policy, state, now, told)
    if state.target == 0 and _waiting(signals):
        return _grow(1, policy, state, now, told)
    return _keep(state, told)


def aggregate(metrics: Mapping[str, Mapping[Any, float]], replicas: Iterable[Any], *, analysing: bool) -> Signals:
    """Combine the replicas' reports into one set of signals: mean load, largest latency and memory.

    Args:
        metrics: name -> replica -> value; a value that is not finite counts as missing.
        replicas: the running replicas; reports of others are ignored.
        analysing: as in `Signals`.
    """
    running = set(replicas)
    told = {
        name: {replica: value for replica, value in values.items() if replica in running and math.isfinite(value)}
        for name, values in metrics.items()
        if name in ("busy", "cpu", "queue", "latency_ms", "memory")
    }
    load = [set(told[name]) for name in ("busy", "cpu", "queue") if told.get(name)]

    def mean(name: str) -> float | None:
        values = list(told.get(name, {}).values())
        return math.fsum(values) / len(values) if values else None

    return Signals(
        len(set.union(*load)) if load else 0,
        cpu=mean("cpu"),
        memory=max(told.get("memory", {}).values(), default=None),
        queue=mean("queue"),
        latency_ms=max(told.get("latency_ms", {}).values(), default=None),
        busy=mean("busy"),
        analysing=analysing,
    )


def _grow(
    wanted: int, policy: ScalingPolicy, state: ScalingState, now: float, told: str
) -> tuple[int, ScalingState, str]:
    target = min(wanted, state.target + policy.step_up, policy.max_instances)
    if target <= state.target:
        full = state.target >= policy.max_instances
        return _keep(state, f"{told}; {'there may not be more' if full else 'enough are on their way'}")
    up_at = None if state.up_at is None else min(state.up_at, now)
    waits = 0.0 if up_at is None or state.target == 0 else policy.cooldown_up_s - (now - up_at)
    if waits > 0:
        kept = replace(state, up_at=up_at, low_since=None, low_peak=0)
        return state.target, kept, f"{told}; {target} in {waits:.0f} s"
    return target, ScalingState(target, now), f"{told}: from {state.target} to {target}"


def _shrink(
    wanted: int, signals: Signals, policy: ScalingPolicy, state: ScalingState, now: float, told: str
) -> tuple[int, ScalingState, str]:
    if wanted >= state.target or state.target <= policy.min_instances:
        return _keep(state, told)
    if signals.analysing:
        return _keep(state, f"{told}; no fewer while a deployment is being judged")
    since = now if state.low_since is None else min(state.low_since, now)
    peak = wanted if state.low_since is None else min(max(wanted, state.low_peak), state.target)
    target = max(peak, state.target - policy.step_down, policy.min_instances)
    if target == 0 and now - since < policy.idle_s:
        target = min(1, state.target - 1)  # the last one waits longer than the others
    waits = (policy.idle_s if target == 0 else policy.cooldown_down_s) - (now - since)
    if waits > 0:
        return state.target, replace(state, low_since=since, low_peak=peak), f"{told}; {target} in {waits:.0f} s"
    return target, ScalingState(target, state.up_at), f"{told}: from {state.target} to {target}"


def _keep(state: ScalingState, told: str) -> tuple[int, ScalingState, str]:
    return state.target, replace(state, low_since=None, low_peak=0), f"{told}: {state.target} stay"


def _pressures(signals: Signals, policy: ScalingPolicy) -> tuple[dict[str, float], dict[str, float]]:
    """The pressures of the load signals, and of the symptoms, as far as they are known."""
    load = {"cpu": policy.target_cpu, "busy": policy.target_cpu / 100, "queue": policy.target_queue}
    symptoms = {"latency_ms": policy.target_latency_ms, "memory": policy.target_memory}
    return _ratios(signals, load), _ratios(signals, symptoms)


def _ratios(signals: Signals, targets: Mapping[str, float | None]) -> dict[str, float]:
    known = {name: _known(getattr(signals, name)) for name in targets}
    return {name: value / target for name, target in targets.items() if target and (value := known[name]) is not None}


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _instances(reporting: int, pressure: float, high: int) -> int:
    """`ceil(n * r)`, at least one (a model without instances counts as the work of one), limited before rounding."""
    return max(1, math.ceil(min(max(reporting, 1) * pressure, high) - _ROUNDING))


def _idle(signals: Signals, policy: ScalingPolicy) -> bool:
    """Whether nothing predicts and nothing waits. CPU does not count: an idle process uses some."""
    return policy.min_instances == 0 and _known(signals.busy) == 0 and not _waiting(signals)


def _waiting(signals: Signals) -> bool:
    return (_known(signals.queue) or 0) > 0


def _told(name: str, signals: Signals, policy: ScalingPolicy) -> str:
    """The deciding signal as text."""
    value: float = getattr(signals, name)
    match name:
        case "cpu":
            return f"CPU at {value:.0f} %, target {policy.target_cpu:g} %"
        case "busy":
            return f"busy {100 * value:.0f} % of the time, target {policy.target_cpu:g} %"
        case "queue":
            return f"{value:.1f} calls waiting per instance, target {policy.target_queue:g}"
        case "latency_ms":
            return f"latency at {value:.0f} ms, target {policy.target_latency_ms:g} ms"
        case _:
            return f"memory at {value:.0f} %, target {policy.target_memory:g} %"


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
    wholes = ("min_instances", "max_instances", "step_up", "step_down")
    positive = ("max_instances", "step_up", "step_down", "scale_down_threshold", "target_queue")
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
