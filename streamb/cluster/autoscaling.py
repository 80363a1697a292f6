"""Autoscaling of model versions on Ray Serve: the statistics of each replica, and the policy that Serve calls.

The decision is `streamb.serving.scaling`. Serve calls a policy inside its own control loop and catches nothing: an
exception there would stall every app's updates. So this policy catches all exceptions and keeps the present number.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final, ParamSpec, TypeVar

import psutil

from streamb.clock import Clock, SystemClock
from streamb.cluster.names import CONTROLLER, NAMESPACE
from streamb.metrics.histogram import LatencyHistogram, bucket_of
from streamb.serving.scaling import QueueTrend, ScalingState, aggregate, desired_instances
from streamb.serving.scaling_policy import ScalingPolicy

SERVE_POLICY: Final = "streamb.cluster.autoscaling:ServePolicy"
_LOOK_BACK_S: Final = 6.0
"""The replicas' signals are means over this many seconds."""
_PUSH_S: Final = 2.0
_DECIDE_S: Final = 1.0
_COMPLAIN_S: Final = 60.0
_HINTS_S: Final = 1.0
_HINTS_TIMEOUT_S: Final = 5.0
_STALE_S: Final = 4.0
"""Without an answer of the Controller for so many seconds it is unknown how many requests there are."""

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")


def autoscaling_config(policy: ScalingPolicy, *, app: str, initial: int | None = None) -> dict[str, Any]:
    """Return the `autoscaling_config` of a Serve deployment that scales by `policy`.

    Args:
        app: the Serve application, for which the Controller is asked for hints.
        initial: number of replicas to start with; by default the policy's minimum.
    """
    return {
        "min_replicas": policy.min_instances,
        "max_replicas": policy.max_instances,
        "initial_replicas": policy.min_instances if initial is None else initial,
        "look_back_period_s": _LOOK_BACK_S,
        # Deprecated in favour of a variable that Ray 2.60 reads and then does not use: without it, every ten seconds.
        "metrics_interval_s": _PUSH_S,
        # Our policy has its own cooldowns; Serve's would come on top of them.
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {"policy_function": SERVE_POLICY, "policy_kwargs": {"app": app, "policy": asdict(policy)}},
    }


