"""Decides how many instances a model needs: one pure function for Serve applications and for `ModelScaler`.

Notation: `n` instances report; all values are per instance. By the utilisation law (Denning & Buzen, "The Operational
Analysis of Queueing Network Models", ACM Computing Surveys 10(3), 1978) an instance that answers `X` requests a second
and is busy for a share `busy` of the time needs `busy / X` seconds for each, so `λ` arrivals a second are work for
`λ * busy / X` instances. What arrives and is not answered makes the queue `q` grow, by `g = λ - X` a second, and where
a queue grows the instance is busy all the time:

    demand = busy + g / X + s / Q        Q = max(target_queue, target_wait_s * X)

`s = min(q, max(2 * (q - 30 * |g|), 0))` is the part of the queue that stands: nothing of one that came within half a
minute or will be gone in half a minute, and all of one that takes a minute to come or go. The former is explained by
its growth, or is being worked off (and what that costs of the CPU is left out, too). `s` has no size of its own, since
who waits asks for no more meanwhile; by Little's law (`q = X * wait`) `s / Q` is the wait as a multiple of
`target_wait_s`, and so much more is called for. Growth counts only beyond what chance makes of Poisson arrivals,
`sqrt(X)` a second. Then

    desired = ceil(n * r)                           r = demand / (target_cpu / 100)

(Kubernetes, "Horizontal Pod Autoscaling", section "Algorithm details"), the largest over the signals, once the pressure
`r` of one of them stays above `scale_up_threshold / target_cpu`; and the same number downwards once the pressures of
all of them stay below `scale_down_threshold / target_cpu`. Between the two nothing moves. As `ceil` leaves a pressure
of at most 1, and no threshold for more lies below that, a load that stays as it is never makes the number swing.

Signals of load (CPU, demand) decide alone. Latency and memory are symptoms: a slow model is slow, and a big one big, on
any number of instances. They count only while a signal of load is at its target or above.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, linear_regression
from typing import Any, Final

from streamb.serving.scaling_policy import ScalingPolicy

_ROUNDING: Final = 1e-9
"""`n * r` may exceed a whole number by this much without adding an instance."""
_TRANSIENT_S: Final = 30.0
"""A queue that came within so many seconds, or will be gone in so many, does not stand."""
_LOOK_S: Final = 4.0
"""The queue is looked at over so many seconds: fewer than a load must last, so that no look is from before it came."""


@dataclass(frozen=True, slots=True)
class Signals:
    """The present load of the instances. None, NaN, infinite and negative values count as unknown.

    Attributes:
        instances: the number of instances that the other numbers describe.
        cpu: percent of the cores that an instance reserves (of one, where it reserves less), mean.
        memory: percent of the machine's memory, of the largest instance.
        queue: requests that wait, per instance; all of them while there is no instance.
        growth: by how many requests a second that number grows; negative while it falls.
        rate: requests that an instance answers per second, mean.
        latency_ms: the watched latency percentile, in milliseconds.
        busy: share of the time, 0..1, that the instances spend predicting, mean.
        analysing: whether a deployment compares versions on these instances: removing some would distort the results.
        released: how many instances suffice, after a deployment has moved traffic elsewhere: the others are removed at
            once, as far as the load allows.
        blind: whether there is a queue elsewhere that is not known now: no instance is removed meanwhile.
    """

    instances: int
    cpu: float | None = None
    memory: float | None = None
    queue: float | None = None
    latency_ms: float | None = None
    busy: float | None = None
    analysing: bool = False
    released: int | None = None
    growth: float | None = None
    rate: float | None = None
    blind: bool = False


@dataclass(frozen=True, slots=True)
class ScalingState:
    """The state kept from one decision to the next.

    Attributes:
        target: how many instances there should be.
        high_since: since when more would have been needed without a break, in seconds; None: they would not.
        low_since: since when fewer would have sufficed without a break; None: they would not.
        low_peak: the largest number needed since then (but for the first seconds).
    """

    target: int
    high_since: float | None = None
    low_since: float | None = None
    low_peak: int = 0


def desired_instances(
    signals: Signals, policy: ScalingPolicy, state: ScalingState, now: float
) -> tuple[int, ScalingState, str]:
    """Return how many instances there should be from now on, the state for the next decision, and the reason.

    >>> signals, policy = Signals(1, busy=1.0, queue=60, rate=30), ScalingPolicy(max_instances=8, target_cpu=70)
    >>> desired_instances(signals, policy, ScalingState(1, high_since=0.0), now=5.0)[::2]
    (5, 'busy 100 % of the time, 60 requests wait per instance (2.0 s), target 70 %: from 1 to 5')

    Args:
        now: seconds on any clock; one that jumps back delays a step by one cooldown at most.
    """
    low, high = policy.min_instances, policy.max_instances
    bounded = min(max(state.target, low), high)
    if bounded != state.target and not (signals.analysing and bounded < state.target):
        reason = f"from {state.target} to {bounded}: the limits are {low} and {high}"
        return bounded, ScalingState(bounded), reason
    load, symptoms = _pressures(signals, policy, state)
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
    if left < state.target and pressures[name] < 1 - policy.tolerance and not signals.blind:
        return left, ScalingState(left), f"{told}: from {state.target} to {left}, as traffic moved away"
    if state.target and pressures[name] < policy.down_pressure:
        return _shrink(0 if _idle(signals, policy) else wanted, signals, policy, state, now, told)
    if state.target == 0 and _waiting(signals):
        return _grow(1, policy, state, now, told)
    return _keep(state, told)


def aggregate(metrics: Mapping[str, Mapping[Any, float]], replicas: Iterable[Any], *, analysing: bool) -> Signals:
    """Combine the instances' reports into one set of signals: mean load, largest latency and memory.

    Args:
        metrics: name -> replica -> value; a value that is not finite counts as missing.
        replicas: the running replicas; reports of others are ignored.
        analysing: as in `Signals`.
    """
    running = set(replicas)
    told = {
        name: {replica: value for replica, value in values.items() if replica in running and math.isfinite(value)}
        for name, values in metrics.items()
        if name in ("busy", "cpu", "queue", "rate", "latency_ms", "memory")
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
        rate=mean("rate"),
    )


class QueueTrend:
    """How many requests there are, waiting or being answered, over the last seconds, and how fast they become more."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()

    def add(self, at: float, requests: float | None) -> None:
        """Remember a look.

        Args:
            at: seconds on any clock.
            requests: how many there are; None: unknown, so that the looks before tell nothing of the present either.
        """
        if requests is None or (self._looks and at < self._looks[-1][0]):
            self._looks.clear()
        if requests is not None:
            self._looks.append((at, requests))
        while self._looks and at - self._looks[0][0] >= _LOOK_S:
            self._looks.popleft()

    def seen_by(self, signals: Signals) -> Signals:
        """Return the signals with the mean queue and its growth, if known.

        A request for each busy instance does not wait: it is being answered.
        """
        if not self._looks:
            return signals
        times, lengths = zip(*self._looks, strict=True)
        count = max(signals.instances, 1)
        growth = linear_regression(times, lengths).slope if times[-1] > times[0] else 0.0
        waiting = max(fmean(lengths) / count - (_known(signals.busy) or 0), 0.0)
        return replace(signals, queue=waiting, growth=growth / count)


