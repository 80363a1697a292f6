"""Delivers the notifications of one channel, one after the other, with retries and pauses for a failing receiver."""

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
"""The outcomes of an attempt: accepted; to be retried; refused, so not worth a retry; retried for too long."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
LONGEST_RETRY_AFTER_S: Final = LONGEST_WAIT_S
"""The longest `Retry-After` of a receiver that is honoured, in seconds."""

LOOK_S: Final = 0.5
"""How often a worker checks the outbox without being woken, in seconds."""

BREAKER_FAILURES: Final = 5
"""The number of retryable failures in a row that opens a channel's breaker."""

BREAKER_RECOVERY_S: Final = 30.0
"""How long the breaker stays open, in seconds; then one delivery is tried."""

TROUBLE_S: Final = 5.0
"""The pause after the outbox could not be written, in seconds."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """The state of a channel.

    Attributes:
        counts: attempts by outcome, since the process started.
        open: whether its breaker is open: the receiver kept failing, so nothing is sent for a while.
        waiting: the number of notifications that wait for the channel.
        last_error: the error of the last failed attempt; "" if none has failed.
        last_error_at: when that was, seconds since the epoch; None if none has failed.
        last_delivered_at: when the last delivery succeeded, seconds since the epoch; None if none has.
    """

    name: str
    counts: dict[str, int]
    open: bool
    waiting: int
    last_error: str
    last_error_at: float | None
    last_delivered_at: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object, with times in ISO 8601."""
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
    """Decides when a channel may be used: after repeated failures it is paused for a while, then tried once.

    `now` is a time of the caller's monotonic clock, in seconds.

    It differs from the breaker of `streamb.serving`: one worker uses it for one delivery at a time, so it need not
    distinguish generations of calls; and it also keeps the wait that a receiver asked for by `Retry-After`.
    """

    __slots__ = ("_failures", "_open", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._open = False
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the breaker is open: from the failure that opened it until a delivery succeeds."""
        return self._open

    def wait_s(self, now: float) -> float:
        """Return how long the channel must not be used yet, in seconds; 0 if it may be used now."""
        return max(0.0, self._until - now)

    def succeeded(self) -> None:
        """Record that a delivery succeeded, which closes the breaker."""
        self._failures = 0
        self._open = False

    def failed(self, now: float) -> None:
        """Record a failure that is due to the receiver's state; enough in a row open the breaker."""
        self._failures += 1
        if self._open or self._failures >= BREAKER_FAILURES:
            self._open = True
            self.leave_alone(now, BREAKER_RECOVERY_S)

    def leave_alone(self, now: float, seconds: float) -> None:
        """Do not use the channel for at least so many seconds from `now`."""
        self._until = max(self._until, now + seconds)


class ChannelWorker:
    """Delivers to one channel, one notification at each `step`, which never raises. Its thread only calls `step`.

    Args:
        channel: the channel to deliver to.
        outbox: where its notifications wait.
        clock: for pauses and dates.
        give_up_s: the age at which a notification is given up, in seconds.
        random: returns a number from 0 to 1, for the jitter of pauses.
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
        """Deliver one notification if one is due and the breaker allows it; returns how long to wait, in seconds."""
        try:
            if self._untold is not None:  # the outcome of the last attempt is not in the outbox yet
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
        """Return the channel's state; may be called from any thread."""
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
        """Send the notification through the channel now.

        Raises:
            DeliveryFailed: sending failed for any reason.
        """
        try:
            self.channel.send(notification)
        except DeliveryFailed:
            raise
        except BaseException as error:  # a channel of the user's own: not even SystemExit may end this thread
            raise DeliveryFailed(f"the channel failed: {_place_of(error)}") from None

    def _deliver(self, queued: Queued) -> Callable[[], None]:
        """Try to deliver once; returns the call that records the outcome in the outbox."""
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
        """The outcome of a failed attempt, and when to try again (None: never)."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        self._breaker.leave_alone(ticks, interval_of(self.channel))
        if not failure.retry:
            self._breaker.succeeded()  # the receiver works, and refuses only this one
            return REFUSED, None
        self._breaker.failed(ticks)
        if now - queued.notification.created_at >= self._give_up_s:
            return GIVEN_UP, None
        pause_s = backoff_s(queued.attempts + 1, self._random())
        if failure.retry_after_s is not None:
            asked_s = min(failure.retry_after_s, LONGEST_RETRY_AFTER_S)
            self._breaker.leave_alone(ticks, asked_s)  # all notifications of the channel wait, not only this one
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
    """Return the pause after so many failures: from 1 s to a limit that doubles up to 60 s, by chance ("full jitter").

    >>> [backoff_s(n, 1.0) for n in (1, 2, 5, 6, 10_000)], backoff_s(6, 0.0)
    ([2.0, 4.0, 32.0, 60.0, 60.0], 1.0)
    """
    longest = min(LONGEST_PAUSE_S, 2.0 ** min(failures, 10))
    return FIRST_PAUSE_S + chance * (longest - FIRST_PAUSE_S)


def _place_of(error: BaseException) -> str:
    """The kind of an error and where it was raised, without its text, which may contain a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
