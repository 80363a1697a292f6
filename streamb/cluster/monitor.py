"""The Monitor: a detached actor that receives the pushes of all sources. No request waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

import ray
from ray.exceptions import RayError

from streamb.cluster.names import CONTROLLER, MONITOR, NAMESPACE
from streamb.config import Settings
from streamb.errors import Unavailable
from streamb.monitoring.collection.push import Ack, Push
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.opening import open_monitor
from streamb.monitoring.watches import TICK_S

REOPEN_S: Final = 5.0
"""Seconds between attempts to open it, if its folder cannot be used or a setting of a channel is wrong."""
MOST_PENDING: Final = 1_000
"""The most calls of one process that may wait for the Monitor; the process refuses further ones at once."""
_GROUPS: Final = {"pushes": 32, "queries": 8}
"""Number of threads: pushes wait for the disk, and queries must not wait for pushes."""
_log = logging.getLogger(__name__)


class MonitorActor:
    """Runs `MonitorCore`: pushes and verbs in their own threads, and the looks at all versions in another.

    It opens its files in the background, because an actor that fails to start is never started again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._core: MonitorCore | None = None
        self._trouble = "the Monitor is starting"
        self._controller: Any = None
        self._stopping = threading.Event()
        self._loop = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._loop.start()

    @ray.method(concurrency_group="pushes")
    def push(self, push: Push) -> Ack:
        """Count a source's push; returns when it is on disk.

        Raises:
            Unavailable: the Monitor is not open yet.
            StorageFailed: the push could not be written.
        """
        return self._opened().receive(push)

    @ray.method(concurrency_group="queries")
    def invoke(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one verb of the Monitor."""
        return self._opened().verbs.run(name, args, kwargs)

    def stop(self) -> None:
        """Stop the looks and write what is in memory; the caller then kills the actor."""
        self._stopping.set()
        self._loop.join(10)
        core, self._core = self._core, None
        if core is not None:
            core.close()

    def _opened(self) -> MonitorCore:
        if self._core is None:
            raise Unavailable(f"{self._trouble}; try again", retry_after_s=REOPEN_S)
        return self._core

    def _run(self) -> None:
        while self._core is None and not self._stopping.is_set():
            self._open()
        while not self._stopping.wait(TICK_S):
            self._look()

    def _open(self) -> None:
        try:
            core = open_monitor(self._settings)
            core.start()
            self._core = core
        except Exception as error:
            self._trouble = f"the Monitor cannot open its files: {error}"
            _log.exception("the Monitor cannot be opened; trying again in %s s", REOPEN_S)
            self._stopping.wait(REOPEN_S)

    def _look(self) -> None:
        core = self._core
        if core is None:
            return
        try:
            core.tick()
            if self._controller is None:
                self._controller = ray.get_actor(CONTROLLER, NAMESPACE)
            core.told(ray.get(self._controller.monitor_report.remote(core.scores()), timeout=TICK_S))
        except (RayError, ValueError) as error:  # ValueError: no Controller now; it hears the next report
            self._controller = None
            _log.info("the controller does not answer a report of drift (%s)", type(error).__name__)
        except Exception:
            _log.exception("a look at all versions failed; the next one follows")


def start_monitor(settings: Settings) -> None:
    """Start a Monitor on this cluster if there is none; returns without waiting for it."""
    remote: Any = ray.remote  # its types do not know of concurrency groups
    actor = remote(concurrency_groups=_GROUPS)(MonitorActor)
    actor.options(
        name=MONITOR,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,  # sources repeat a push themselves: by then it holds no less, and it has a number
        num_cpus=0,
        max_pending_calls=MOST_PENDING,
    ).remote(settings)


def stop_monitor(timeout_s: float) -> None:
    """Stop the Monitor of this cluster, if there is one; it writes what it has in memory first."""
    try:
        monitor = ray.get_actor(MONITOR, NAMESPACE)
    except ValueError:
        return
    try:
        ray.get(monitor.stop.remote(), timeout=timeout_s)
    except RayError as error:
        _log.warning("the Monitor did not stop by itself: %s", type(error).__name__)
    ray.kill(monitor)
