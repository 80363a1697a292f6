"""A webhook of your own: the body that Alertmanager sends (version "4"), signed, with an id to know repetitions by.

Signed as the Standard Webhooks specification has it (github.com/standard-webhooks/standard-webhooks), so that receivers
may verify with any of its libraries: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
from pydantic import SecretStr

from streamb.clock import Clock
from streamb.errors import ConfigError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES
from streamb.monitoring.channels.http import Poster, judge

ID_HEADER: Final = "Webhook-Id"
TIMESTAMP_HEADER: Final = "Webhook-Timestamp"
SIGNATURE_HEADER: Final = "Webhook-Signature"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
_ENCODED: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts to an address of the user's.

    Attributes:
        name: see `AlertChannel`.
        poster: to that address.
        clock: when a body was signed is signed, too.
        secret: what both sides know; None: nothing is signed.
        headers: sent as they are, such as `Authorization`; may be secret.
        severities: of which alerts it is told.
    """

    name: str
    poster: Poster
    clock: Clock = field(repr=False)
    secret: SecretStr | None = field(default=None, repr=False)
    headers: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    severities: frozenset[Severity] = ALL_SEVERITIES

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`."""
        body = orjson.dumps(notification.to_json())
        identity, timestamp = notification.notification_id, int(self.clock.now())
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        headers |= {ID_HEADER: identity, IDEMPOTENCY_HEADER: identity, TIMESTAMP_HEADER: str(timestamp)}
        if self.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self.secret, identity, timestamp, body)
        judge(self.poster.host, self.poster.post(body, headers))


def signature(secret: SecretStr, identity: str, timestamp: int, body: bytes) -> str:
    """The value of `Webhook-Signature`: "v1," and the HMAC-SHA256 in base64.

    >>> signature(SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
    ...     b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = b".".join((identity.encode(), str(timestamp).encode(), body))
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signing_key(secret: SecretStr) -> bytes:
    """The key that a secret stands for: what follows `whsec_` is base64, anything else counts as it is.

    Raises:
        ConfigError: there is no base64 after `whsec_`.
    """
    text = secret.get_secret_value()
    if not text.startswith(_ENCODED):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_ENCODED), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(
            f"a webhook secret that begins with {_ENCODED} goes on with base64; this one does not"
        ) from None
