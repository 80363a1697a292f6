"""Orders to start and stop apps, given to Ray Serve one after the other until Serve shows that each is carried out.

Every order ends in a known state: what Serve does not confirm in time is ordered again, and then counts as failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from streamb.clock import Clock
from streamb.cluster.background import watched
from streamb.rollouts.runtime import AppPhase, AppSpec, AppStatus, Fault

CONFIRMED_S: Final = 30.0
"""Seconds within which Serve must show what was ordered; then it is ordered again."""
MOST_ORDERS: Final = 3
"""An app that Serve has not begun to start after so many orders counts as failed."""
TRIES: Final = 5
_PAUSE_S: Final = 0.2
_log = logging.getLogger(__name__)


class Serving(Protocol):
    """Gives one order to Ray Serve; returns when Serve has accepted it."""

    def __call__(self, app: str, spec: AppSpec | None, /) -> None:
        """Start the app that `spec` describes; stop it if that is None."""
        ...


@dataclass(slots=True)
class _Order:
    """An order to start (`spec`) or to stop (None) an app.

    Attributes:
        times: how often it was given to the thread that carries out orders.
        since: the time at which its turn began; None while it waits for its turn.
    """

    spec: AppSpec | None
    status: AppStatus
    times: int = 0
    since: float | None = None

    def fail(self, reason: str) -> None:
        """End it: Ray or Serve is to blame."""
        self.status = AppStatus(AppPhase.FAILED, reason=reason, fault=Fault.INFRASTRUCTURE)


class Orders:
    """The orders that Serve has not confirmed yet. Safe to use from many threads; one thread carries them out.

    Args:
        serving: gives an order to Serve.
        clock: the source of time.
    """

    def __init__(self, serving: Serving, clock: Clock) -> None:
        self._serving = serving
        self._clock = clock
        self._lock = threading.RLock()
        self._turns = _one_thread()
        self._open: dict[str, _Order] = {}

    def __contains__(self, app: str) -> bool:
        return app in self._open

    def start(self, spec: AppSpec) -> None:
        """Order that an app starts; nothing changes if there is an order for it."""
        with self._lock:
            if spec.app not in self._open:
                order = _Order(spec, AppStatus(AppPhase.STARTING, reason="being handed to Ray Serve"))
                self._open[spec.app] = order
                self._give(spec.app, order)

    def stop(self, app: str, *, known: bool) -> None:
        """Order that an app stops; an order to start it that Serve has not seen is withdrawn.

        Args:
            app: the app.
            known: whether Serve knows the app.
        """
        with self._lock:
            order = self._open.get(app)
            if order is not None and (order.since is None or order.status.phase is AppPhase.FAILED):
                del self._open[app]
            if known and app not in self._open:
                order = self._open[app] = _Order(None, AppStatus(AppPhase.STOPPING))
                self._give(app, order)

    def statuses(self) -> dict[str, AppStatus]:
        """Return the state of each app with an order."""
        with self._lock:
            return {app: order.status for app, order in self._open.items()}

    def confirm(self, seen: Mapping[str, AppStatus]) -> None:
        """End the orders that Serve shows as carried out; `seen` are all its apps."""
        with self._lock:
            for app, order in list(self._open.items()):
                status = seen.get(app)
                stops = status is None or status.phase is AppPhase.STOPPING
                if stops if order.spec is None else status is not None:
                    del self._open[app]

    def repeat(self) -> None:
        """Give those orders again that Serve has not confirmed in time. Call it often."""
        now = self._clock.monotonic()
        with self._lock:
            waiting = {app: one for app, one in self._open.items() if one.status.phase is not AppPhase.FAILED}
            late = [app for app, one in waiting.items() if one.since is not None and now - one.since > CONFIRMED_S]
            if not late:
                return
            _log.error("Ray Serve has not confirmed the orders for %s in %g s", ", ".join(late), CONFIRMED_S)
            # A turn may hang for ever: another thread carries on with what waits behind it.
            self._turns.shutdown(wait=False)
            self._turns = _one_thread()
            for app, order in sorted(waiting.items(), key=lambda one: one[0] in late):  # what may hang comes last
                if app in late and order.spec is not None and order.times >= MOST_ORDERS:
                    order.fail(
                        f"Ray Serve has not begun to start it after {order.times} orders, {CONFIRMED_S:g} s each"
                    )
                elif app in late or order.since is None:
                    self._give(app, order)

    def close(self) -> None:
        """Carry out no more orders."""
        self._turns.shutdown(wait=False, cancel_futures=True)

    def _give(self, app: str, order: _Order) -> None:
        order.times, order.since = order.times + 1, None
        watched(self._turns.submit(self._carry_out, app, order, order.times), f"the order for {app} failed")

    def _carry_out(self, app: str, order: _Order, turn: int) -> None:
        """Give an order to Serve. Building an application fails by chance, so it is tried several times.

        Ray pickles some modules by value while it builds one and keeps them in a set of the process, which its own
        threads change at the same time.
        """
        for number in range(TRIES):
            with self._lock:
                if self._open.get(app) is not order or order.times != turn or order.status.phase is AppPhase.FAILED:
                    return  # it was withdrawn, has been given again, or has waited too long
                order.since = self._clock.monotonic()
            try:
                self._serving(app, order.spec)
            except Exception as error:
                _log.warning("Ray Serve refused an order for %s", app, exc_info=True)
                if number < TRIES - 1:
                    time.sleep(_PAUSE_S)
                elif order.spec is not None:
                    with self._lock:
                        order.fail(f"Ray Serve refused it {TRIES} times: {type(error).__name__}: {error}")
            else:
                return


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="serve-orders")
