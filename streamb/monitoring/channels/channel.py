"""What every alert channel is: a name, and a way to send one notification that either worked or says how to go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, Protocol

from pydantic import SecretStr

from streamb.errors import StreambError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification

ALL_SEVERITIES: Final = frozenset(Severity)
_HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 4


class DeliveryFailed(StreambError):
    """A receiver did not take a notification.

    Args:
        message: what happened, without any secret: it is logged and shown.
        retry: the same may work later; False when only a person can help (a wrong key, a receiver that is gone).
        retry_after_s: how long the receiver asked to be left alone, in seconds.
    """

    status: ClassVar[int] = 502
    code: ClassVar[str] = "delivery_failed"

    def __init__(self, message: str, *, retry: bool = True, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, retry=retry, retry_after_s=retry_after_s, **details)
        self.retry = retry
        self.retry_after_s = retry_after_s


class AlertChannel(Protocol):
    """Where alerts can be sent. A channel keeps nothing between notifications: a trial may run beside a delivery.

    Attributes:
        name: how it is called in routes, commands and counts; no other channel has it.
    """

    @property
    def name(self) -> str: ...

    def send(self, notification: Notification) -> None:
        """Hand the notification over, once, within the time limits of the channel.

        Raises:
            DeliveryFailed: it was not taken, or it is not certain.
        """
        ...


def severities_of(channel: AlertChannel) -> frozenset[Severity]:
    """The severities that a channel was opened for; all of them where it does not say."""
    chosen: frozenset[Severity] = getattr(channel, "severities", ALL_SEVERITIES)
    return chosen


def interval_of(channel: AlertChannel) -> float:
    """The shortest time between two sends that the receiver allows, in seconds; 0 where the channel does not say."""
    return float(getattr(channel, "interval_s", 0.0))


def keeps_incidents(channel: AlertChannel) -> bool:
    """True where what was triggered stays open until it is resolved."""
    return bool(getattr(channel, "keeps_incidents", False))


def redacted(text: str, secrets: Iterable[SecretStr | None]) -> str:
    """Text from outside (an answer, an error) without the secrets that it may repeat."""
    for secret in secrets:
        value = secret.get_secret_value() if secret is not None else ""
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, _HIDDEN)
    return text


def one_line(text: str, limit: int) -> str:
    """Text on one line, cut to `limit` characters with an ellipsis.

    >>> one_line("first\\n  second", 9)
    'first se…'
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