def _grow(
    wanted: int, policy: ScalingPolicy, state: ScalingState, now: float, told: str
) -> tuple[int, ScalingState, str]:
    target = min(wanted, policy.max_instances)
    if target <= state.target:
        full = state.target >= policy.max_instances
        return _keep(state, f"{told}; {'there may not be more' if full else 'enough are on their way'}")
    since = now if state.high_since is None else min(state.high_since, now)
    waits = policy.cooldown_up_s - (now - since) if state.target else 0.0
    if waits > 0:
        return state.target, ScalingState(state.target, since), f"{told}; {target} in {waits:.0f} s"
    return target, ScalingState(target), f"{told}: from {state.target} to {target}"


def _shrink(
    wanted: int, signals: Signals, policy: ScalingPolicy, state: ScalingState, now: float, told: str
) -> tuple[int, ScalingState, str]:
    if wanted >= state.target or state.target <= policy.min_instances:
        return _keep(state, told)
    if signals.analysing:
        return _keep(state, f"{told}; no fewer while a deployment is being judged")
    if signals.blind:
        return _keep(state, f"{told}; no fewer while it is not known what waits")
    since = now if state.low_since is None else min(state.low_since, now)
    # In the first seconds the signals, which are means, still hold what was before.
    peak = wanted if now - since < _LOOK_S else min(max(wanted, state.low_peak), state.target)
    target = max(peak, policy.min_instances)
    if target == 0 and now - since < policy.idle_s:
        target = min(1, state.target - 1)  # the last one waits longer than the others
    waits = (policy.idle_s if target == 0 else policy.cooldown_down_s) - (now - since)
    if waits > 0:
        kept = ScalingState(state.target, low_since=since, low_peak=peak)
        return state.target, kept, f"{told}; {target} in {waits:.0f} s"
    return target, ScalingState(target), f"{told}: from {state.target} to {target}"


