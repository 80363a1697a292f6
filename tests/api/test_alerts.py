"""Alerts, silences and channels over HTTP, with the real Monitor behind it."""

from __future__ import annotations

import pytest

from tests.api.monitored import MODEL, Traffic
from tests.api.test_deployments import register
from tests.monitoring.alerts.incidents import alert

ALERTS = "/api/alerts"
SILENCES = "/api/alerts/silences"
DAY_S = 86_400
WORDS = {"comment": "load test", "author": "ada"}


@pytest.fixture
async def burning(client, backend, archive):
    """A version of which half the requests fail, for long enough that it is told."""
    await register(client, archive)
    traffic = Traffic(backend)
    for _ in range(12):
        traffic.push(100, errors=600)
        backend.clock.advance(20)
        backend.core.tick()


async def test_what_fires_is_listed_in_pages(client, burning):
    found = (await client.get(ALERTS, params={"state": "firing", "model": MODEL})).json()["items"]
    assert found
    assert all(one["state"] == "firing" and one["labels"]["model"] == MODEL for one in found)
    assert {"summary", "runbook"} <= set(found[0]["annotations"])
    first = (await client.get(ALERTS, params={"limit": 1})).json()
    everything = (await client.get(ALERTS)).json()["items"]
    assert first["items"] == everything[:1]
    if len(everything) > 1:
        rest = (await client.get(ALERTS, params={"limit": 500, "cursor": first["next_cursor"]})).json()
        assert first["items"] + rest["items"] == everything
    assert (await client.get(ALERTS, params={"model": "other"})).json()["items"] == []
    worst = found[0]["severity"]
    assert (await client.get(ALERTS, params={"severity": worst})).json()["items"]
    assert found[0]["labels"]["alertname"] in (await client.get("/")).text


async def test_the_status_page_shows_the_worst_and_says_that_there_are_more(client, backend):
    alerts = [alert(name="DataDrift", model=f"<b>{number}") for number in range(25)]
    backend.core._alerting.evaluate([*alerts, alert(name="ConceptDrift", severity="critical")])
    page = (await client.get("/")).text
    assert page.count("<td>DataDrift</td>") == 19
    assert page.count("<td>ConceptDrift</td>") == 1
    assert "<b>" not in page
    assert "There are more: <code>streamb alerts list</code>" in page


@pytest.mark.parametrize("query", ["state=loud", "severity=bad", "model=a/b", "limit=0"])
async def test_wrong_questions(client, query):
    assert (await client.get(f"{ALERTS}?{query}")).status_code == 422


async def test_a_cursor_of_another_list(client):
    assert (await client.get(ALERTS, params={"cursor": "xxxx"})).status_code == 400


async def test_a_silence_from_its_beginning_to_its_end(client, burning):
    body = {"matchers": [f'model="{MODEL}"'], "duration_s": 600, **WORDS}
    made = await client.post(SILENCES, json=body, headers={"Idempotency-Key": "s"})
    assert made.status_code == 201, made.text
    assert (await client.post(SILENCES, json=body, headers={"Idempotency-Key": "s"})).json() == made.json()
    silence = made.json()
    assert (silence["state"], silence["author"], silence["comment"]) == ("active", "anonymous", "load test (said: ada)")
    assert (await client.get(SILENCES)).json()["items"] == [silence]
    muted = (await client.get(ALERTS, params={"state": "firing"})).json()["items"]
    assert all(one["silenced_by"] == [silence["id"]] for one in muted)
    assert "<td>silenced</td>" in (await client.get("/")).text
    ended = await client.delete(f"{SILENCES}/{silence['id']}")
    assert (ended.status_code, ended.json()["state"]) == (200, "expired")
    assert (await client.delete(f"{SILENCES}/sil-none")).status_code == 404


@pytest.mark.parametrize("days", [60, 90])
async def test_as_long_a_silence_as_from_python(client, backend, days):
    """Through each door the same range: `duration_s` of `SilenceOptions`."""
    made = await client.post(SILENCES, json={"matchers": ["model=iris"], "duration_s": days * DAY_S, **WORDS})
    assert made.status_code == 201, made.text
    from_python = backend.core._alerting.manager.silence(["model=iris"], duration_s=days * DAY_S, **WORDS)
    assert from_python.ends_at - from_python.starts_at == days * DAY_S


async def test_who_silences_is_the_caller_whoever_is_named(client, backend):
    body = {"matchers": ["model=iris"], "comment": "why not", "author": "eve"}
    made = await client.post(SILENCES, json=body, headers={"X-API-Key": backend.guest_key})
    assert made.json()["author"] == "guest"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matchers": []}, "body.matchers"),
        ({"matchers": ["no matcher"]}, "is not a matcher"),
        ({"matchers": ['model=~".*"']}, "mute every alert"),
        ({"duration_s": 0}, "body.duration_s"),
        ({"duration_s": 90 * DAY_S + 1}, "body.duration_s"),
        ({"comment": ""}, "body.comment"),
        ({"comment": " "}, "needs its comment"),
    ],
)
async def test_wrong_silences(client, change, words):
    answer = await client.post(SILENCES, json={"matchers": ["model=iris"], **WORDS, **change})
    assert answer.status_code == 422
    assert words in answer.json()["error"]


async def test_what_channels_delivered(client, backend, burning):
    courier = backend.core._alerting.courier
    courier.deliver_due()
    (channel,) = (await client.get(f"{ALERTS}/channels")).json()["items"]
    assert (channel["name"], channel["waiting"], channel["last_error"]) == ("log", 0, "")
    assert channel["last_delivered_at"].endswith("Z")
    answer = (await client.get(f"{ALERTS}/deliveries", params={"limit": 1})).json()
    (newest,) = answer["items"]
    assert (newest["channel"], newest["outcome"], newest["status"]) == ("log", "delivered", "firing")
    assert MODEL in newest["title"]
    wrong = await client.get(f"{ALERTS}/deliveries", params={"cursor": "xxxx"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_request")


async def test_a_channel_is_tried(client):
    found = await client.post(f"{ALERTS}/test", json={"channel": "log"})
    assert found.json() == {"channel": "log", "delivered": True, "detail": ""}
    missing = await client.post(f"{ALERTS}/test", json={"channel": "pigeon"})
    assert missing.status_code == 404
    assert "the channels are: log" in missing.json()["error"]
