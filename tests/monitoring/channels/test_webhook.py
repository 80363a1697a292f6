"""The generic webhook: a receiver can read it, verify it, and know a repetition."""

from __future__ import annotations

import base64
import hashlib
import hmac

import orjson
import pytest

from streamb.clock import ManualClock
from streamb.errors import ConfigError
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels import AlertChannel, open_channels
from tests.documented import ROOT, blocks
from tests.monitoring.channels.notifications import START, notification
from tests.monitoring.channels.receivers import Received, Receiver


def channel(http: Receiver, clock: ManualClock | None = None, **options) -> AlertChannel:
    url = f"http://127.0.0.1:{http.port}/alerts"
    spec = {"type": "webhook", "url": url, "allow_private_addresses": True, **options}
    return open_channels([spec], clock=clock or ManualClock(START))[0]


def verified(got: Received, key: bytes) -> bool:
    """As a receiver does it (docs/alerting.md)."""
    signed = b".".join([got.headers["Webhook-Id"].encode(), got.headers["Webhook-Timestamp"].encode(), got.body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [one.removeprefix("v1,") for one in got.headers["Webhook-Signature"].split()]
    return any(hmac.compare_digest(expected, one) for one in given)


def test_the_body_is_alertmanagers(http: Receiver):
    channel(http).send(notification("resolved", alerts=2))
    body = orjson.loads(http.received[0].body)
    assert {"version", "groupKey", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations"} <= set(
        body
    )
    assert (body["version"], body["status"]) == ("4", "resolved")
    assert set(body["alerts"][0]) == {
        *("status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint")
    }


def test_the_documented_body_is_one(http: Receiver):
    """docs/alerting.md shows a body as it is sent, no field more or less."""
    example = orjson.loads(blocks(ROOT / "docs" / "alerting.md", "json")[0])
    assert Notification.from_json(example).to_json() == example


def test_a_receiver_can_verify_it_and_knows_repetitions(http: Receiver):
    clock = ManualClock(START)
    one = channel(http, clock, secret="s3cret key")
    one.send(notification())
    clock.advance(60)
    one.send(notification())
    first, second = http.received
    assert all(verified(got, b"s3cret key") for got in http.received)
    assert not verified(first, b"another key")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == notification().notification_id
    assert (first.headers["Webhook-Timestamp"], second.headers["Webhook-Timestamp"]) == ("1700000000", "1700000060")
    assert first.headers["Webhook-Signature"] != second.headers["Webhook-Signature"]
    tampered = Received(first.path, first.headers, first.body.replace(b"critical", b"low"))
    assert not verified(tampered, b"s3cret key")


def test_a_key_in_base64(http: Receiver):
    channel(http, secret="whsec_" + base64.b64encode(b"bytes \x00").decode()).send(notification())
    assert verified(http.received[0], b"bytes \x00")
    with pytest.raises(ConfigError, match="must continue with base64"):
        channel(http, secret="whsec_?")


def test_headers_of_the_users_own(http: Receiver):
    one = channel(http, headers={"Authorization": "Bearer hunter2"})
    one.send(notification())
    assert http.received[0].headers["Authorization"] == "Bearer hunter2"
    assert "Webhook-Signature" not in http.received[0].headers
    assert "hunter2" not in repr(one)
