"""A receiver that keeps failing is left alone for a while, then asked once whether it is back."""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5
"""Failures in a row, worth a retry each, that open it."""

RECOVERY_S: Final = 30.0
"""How long it stays open, in seconds; then one delivery tries."""


class ChannelBreaker:
    """When a channel may be used; `now` is of one clock that the caller holds.

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
        if self._open or self._failures >= FAILURES:
            self._open = True
            self.leave_alone(now, RECOVERY_S)

    def leave_alone(self, now: float, seconds: float) -> None:
        """Not before so many seconds from now."""
        self._until = max(self._until, now + seconds)
