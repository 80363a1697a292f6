"""Teams: what people see, that it always fits, and which answers are successes."""

from __future__ import annotations

import orjson
import pytest

from streamb.clock import ManualClock
from streamb.monitoring.channels import AlertChannel, DeliveryFailed, open_channels
from streamb.monitoring.channels.teams import MOST_MESSAGE_BYTES, teams_body
from tests.monitoring.channels.notifications import notification
from tests.monitoring.channels.receivers import Receiver, Reply


def channel(http: Receiver) -> AlertChannel:
    place = f"http://127.0.0.1:{http.port}/workflows/x"
    spec = {"type": "teams", "webhook_url": place, "allow_private_addresses": True}
    return open_channels([spec], clock=ManualClock())[0]


def card(**changes) -> dict:
    message = orjson.loads(teams_body(notification(**changes)))
    (attachment,) = message["attachments"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    return attachment["content"]


def texts(content: dict) -> list[str]:
    header, *rest = content["body"]
    return [header["items"][0]["text"], *(block["text"] for block in rest if block["type"] == "TextBlock")]


@pytest.mark.parametrize("status", [200, 202])
def test_it_arrives(http: Receiver, status: int):
    http.always = Reply(status)
    channel(http).send(notification())
    assert http.received[0].path == "/workflows/x"
    assert http.received[0].body == teams_body(notification())


@pytest.mark.parametrize(("status", "retry", "wait"), [(429, True, 17.0), (503, True, 17.0), (400, False, 17.0)])
def test_what_it_answers_says_how_to_go_on(http: Receiver, status: int, retry: bool, wait: float):
    http.always = Reply(status, b"busy", {"Retry-After": "17"})
    with pytest.raises(DeliveryFailed) as caught:
        channel(http).send(notification())
    assert (caught.value.retry, caught.value.retry_after_s) == (retry, wait)


def test_what_it_says():
    content = card(external_url="https://ml.example.com")
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.4")
    title, headline = texts(content)
    assert title == r"\[FIRING:1\] HighLatency iris (critical)"
    assert content["body"][0]["style"] == "attention"
    assert headline.startswith("iris 1.2.0 is slow")
    facts = {fact["title"]: fact["value"] for fact in content["body"][2]["facts"]}
    assert facts["likely cause"] == r"the feature petal\_length drifted (score 0.61)"
    assert facts["since"] == "2023-11-14T22:12:20Z"
    assert [(action["title"], action["url"]) for action in content["actions"]] == [
        ("runbook", "https://example.com/runbooks/high-latency"),
        ("streamb", "https://ml.example.com"),
    ]


def test_a_resolved_one():
    content = orjson.loads(teams_body(notification("resolved")))["attachments"][0]["content"]
    assert content["body"][0]["style"] == "good"
    assert texts(content)[0].startswith(r"\[RESOLVED\] HighLatency iris")
    assert texts(content)[1].startswith("resolved: iris 1.2.0 is slow")


def test_names_cannot_make_links():
    content = card(summary="[x](https://evil) *y*", runbook="javascript:alert(1)")
    assert texts(content)[1] == r"\[x\](https://evil) \*y\*"
    assert content["actions"] == []


@pytest.mark.parametrize("sign", ["x", "数", "\\", "🔥", "\x01"])
def test_it_always_fits_and_says_what_is_left_out(sign: str):
    long = sign * 4_000
    changes = {"alerts": 300, "summary": long, "description": long, "likely_cause": long}
    body = teams_body(notification(**changes, runbook=f"https://h/{'x' * 40_000}", external_url=f"https://h/{long}"))
    assert len(body) <= MOST_MESSAGE_BYTES
    *_, more, short = texts(orjson.loads(body)["attachments"][0]["content"])
    shown = sum(block["type"] == "FactSet" for block in orjson.loads(body)["attachments"][0]["content"]["body"])
    assert 1 <= shown < 20
    assert more == f"and {300 - shown} more"
    assert short == "shortened: Teams accepts at most 28 KB"
