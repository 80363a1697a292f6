"""`ModelScaler`: scale models with their load from a script or notebook, without a platform."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from streamb.clock import SystemClock
from streamb.errors import Conflict, InvalidInput, NotFound, Unavailable
from streamb.sdk.instance import Instance
from streamb.sdk.instance_pool import InstancePool, ScalerStatus
from streamb.sdk.rows import wire_rows
from streamb.serving.scaling_policy import ScalingPolicy

_TICK_S: Final = 1.0
_JOIN_S: Final = 10.0
_log = logging.getLogger(__name__)


class InstanceHost(Protocol):
    """Where instances run."""

    def launcher(self, factory: Callable[[], Any]) -> Callable[[], Instance]:
        """Return a function that starts an instance with the model that `factory` makes."""
        ...

    def close(self) -> None:
        """Release its resources. Idempotent."""
        ...


class ModelScaler:
    """Runs each model on instances of its own, and changes their number with the load.

    Each instance is a Ray actor with the model that your factory makes. If this process is connected to Ray, instances
    run there. Otherwise the scaler joins Ray at `address`, or starts it on this machine, and disconnects when it is
    closed. A background thread checks every second and decides as docs/scaling.md explains.

    Args:
        min_instances: the lowest number of instances; 0 stops the last one after `idle_s` without a request.
        max_instances: the highest number of instances.
        target_cpu: the CPU use, and the busy time, to aim for, in percent.
        scale_up_threshold: add instances above this percentage.
        scale_down_threshold: remove instances after `cooldown_down_s` below this percentage.
        target_queue: so many waiting requests per instance call for another one, unless they are worked off within
            `target_wait_s`.
        target_wait_s: a wait of so many seconds calls for twice as many instances.
        target_latency_ms: latency to aim for, at `latency_percentile`; considered only while the instances are at
            their target load. None: not considered.
        target_memory: percent of the machine's memory; considered likewise.
        latency_percentile: the percentile that `target_latency_ms` refers to, 1 to 99.
        cooldown_up_s: seconds of high load before each increase.
        cooldown_down_s: seconds of low load before each decrease.
        idle_s: seconds without a request before the last instance is stopped.
        max_queued_requests: most requests that may wait for one model; more are refused.
        timeout_s: maximum wait for an answer, in seconds.
        start_timeout_s: maximum wait for the first instance of a model, in seconds.
        instance_cpus: CPU share that each instance reserves on the cluster.
        address: the Ray cluster to join; by default `ML_RAY_ADDRESS`.
        host: where instances run; None: on Ray.

    Raises:
        InvalidInput: a value is not allowed; the message names each.
    """

    def __init__(
        self,
        min_instances: int = 1,
        max_instances: int = 4,
        target_cpu: float = 70,
        scale_up_threshold: float = 80,
        scale_down_threshold: float = 30,
        *,
        target_queue: float = 20,
        target_wait_s: float = 1,
        target_latency_ms: float | None = None,
        target_memory: float | None = 80,
        latency_percentile: int = 95,
        cooldown_up_s: float = 5,
        cooldown_down_s: float = 60,
        idle_s: float = 300,
        max_queued_requests: int = 1_000,
        timeout_s: float = 30,
        start_timeout_s: float = 120,
        instance_cpus: float = 0.1,
        address: str | None = None,
        host: InstanceHost | None = None,
    ) -> None:
        self._policy = ScalingPolicy(
            min_instances=min_instances,
            max_instances=max_instances,
            target_cpu=target_cpu,
            scale_up_threshold=scale_up_threshold,
            scale_down_threshold=scale_down_threshold,
            target_queue=target_queue,
            target_wait_s=target_wait_s,
            target_latency_ms=target_latency_ms,
            target_memory=target_memory,
            cooldown_up_s=cooldown_up_s,
            cooldown_down_s=cooldown_down_s,
            idle_s=idle_s,
        )
        if not 1 <= latency_percentile <= 99:
            raise InvalidInput(f"latency_percentile must be 1 to 99, not {latency_percentile}")
        if min(timeout_s, start_timeout_s) <= 0 or min(max_queued_requests, instance_cpus) < 0:
            raise InvalidInput(
                "timeout_s and start_timeout_s must be above 0, max_queued_requests and instance_cpus at least 0"
            )
        self._percentile, self._max_queued = latency_percentile, max_queued_requests
        self._timeout_s, self._start_timeout_s = timeout_s, start_timeout_s
        self._address, self._cpus = address, instance_cpus
        self._host = host
        self._pools: dict[str, InstancePool] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ModelScaler:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ModelScaler(models={sorted(self._pools)})"

    def register_model(self, name: str, factory: Callable[[], Any]) -> None:
        """Serve a model. Returns once an instance answers, or at once with `min_instances=0`.

        Args:
            name: the name of the model.
            factory: called in each instance, without arguments; returns a fitted estimator or pipeline, a torch module,
                an object of your own with `predict`, or a `Model`. It is sent by pickle.

        Raises:
            Conflict: a model with this name is served already.
            InvalidInput: the factory is not a function, or cannot be pickled.
            StartFailed: the factory raised, or Ray did not start.
        """
        if not callable(factory) or (hasattr(factory, "predict") and not isinstance(factory, type)):
            raise InvalidInput("the factory must be a function that makes the model, as in `lambda: model`")
        with self._lock:
            if name in self._pools:
                raise Conflict(f"model {name!r} is already served here; unregister it first")
            pool = InstancePool(
                name,
                self._started_host().launcher(factory),
                self._policy,
                wake=self._wake.set,
                clock=SystemClock(),
                max_queued=self._max_queued,
                percentile=self._percentile,
            )
            self._pools[name] = pool
        pool.tick()
        try:
            pool.wait_until_ready(self._start_timeout_s)
        except BaseException:
            self._drop(name)
            raise

    def predict(self, name: str, rows: Any) -> list[Any]:
        """Return one prediction per row, from the least busy instance.

        Args:
            name: the name of the model.
            rows: shape (rows, features) as an array or nested lists, a DataFrame, a list of dicts by column name, or a
                list of strings for a model of texts.

        Raises:
            NotFound: there is no such model.
            InvalidFeatures: the rows do not match the model's features; the message names each problem.
            ModelFailed: the model raised an error.
            Overloaded: too many requests wait.
            DeadlineExceeded: there was no answer in time.
            Unavailable: two instances in a row died while they had this request.
        """
        return self._pool(name).predict(wire_rows(rows), self._timeout_s)

    def status(self, name: str) -> ScalerStatus:
        """Return how many instances a model has, and why.

        Raises:
            NotFound: there is no such model.
        """
        return self._pool(name).status()

    def unregister_model(self, name: str) -> None:
        """Stop serving a model, and stop its instances.

        Raises:
            NotFound: there is no such model.
        """
        self._pool(name)
        self._drop(name)

    def close(self) -> None:
        """Stop all instances, and Ray if it was started for them. Runs at exit too. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pools, self._pools = list(self._pools.values()), {}
        atexit.unregister(self.close)
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        for pool in pools:
            pool.close()
        if self._host is not None:
            self._host.close()

    def _pool(self, name: str) -> InstancePool:
        pool = self._pools.get(name)
        if pool is None:
            raise NotFound(f"no model {name!r} is served here; models: {', '.join(sorted(self._pools)) or 'none'}")
        return pool

    def _drop(self, name: str) -> None:
        with self._lock:
            pool = self._pools.pop(name, None)
        if pool is not None:
            pool.close()

    def _started_host(self) -> InstanceHost:
        """Return the host; the first call starts Ray and the thread that scales."""
        if self._closed:
            raise Unavailable("this ModelScaler is closed")
        if self._host is None:
            from streamb.cluster.instances import RayHost  # imported late: Ray takes a second to import

            self._host = RayHost(self._address, self._cpus)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="scaler", daemon=True)
            self._thread.start()
            atexit.register(self.close)  # after Ray's own, so before it
        return self._host

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(_TICK_S)
            self._wake.clear()
            for pool in list(self._pools.values()):
                try:
                    pool.tick()
                except Exception:
                    _log.exception("a look at the instances failed; the next one follows")
