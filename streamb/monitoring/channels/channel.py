"""The interface of alert channels: a name, and a method that sends one notification or raises `DeliveryFailed`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Protocol

from pydantic import SecretStr

from streamb.errors import StreambError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification
from streamb.text import shown

ALL_SEVERITIES: Final = frozenset(Severity)
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 4


class DeliveryFailed(StreambError):
    """A receiver did not accept a notification.

    Args:
        message: what happened, without secrets, since it is logged and shown.
        retry: whether the same attempt may work later; False if a person has to act (a wrong key, a deleted receiver).
        retry_after_s: how long the receiver asked to wait before the next attempt, in seconds.
    """

    status: ClassVar[int] = 502
    code: ClassVar[str] = "delivery_failed"

    def __init__(self, message: str, *, retry: bool = True, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, retry=retry, retry_after_s=retry_after_s, **details)
        self.retry = retry
        self.retry_after_s = retry_after_s


class AlertChannel(Protocol):
    """Sends notifications. It keeps no state between them, so a trial may run at the same time as a delivery.

    Attributes:
        name: the channel's unique name in routes, commands and counts.
    """

    @property
    def name(self) -> str: ...

    def send(self, notification: Notification) -> None:
        """Send the notification once, within the time limits of the channel.

        Raises:
            DeliveryFailed: the receiver did not accept it, or that is not certain.
        """
        ...


def severities_of(channel: AlertChannel) -> frozenset[Severity]:
    """Return the severities that a channel was opened for; all of them if it does not declare any."""
    chosen: frozenset[Severity] = getattr(channel, "severities", ALL_SEVERITIES)
    return chosen


def interval_of(channel: AlertChannel) -> float:
    """Return the shortest time between two sends that the receiver allows, in seconds; 0 if not declared."""
    return float(getattr(channel, "interval_s", 0.0))


def keeps_incidents(channel: AlertChannel) -> bool:
    """Return whether an incident that is triggered at the receiver stays open until it is resolved."""
    return bool(getattr(channel, "keeps_incidents", False))


def redacted(text: str, secrets: Iterable[SecretStr | None]) -> str:
    """Return text from outside (an answer, an error) with each secret in it replaced by "***"."""
    for secret in secrets:
        value = secret.get_secret_value() if secret is not None else ""
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _HIDDEN)
    return text


def one_line(text: str, limit: int) -> str:
    """Return the text on one line, harmless (see `shown`), cut to at most `limit` characters with an ellipsis.

    >>> one_line("first\\n  second", 9)
    'first se…'
    """
    flat = shown(" ".join(text.split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
