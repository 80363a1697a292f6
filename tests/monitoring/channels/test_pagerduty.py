"""PagerDuty: what is sent, within what limits, and what its answers mean."""

from __future__ import annotations

import orjson
import pytest

from streamb.clock import ManualClock
from streamb.monitoring.channels import AlertChannel, open_channels
from streamb.monitoring.channels.channel import DeliveryFailed, severities_of
from streamb.monitoring.channels.pagerduty import MOST_EVENT_BYTES, pagerduty_body
from tests.monitoring.channels.notifications import notification
from tests.monitoring.channels.receivers import Receiver, Reply

KEY = "R0UTINGKEY" * 3 + "ab"


def channel(http: Receiver) -> AlertChannel:
    endpoint = f"http://127.0.0.1:{http.port}/v2/enqueue"
    spec = {"type": "pagerduty", "routing_key": KEY, "endpoint": endpoint, "allow_private_addresses": True}
    return open_channels([spec], clock=ManualClock())[0]


def test_trigger_update_and_resolve_share_a_key(http: Receiver):
    http.always = Reply(202, b'{"status":"success"}')
    one = channel(http)
    for status in ("firing", "firing", "resolved"):
        one.send(notification(status))
    events = [orjson.loads(got.body) for got in http.received]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
    assert {event["dedup_key"] for event in events} == {"iris latency"}
    assert {event["routing_key"] for event in events} == {KEY}
    payload = events[0]["payload"]
    assert payload["summary"].startswith("[FIRING:1] HighLatency iris (critical): iris 1.2.0 is slow")
    assert (payload["severity"], payload["source"], payload["class"]) == ("critical", "iris", "HighLatency")
    assert payload["timestamp"] == "2023-11-14T22:12:20.000Z"
    assert payload["custom_details"]["alerts"][0]["annotations"]["likely_cause"].startswith("the feature petal_length")
    assert events[0]["links"] == [{"href": "https://example.com/runbooks/high-latency", "text": "runbook"}]
    assert "payload" not in events[2]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("low", "info"), ("medium", "warning"), ("high", "error"), ("critical", "critical")]
)
def test_severities(ours: str, theirs: str):
    body = orjson.loads(pagerduty_body(notification(severity=ours), KEY))
    assert body["payload"]["severity"] == theirs


def test_limits():
    body = orjson.loads(pagerduty_body(notification(summary="ü" * 3000, incident="k" * 500), KEY))
    assert len(body["payload"]["summary"]) == 1024
    assert body["payload"]["summary"].endswith("…") or "…" in body["payload"]["summary"]
    assert len(body["dedup_key"]) == 255
    huge = pagerduty_body(notification(alerts=800, description="d" * 3_900), KEY)
    assert len(huge) <= MOST_EVENT_BYTES
    details = orjson.loads(huge)["payload"]["custom_details"]
    assert len(details["alerts"]) >= 50
    assert len(details["alerts"]) + details["omitted_alerts"] == 800


@pytest.mark.parametrize(("status", "retry"), [(400, False), (429, True), (500, True), (503, True)])
def test_answers(http: Receiver, status: int, retry: bool):
    http.always = Reply(status, f'{{"message":"bad {KEY}"}}'.encode(), {"Retry-After": "3"} if status == 429 else {})
    with pytest.raises(DeliveryFailed) as caught:
        channel(http).send(notification())
    assert (caught.value.retry, caught.value.retry_after_s) == (retry, 3.0 if status == 429 else None)
    assert KEY not in str(caught.value)


def test_only_what_is_urgent_by_default(http: Receiver):
    assert sorted(severities_of(channel(http))) == ["critical", "high"]
