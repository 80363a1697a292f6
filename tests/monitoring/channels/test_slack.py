"""Slack: what people see, and that it always fits."""

from __future__ import annotations

import orjson

from streamb.clock import ManualClock
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels import open_channels
from streamb.monitoring.channels.slack import slack_body
from tests.monitoring.channels.notifications import notification
from tests.monitoring.channels.receivers import Receiver


def read(sent: Notification) -> dict:
    return orjson.loads(slack_body(sent))


def texts(body: dict) -> list[str]:
    return [block["text"]["text"] for block in body["blocks"] if "text" in block]


def test_it_arrives(http: Receiver):
    spec = {"type": "slack", "webhook_url": f"http://127.0.0.1:{http.port}/T/B/x", "allow_private_addresses": True}
    open_channels([spec], clock=ManualClock())[0].send(notification())
    assert http.received[0].path == "/T/B/x"
    assert http.received[0].body == slack_body(notification())


def test_what_it_says():
    body = read(notification(external_url="https://ml.example.com"))
    assert (
        body["text"]
        == "[FIRING:1] HighLatency iris (critical): iris 1.2.0 is slow: 95th percentile 812 ms, limit 200 ms"
    )
    header, section = texts(body)
    assert header == ":red_circle: [FIRING:1] HighLatency iris (critical)"
    assert "_likely cause_: the feature petal_length drifted (score 0.61)" in section
    assert "_runbook_: <https://example.com/runbooks/high-latency>" in section
    assert "_since_: 2023-11-14T22:12:20Z" in section
    assert body["blocks"][-1]["elements"][0]["text"] == "https://ml.example.com"


def test_a_resolved_one():
    body = read(notification("resolved"))
    assert texts(body)[0] == ":white_check_mark: [RESOLVED] HighLatency iris (critical)"
    assert "resolved: iris 1.2.0 is slow" in texts(body)[1]


def test_names_cannot_call_people_or_make_links():
    body = read(notification(summary="*<!channel>* <https://evil|x>", runbook="docs/runbooks/<x>.md"))
    assert "<" not in "".join(texts(body)) + body["text"]
    assert "&lt;!channel&gt;" in body["text"]


def test_it_always_fits():
    body = read(notification(alerts=300, summary="<" * 4_000, description="&" * 4_000, likely_cause="x" * 4_000))
    assert len(body["blocks"]) <= 50
    assert len(texts(body)[0]) <= 150
    assert all(0 < len(text) <= 3_000 for text in texts(body))
    assert body["blocks"][-1]["elements"][0]["text"] == "and 280 more"
    assert len(body["text"]) < 4_000