class ServePolicy:
    """Tells Ray Serve, inside Serve's controller, how many replicas an app should have. Made once per app.

    Serve pickles this class by value, so it and what it uses here must stay free of state at module level.

    Args:
        policy: the fields of a `ScalingPolicy`.
        app: the app whose hints are used; "" uses none.
        hints: the source of hints; by default a thread that asks the Controller.
    """

    def __init__(
        self, policy: Mapping[str, Any], app: str = "", hints: Callable[[], Mapping[str, Any]] | None = None
    ) -> None:
        self._complained_at = -math.inf
        self._decided_at = -math.inf
        self._policy: ScalingPolicy | None = None
        self._hints = hints
        self._trend = QueueTrend()
        try:
            self._policy = ScalingPolicy(**policy)
            if hints is None and app:
                self._hints = _HintReader(app).follow(self)
        except Exception:
            _log.exception("this autoscaling policy cannot be used; the number of replicas stays: %s", policy)

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas, and the state that Serve passes to the next call; never raises.

        Args:
            ctx: Serve's `AutoscalingContext`.
        """
        target, kept = ctx.target_num_replicas, dict(ctx.policy_state or {})
        try:
            if self._policy is None or 0 <= ctx.current_time - self._decided_at < _DECIDE_S:
                return target, kept
            self._decided_at = ctx.current_time
            return self._decide(ctx, self._policy)
        except Exception:
            if not 0 <= ctx.current_time - self._complained_at < _COMPLAIN_S:
                self._complained_at = ctx.current_time
                _log.exception("autoscaling of %s failed; it keeps its %s replicas", ctx.app_name, target)
            return target, kept

    def _decide(self, ctx: Any, policy: ScalingPolicy) -> tuple[int, dict[str, Any]]:
        hints = self._hints() if self._hints is not None else {}
        high = int(ctx.capacity_adjusted_max_replicas)
        low = min(high, max(int(ctx.capacity_adjusted_min_replicas), int(hints.get("floor", 0))))
        kept = ctx.policy_state or {}
        state = ScalingState(
            ctx.target_num_replicas, kept.get("high_since"), kept.get("low_since"), int(kept.get("low_peak", 0))
        )
        requests = hints.get("in_flight")
        self._trend.add(ctx.current_time, requests)
        signals = aggregate(ctx.aggregated_metrics or {}, ctx.running_replicas, analysing=bool(hints.get("analysing")))
        blind = self._hints is not None and requests is None
        signals = self._trend.seen_by(replace(signals, released=hints.get("released"), blind=blind))
        bounded = replace(policy, min_instances=low, max_instances=high)
        desired, state, reason = desired_instances(signals, bounded, state, ctx.current_time)
        if desired != ctx.target_num_replicas:
            _log.warning("%s: %s", ctx.app_name, reason)  # our Serve processes log nothing below a warning
        return desired, {"high_since": state.high_since, "low_since": state.low_since, "low_peak": state.low_peak}


class ReplicaStats:
    """Measures how busy a predicting process is; `numbers` covers the time since it was last called.

    Costs about a microsecond per call. `arrived` and `left` surround a call, `timed` the prediction in its thread; all
    three are told how many requests the call carries.

    Args:
        cores: the cores that the process reserves; CPU is reported in percent of them, or of one core if fewer.
        percentile: which latency percentile is reported.
    """

    def __init__(
        self,
        *,
        cores: float = 1.0,
        percentile: int = 95,
        clock: Clock | None = None,
        process: psutil.Process | None = None,
    ) -> None:
        self._cores = max(cores, 1.0)
        self._quantile = percentile / 100
        self._clock = clock or SystemClock()
        self._process = process or psutil.Process()
        self._lock = threading.Lock()
        self._present = self._working = self._answered = 0
        self._waited_s = self._worked_s = 0.0
        self._latencies: Counter[int] = Counter()
        self._changed_at = self._told_at = self._clock.monotonic()
        self._cpu_s = self._cpu_seconds()

    def arrived(self, requests: int = 1) -> float:
        """Record the start of a call; pass the returned time to `left`."""
        with self._lock:
            now = self._account()
            self._present += requests
        return now

    def left(self, arrived_at: float, requests: int = 1, *, answered: bool = True) -> None:
        """Record the end of a call; only answered calls count in the latency and in the rate."""
        with self._lock:
            now = self._account()
            self._present -= requests
            if answered:
                self._answered += requests
                self._latencies[bucket_of(now - arrived_at)] += 1

    def timed(self, requests: int, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call `function`, and count the time as busy. Must be called in the predicting thread."""
        with self._lock:
            self._account()
            self._working += requests
        try:
            return function(*args, **kwargs)
        finally:
            with self._lock:
                self._account()
                self._working -= requests

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the time since the last call of this method.

        They are busy (0 to 1), cpu and memory (percent), queue (requests that waited here, mean), rate (requests
        answered per second), and latency_ms (if there were calls).
        """
        cpu_s = self._cpu_seconds()
        with self._lock:
            now = self._account()
            seconds = max(now - self._told_at, 1e-3)
            told = {
                "busy": min(self._worked_s / seconds, 1.0),
                "cpu": max(100.0 * (cpu_s - self._cpu_s) / seconds / self._cores, 0.0),
                "queue": self._waited_s / seconds,
                "rate": self._answered / seconds,
            }
            latencies = LatencyHistogram(tuple(sorted(self._latencies.items())))
            self._told_at, self._cpu_s = now, cpu_s
            self._waited_s = self._worked_s = 0.0
            self._answered = 0
            self._latencies.clear()
        told["memory"] = float(self._process.memory_percent("rss"))
        slow = latencies.quantile(self._quantile)
        return told if slow is None else {**told, "latency_ms": 1e3 * slow}

    def _account(self) -> float:
        """Add the time since the last change to the sums; return the present time."""
        now = self._clock.monotonic()
        passed = now - self._changed_at
        self._waited_s += passed * max(self._present - self._working, 0)
        self._worked_s += passed * min(self._working, 1)
        self._changed_at = now
        return now

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


class _HintReader:
    """Polls the Controller, in its own thread, for hints about an app; without an answer the last hints stay valid.

    The hints: "analysing", whether a deployment is being judged; "floor", the least number of replicas it needs of the
    app, or "released", the most that it still needs; "in_flight", the requests in all gateways that wait for the app or
    for its answer. That one becomes None, unknown, once it is `_STALE_S` old.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._stop = threading.Event()
        self._clock = SystemClock()
        self._latest: tuple[float, Mapping[str, Any]] = (-math.inf, {})

    def follow(self, policy: ServePolicy) -> Callable[[], Mapping[str, Any]]:
        """Start polling, until `policy` is no longer used; return a function that gives the latest hints."""
        weakref.finalize(policy, self._stop.set)
        threading.Thread(target=self._run, name="scaling-hints", daemon=True).start()
        return self._told

    def _told(self) -> Mapping[str, Any]:
        at, hints = self._latest
        return hints if self._clock.monotonic() - at < _STALE_S else {**hints, "in_flight": None}

    def _run(self) -> None:
        while not self._stop.wait(_HINTS_S):
            try:
                self._latest = self._clock.monotonic(), self._ask()
            except Exception as error:
                _log.debug("no scaling hints for %s: %s", self._app, error)

    def _ask(self) -> Mapping[str, Any]:
        import ray

        controller = ray.get_actor(CONTROLLER, namespace=NAMESPACE)
        hints: Any = ray.get(controller.scaling_hints.remote(self._app), timeout=_HINTS_TIMEOUT_S)
        return dict(hints)
