"""The courier: delivers what is in the outbox, in threads of its own, so that nothing else waits for a receiver.

One thread for each channel: a receiver that hangs holds up its own notifications only. At least once: a notification
leaves the outbox after its receiver took it; if the process dies in between, the next one sends it again with the same
id and the same dedup key, by which receivers know it.
"""

from __future__ import annotations

import logging
import random as chance
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from streamb.asking import verb
from streamb.clock import Clock
from streamb.errors import NotFound, StreambError
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, Severity, fingerprint
from streamb.monitoring.alerts.notification import (
    FIRING,
    RESOLVED,
    Notification,
    NotifiedAlert,
    digest_of,
    milliseconds,
)
from streamb.monitoring.alerts.outbox import Outbox
from streamb.monitoring.channels.channel import AlertChannel, keeps_incidents
from streamb.monitoring.channels.worker import ChannelState, ChannelWorker

_log = logging.getLogger(__name__)

GIVE_UP_DAYS: Final = 3.0
TRIAL: Final = "TestAlert"
"""The `alertname` by which receivers may tell trials from alerts."""
_DAY_S: Final = 86_400.0


class Courier:
    """Delivers until it is stopped. Safe to use from many threads.

    Args:
        outbox: what to deliver; `receiver` of a notification is the name of a channel.
        channels: each with a name of its own.
        clock: for pauses and dates.
        give_up_days: after so long a notification is tried no more.
        random: between 0 and 1, for the jitter of pauses.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Iterable[AlertChannel],
        clock: Clock,
        *,
        give_up_days: float = GIVE_UP_DAYS,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._workers = {
            channel.name: ChannelWorker(channel, outbox, clock, give_up_s=give_up_days * _DAY_S, random=random)
            for channel in channels
        }
        self._wakes = {name: threading.Event() for name in self._workers}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def channels(self) -> tuple[AlertChannel, ...]:
        """The channels that it delivers to."""
        return tuple(worker.channel for worker in self._workers.values())

    def start(self) -> None:
        """Begin to deliver; does nothing when it has begun."""
        if self._threads:
            return
        self._stopping.clear()
        self._drop_strays()
        for name in self._workers:
            thread = threading.Thread(target=self._run, args=(name,), name=f"alerts-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """Something was put into the outbox: look now instead of within half a second."""
        self._drop_strays()
        self._rouse()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Deliver no more. What is being sent may end within `timeout_s`; False when it did not.

        What was not delivered stays in the outbox.
        """
        self._stopping.set()
        self._rouse()
        deadline = self._clock.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        self._threads.clear()
        return ended

    def deliver_due(self) -> None:
        """Deliver in this thread whatever is due now, each channel until it has nothing to do or has to wait."""
        for worker in self._workers.values():
            while worker.step() == 0.0:
                pass

    @verb
    def try_channel(self, name: str) -> None:
        """Send a trial to one channel, past the outbox; takes as long as the channel does.

        Raises:
            NotFound: no channel has this name.
            DeliveryFailed: it does not work; says why.
        """
        worker = self._workers.get(name)
        if worker is None:
            known = ", ".join(self._workers) or "none"
            raise NotFound(f"no alert channel is called {name!r}; there are: {known}")
        for notification in trial_notifications(worker.channel, self._clock.now()):
            worker.send(notification)

    @verb
    def states(self) -> list[ChannelState]:
        """How each channel is doing."""
        return [worker.state() for worker in self._workers.values()]

    def counts(self) -> dict[tuple[str, str], int]:
        """Attempts by channel and outcome (`OUTCOMES`), since the process started."""
        return {(state.name, outcome): n for state in self.states() for outcome, n in state.counts.items()}

    def _run(self, name: str) -> None:
        worker, wake = self._workers[name], self._wakes[name]
        while not self._stopping.is_set():
            wake.clear()
            wait_s = worker.step()
            if wait_s and not self._stopping.is_set():
                wake.wait(wait_s)

    def _rouse(self) -> None:
        for event in self._wakes.values():
            event.set()

    def _drop_strays(self) -> None:
        """What is addressed to a channel that is no more would stay in the outbox for ever."""
        try:
            for queued in self._outbox.queued():
                receiver = queued.notification.receiver
                if receiver not in self._workers:
                    reason = f"no alert channel is called {receiver!r} any more"
                    self._outbox.failed(queued.notification.notification_id, reason, retry_at=None)
                    _log.warning("a notification is not delivered: %s", reason)
        except StreambError as error:
            _log.warning("the outbox cannot be used now: %s", error.message)


def trial_notifications(channel: AlertChannel, now: float) -> Iterator[Notification]:
    """What to send to `channel` to see whether it works: one that fires; then its end, where incidents stay open."""
    firing = _firing(channel.name, milliseconds(now))
    yield firing
    if keeps_incidents(channel):
        over = replace(firing.alerts[0], status=RESOLVED, ends_at=firing.created_at)
        identity = digest_of(firing.notification_id, RESOLVED)
        yield replace(firing, notification_id=identity, status=RESOLVED, alerts=(over,))


def _firing(receiver: str, now: float) -> Notification:
    labels = {ALERT_NAME: TRIAL, MODEL: "", SEVERITY: str(Severity.LOW)}
    annotations = {
        "summary": "This is a test: nothing is wrong",
        "description": "Somebody asked streamb to try this channel. There is nothing to do.",
    }
    identity = digest_of(TRIAL, receiver, now)
    return Notification(
        notification_id=identity,
        receiver=receiver,
        group_key=f"{receiver}:{TRIAL}",
        status=FIRING,
        group_labels={ALERT_NAME: TRIAL},
        common_labels=labels,
        common_annotations=annotations,
        alerts=(NotifiedAlert(FIRING, labels, annotations, now, None, fingerprint(labels)),),
        dedup_key=identity,
        created_at=now,
    )
