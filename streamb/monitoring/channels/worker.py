"""Delivers what one channel is owed: one notification after the other, patient with a receiver that is in trouble."""

from __future__ import annotations

import logging
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streamb.clock import Clock, isoformat
from streamb.errors import StreambError
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.alerts.outbox import LONGEST_WAIT_S, Outbox, Queued
from streamb.monitoring.channels.channel import AlertChannel, DeliveryFailed, interval_of

_log = logging.getLogger(__name__)

DELIVERED: Final = "delivered"
RETRIED: Final = "retried"
REFUSED: Final = "refused"
GIVEN_UP: Final = "given_up"
OUTCOMES: Final = (DELIVERED, RETRIED, REFUSED, GIVEN_UP)
"""Of an attempt: it worked; it will be tried again; trying again is of no use; it was tried for too long."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
LONGEST_RETRY_AFTER_S: Final = LONGEST_WAIT_S
"""A receiver may ask for more, but is asked again after this."""

LOOK_S: Final = 0.5
"""How often a worker looks for something to do when nobody wakes it."""

BREAKER_FAILURES: Final = 5
"""Failures in a row, worth a retry each, that open a channel's breaker."""

BREAKER_RECOVERY_S: Final = 30.0
"""How long it stays open, in seconds; then one delivery tries."""