def _keep(state: ScalingState, told: str) -> tuple[int, ScalingState, str]:
    return state.target, ScalingState(state.target), f"{told}: {state.target} stay"


def _pressures(
    signals: Signals, policy: ScalingPolicy, state: ScalingState
) -> tuple[dict[str, float], dict[str, float]]:
    """The pressures of the load signals, and of the symptoms, as far as they are known."""
    load = {
        "cpu": (_arriving_cpu(signals), policy.target_cpu),
        "demand": (_demand(signals, policy, state), policy.target_cpu / 100),
    }
    symptoms = {
        "latency_ms": (signals.latency_ms, policy.target_latency_ms),
        "memory": (signals.memory, policy.target_memory),
    }
    return _ratios(load), _ratios(symptoms)


def _ratios(signals: Mapping[str, tuple[float | None, float | None]]) -> dict[str, float]:
    known = {name: (_known(value), target) for name, (value, target) in signals.items()}
    return {name: value / target for name, (value, target) in known.items() if target and value is not None}


def _demand(signals: Signals, policy: ScalingPolicy, state: ScalingState) -> float | None:
    """The work that arrives for each instance, in busy instances (see the top of this module); None if unknown."""
    busy, queue, rate = _known(signals.busy), _known(signals.queue), _known(signals.rate) or 0.0
    if queue is None:
        return busy
    growth = signals.growth if signals.growth is not None and math.isfinite(signals.growth) else 0.0
    chance = math.sqrt(max(rate, 1.0) / max(signals.instances, 1))
    steady = min(growth, 0.0) + max(growth - chance, 0.0)
    # What waits for instances that are on their way calls for no others.
    ready = signals.instances >= state.target
    standing = min(queue, max(2 * (queue - _TRANSIENT_S * abs(growth)), 0.0)) if ready else 0.0
    in_time = max(policy.target_queue, policy.target_wait_s * rate)
    return max((busy or 0.0) + (steady / rate if rate else 0.0) + standing / in_time, 0.0)


def _arriving_cpu(signals: Signals) -> float | None:
    """The CPU use without the part that works off what had arrived before; None if unknown."""
    cpu, rate, growth = _known(signals.cpu), _known(signals.rate), signals.growth
    if cpu is None or not rate or growth is None or not -math.inf < growth < 0:
        return cpu
    return cpu * max(1 + growth / rate, 0.0)


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
    if name == "demand":
        return f"{_told_demand(signals)}, target {policy.target_cpu:g} %"
    value: float = getattr(signals, name)
    match name:
        case "cpu":
            return f"CPU at {value:.0f} %, target {policy.target_cpu:g} %"
        case "latency_ms":
            return f"latency at {value:.0f} ms, target {policy.target_latency_ms:g} ms"
        case _:
            return f"memory at {value:.0f} %, target {policy.target_memory:g} %"


def _told_demand(signals: Signals) -> str:
    busy, queue, rate = _known(signals.busy), _known(signals.queue), _known(signals.rate)
    told = [] if busy is None else [f"busy {100 * busy:.0f} % of the time"]
    if queue:
        told.append(f"{queue:.0f} requests wait per instance" + (f" ({queue / rate:.1f} s)" if rate else ""))
    return ", ".join(told or ["nothing waits"])
