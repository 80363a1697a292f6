"""Your own webhook: posts the body that Alertmanager sends (version "4"), signed, with an id to detect repetitions.

The signature follows Standard Webhooks (github.com/standard-webhooks/standard-webhooks), so that receivers can verify
it with any of its libraries: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

import orjson
from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from streamb.clock import Clock
from streamb.errors import ConfigError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES
from streamb.monitoring.channels.http import Poster, judge
from streamb.monitoring.channels.options import PostingOptions, Secret, Variable, web_address
from streamb.options import spoken
from streamb.text import shown_within

ID_HEADER: Final = "Webhook-Id"
TIMESTAMP_HEADER: Final = "Webhook-Timestamp"
SIGNATURE_HEADER: Final = "Webhook-Signature"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_ENCODED: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts each notification to the user's own address.

    Attributes:
        name: see `AlertChannel`.
        poster: posts to that address.
        clock: gives the timestamp, which is part of what is signed.
        secret: the shared secret that signs; None: bodies are not signed.
        headers: additional headers, such as `Authorization`; their values may be secret.
        severities: the severities of the alerts that the channel sends.
    """

    name: str
    poster: Poster
    clock: Clock = field(repr=False)
    secret: SecretStr | None = field(default=None, repr=False)
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    severities: frozenset[Severity] = ALL_SEVERITIES

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`."""
        body = orjson.dumps(shown_within(notification.to_json()))
        identity, timestamp = notification.notification_id, int(self.clock.now())
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        headers |= {ID_HEADER: identity, IDEMPOTENCY_HEADER: identity, TIMESTAMP_HEADER: str(timestamp)}
        if self.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self.secret, identity, timestamp, body)
        judge(self.poster.host, self.poster.post(body, headers))


def _sendable(secret: SecretStr) -> SecretStr:
    """Check that a header can hold the value; later, the HTTP client's own error would show it."""
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable():
        raise ValueError("must be printable ASCII, since it is the value of a header")
    return secret


HeaderName = Annotated[
    str,
    StringConstraints(
        pattern=spoken(r"^[A-Za-z0-9-]+$", "cannot be the name of a header: use letters, digits and '-'")
    ),
]
HeaderValue = Annotated[Secret, AfterValidator(_sendable)]
_SECRET: Final = Variable(
    "alert_webhook_secret",
    "Key that signs what the webhook channel posts.",
    if_missing="the receiver of the webhook cannot tell our alerts from forged ones",
)


class WebhookOptions(PostingOptions):
    """The options of the user's own webhook: `secret` signs the bodies, `headers` are added to the requests."""

    kind: ClassVar[str] = "webhook"

    url: Annotated[Secret, web_address("alert_webhook_url", "Where the webhook channel posts.")]
    secret: Annotated[Secret | None, _SECRET] = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)

    def open(self, clock: Clock) -> WebhookChannel:
        """See `ChannelOptions.open`."""
        poster = self.poster(self.url, clock, *self.headers.values(), *([self.secret] if self.secret else []))
        if self.secret is not None:
            signing_key(self.secret)  # reports an invalid secret now, not with the first alert
        return WebhookChannel(self.called, poster, clock, self.secret, self.headers, self.hears_of)


def signature(secret: SecretStr, identity: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `Webhook-Signature`: "v1," and the HMAC-SHA256 in base64.

    Args:
        secret: the shared secret.
        identity: the notification's id.
        timestamp: when it is sent, whole seconds since the epoch.
        body: the body that is posted.

    >>> signature(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...     b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = b".".join((identity.encode(), str(timestamp).encode(), body))
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signing_key(secret: SecretStr) -> bytes:
    """Return the signing key: the decoded base64 after `whsec_`, or the secret itself without that prefix.

    Raises:
        ConfigError: what follows `whsec_` is not base64.
    """
    text = secret.get_secret_value()
    if not text.startswith(_ENCODED):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_ENCODED), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"a webhook secret that begins with {_ENCODED} must continue with base64") from None