TROUBLE_S: Final = 5.0
"""How long it leaves an outbox alone that could not be written."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel is doing.

    Attributes:
        counts: attempts by outcome, since the process started.
        open: the breaker is: the receiver kept failing and is left alone for a while.
        waiting: notifications that it is owed.
        last_error: why the last attempt that failed did; "" when none has.
        last_error_at: when that was; last_delivered_at: when one last worked; seconds since the epoch, or None.
    """

    name: str
    counts: dict[str, int]
    open: bool
    waiting: int
    last_error: str
    last_error_at: float | None
    last_delivered_at: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, for people: times in ISO 8601."""
        error_at, delivered_at = self.last_error_at, self.last_delivered_at
        return {
            "name": self.name,
            "counts": dict(self.counts),
            "left_alone": self.open,
            "waiting": self.waiting,
            "last_error": self.last_error,
            "last_error_at": None if error_at is None else isoformat(error_at),
            "last_delivered_at": None if delivered_at is None else isoformat(delivered_at),
        }


class ChannelBreaker:
    """When a channel may be used: one that keeps failing is left alone for a while, then asked once whether it is back.

    `now` is of one clock that the caller holds.

    Not the breaker of `streamb.serving`: one worker asks it, one delivery at a time, so there are no generations of
    calls to tell apart; and it also keeps what a receiver asked for by `Retry-After`.
    """

    __slots__ = ("_failures", "_open", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._open = False
        self._until = 0.0

    @property
    def open(self) -> bool:
        """True from the failure that opened it until a delivery works."""
        return self._open

    def wait_s(self, now: float) -> float:
        """How long the channel must not be used yet, in seconds; 0 when it may be."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """A delivery worked."""
        self._failures = 0
        self._open = False

    def failed(self, now: float) -> None:
        """A delivery failed in a way that says something about the receiver."""
        self._failures += 1
        if self._open or self._failures >= BREAKER_FAILURES:
            self._open = True
            self.leave_alone(now, BREAKER_RECOVERY_S)

    def leave_alone(self, now: float, seconds: float) -> None:
        """Not before so many seconds from now."""
        self._until = max(self._until, now + seconds)


class ChannelWorker:
    """Takes one step at a time; its thread does nothing but that. It never raises.

    Args:
        give_up_s: a notification older than this is tried no more.
        random: between 0 and 1, for the jitter of pauses.
    """

    def __init__(
        self,
        channel: AlertChannel,
        outbox: Outbox,
        clock: Clock,
        *,
        give_up_s: float,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.channel = channel
        self._outbox = outbox
        self._clock = clock
        self._give_up_s = give_up_s
        self._random = random
        self._breaker = ChannelBreaker()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._last_error = ""
        self._last_error_at: float | None = None
        self._last_delivered_at: float | None = None
        self._untold: Callable[[], None] | None = None

    def step(self) -> float:
        """Deliver one notification if one is due and the receiver may be asked; how long to wait then, in seconds."""
        try:
            if self._untold is not None:  # what became of the last one is not in the outbox yet
                self._untold()
                self._untold = None
            if wait_s := self._breaker.wait_s(self._clock.monotonic()):
                return min(wait_s, LOOK_S)
            due = self._outbox.claim(receiver=self.channel.name)
            if not due:
                return LOOK_S
            self._untold = self._deliver(due[0])
            self._untold()
            self._untold = None
        except StreambError as error:
            _log.warning("alert channel %s: the outbox cannot be used now: %s", self.channel.name, error.message)
            return TROUBLE_S
        except Exception as error:
            _log.error("alert channel %s: %s", self.channel.name, _place_of(error))
            return TROUBLE_S
        return 0.0

    def state(self) -> ChannelState:
        """See `ChannelState`; from any thread."""
        waiting = len(self._outbox.queued(receiver=self.channel.name))
        with self._lock:
            return ChannelState(
                self.channel.name,
                dict(self._counts),
                self._breaker.open,
                waiting,
                self._last_error,
                self._last_error_at,
                self._last_delivered_at,
            )

    def send(self, notification: Notification) -> None:
        """Hand it to the channel, at once.

        Raises:
            DeliveryFailed: whatever went wrong.
        """
        try:
            self.channel.send(notification)
        except DeliveryFailed:
            raise
        except Exception as error:  # a channel of the user's own, or a mistake in one of ours
            raise DeliveryFailed(f"the channel failed: {_place_of(error)}") from None

    def _deliver(self, queued: Queued) -> Callable[[], None]:
        """Try it once; how to tell the outbox what became of it."""
        identity, outbox = queued.notification.notification_id, self._outbox
        try:
            self.send(queued.notification)
        except DeliveryFailed as error:
            failure = error
        else:
            self._breaker.succeeded()
            self._breaker.leave_alone(self._clock.monotonic(), interval_of(self.channel))
            self._count(DELIVERED, "")
            return lambda: outbox.delivered(identity)
        outcome, retry_at = self._judged(queued, failure)
        self._count(outcome, failure.message)
        said = "will try again" if retry_at is not None else f"{outcome}: it will not be delivered"
        _log.warning("alert channel %s: %s (%s)", self.channel.name, failure.message, said)
        return lambda: outbox.failed(identity, failure.message, retry_at=retry_at)

    def _judged(self, queued: Queued, failure: DeliveryFailed) -> tuple[str, float | None]:
        """The outcome of an attempt that failed, and when to try again."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        self._breaker.leave_alone(ticks, interval_of(self.channel))
        if not failure.retry:
            self._breaker.succeeded()  # somebody is there, and has an opinion on this one
            return REFUSED, None
        self._breaker.failed(ticks)
        if now - queued.notification.created_at >= self._give_up_s:
            return GIVEN_UP, None
        pause_s = backoff_s(queued.attempts + 1, self._random())
        if failure.retry_after_s is not None:
            asked_s = min(failure.retry_after_s, LONGEST_RETRY_AFTER_S)
            self._breaker.leave_alone(ticks, asked_s)  # it is the sender that is to wait, not this one notification
            pause_s = max(pause_s, asked_s)
        return RETRIED, now + pause_s

    def _count(self, outcome: str, error: str) -> None:
        now = self._clock.now()
        with self._lock:
            self._counts[outcome] += 1
            if error:
                self._last_error, self._last_error_at = error, now
            else:
                self._last_delivered_at = now


def backoff_s(failures: int, chance: float) -> float:
    """The pause after so many failures: anywhere from 1 s to a limit that doubles up to 60 s ("full jitter").

    >>> [backoff_s(n, 1.0) for n in (1, 2, 5, 6, 10_000)], backoff_s(6, 0.0)
    ([2.0, 4.0, 32.0, 60.0, 60.0], 1.0)
    """
    longest = min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10))
    return FIRST_PAUSE_S + chance * (longest - FIRST_PAUSE_S)


def _place_of(error: Exception) -> str:
    """The kind of an error and where it was raised. Not its text: that may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
