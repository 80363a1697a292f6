"""The courier: delivers notifications from the outbox in its own threads, so that nothing else waits for a receiver.

There is one thread for each channel: a receiver that hangs delays only its own notifications. Delivery is at least
once: a notification leaves the outbox after its receiver accepted it; if the process dies in between, the next one
sends it again with the same id and dedup key, by which receivers recognize it.
"""

from __future__ import annotations

import logging
import random as chance
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from streamb.asking import change, verb
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
"""The `alertname` by which receivers can distinguish trials from alerts."""
_DAY_S: Final = 86_400.0


class Courier:
    """Delivers notifications until it is stopped. Safe to use from many threads.

    Args:
        outbox: the notifications to deliver; the `receiver` of each is the name of a channel.
        channels: the channels, each with a unique name.
        clock: for pauses and dates.
        give_up_days: how long after its creation a notification is given up, in days.
        random: returns a number from 0 to 1, for the jitter of pauses.
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
        """The channels that the courier delivers to."""
        return tuple(worker.channel for worker in self._workers.values())

    def start(self) -> None:
        """Start delivering. Idempotent."""
        if self._threads:
            return
        self._stopping.clear()
        self._drop_strays()
        for name in self._workers:
            thread = threading.Thread(target=self._run, args=(name,), name=f"alerts-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """Check the outbox now, because something was added to it, instead of within half a second."""
        self._drop_strays()
        self._rouse()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop delivering, and wait at most `timeout_s` seconds for attempts in progress; False if some did not end.

        Notifications that were not delivered stay in the outbox.
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
        """Deliver in this thread what is due now, for each channel until nothing is due or it has to wait."""
        for worker in self._workers.values():
            while worker.step() == 0.0:
                pass

    @change
    def try_channel(self, name: str) -> None:
        """Send a trial notification to one channel directly, without the outbox, and wait for the result.

        Raises:
            NotFound: there is no channel with this name.
            DeliveryFailed: the channel does not work; the message says why.
        """
        worker = self._workers.get(name)
        if worker is None:
            known = ", ".join(self._workers) or "none"
            raise NotFound(f"there is no alert channel {name!r}; the channels are: {known}")
        for notification in trial_notifications(worker.channel, self._clock.now()):
            worker.send(notification)

    @verb
    def states(self) -> list[ChannelState]:
        """Return the state of each channel."""
        return [worker.state() for worker in self._workers.values()]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the attempts since the process started, by channel and outcome (`OUTCOMES`)."""
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
        """Give up notifications to channels that no longer exist, which would stay in the outbox forever."""
        try:
            for queued in self._outbox.queued():
                receiver = queued.notification.receiver
                if receiver not in self._workers:
                    reason = f"the alert channel {receiver!r} no longer exists"
                    self._outbox.failed(queued.notification.notification_id, reason, retry_at=None)
                    _log.warning("a notification is not delivered: %s", reason)
        except StreambError as error:
            _log.warning("the outbox cannot be used now: %s", error.message)


def trial_notifications(channel: AlertChannel, now: float) -> Iterator[Notification]:
    """Yield the trial notifications for a channel: a firing one, and its end if the receiver keeps incidents open."""
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
        "description": "Somebody asked streamb to test this channel. No action is needed.",
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
