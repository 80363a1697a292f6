"""What a gateway does about versions that are late, that have no replica, or that stop answering."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock, SystemClock
from streamb.errors import InvalidInput, ModelFailed, Unavailable
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.fallback import FallbackBudget
from streamb.traffic import BreakerPolicy, GatewayPolicy, Split
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of
from tests.serving.predictors import VersionsPredictor, table, target

BREAKER = GatewayPolicy(breaker=BreakerPolicy(failure_threshold=3, recovery_timeout_s=30, half_open_max_calls=2))


@pytest.fixture
def predictor():
    return VersionsPredictor()


def canary(new=10_000, **options):
    split = Split.by_shares([("2.0.0", new), ("1.0.0", 10_000 - new)])
    return table(target("1.0.0"), target("2.0.0"), split=split, **{"fallback": "1.0.0", **options})


async def learnt(client):
    """Let the gateway know how long the stable version usually takes."""
    now = client.app.table
    before = replace(now.models["m"], split=Split.all_to("1.0.0"))
    client.app.apply(replace(now, models={"m": before}, epoch=now.epoch + 1))
    for _ in range(50):
        await client.post(PREDICT, ONE_ROW)
    client.app.snapshot()
    client.app.apply(replace(now, epoch=now.epoch + 2))


async def test_once_the_usual_time_is_known_a_late_version_is_answered_for_after_a_second(make, predictor):
    client = make(canary())
    await learnt(client)
    predictor.hold("2.0.0")
    began = time.monotonic()
    assert (await client.post(PREDICT, ONE_ROW)).json()["version"] == "1.0.0"
    assert 0.9 < time.monotonic() - began < 8.0
    assert counts(client.app, "2.0.0").counts == {"timeout": 1}


async def test_all_that_were_in_flight_when_it_stopped_answering_are_answered(make, predictor):
    client = make(canary(5000, policy=BREAKER))
    await learnt(client)
    predictor.hold("2.0.0")
    responses = await asyncio.gather(*(client.post(PREDICT, ONE_ROW) for _ in range(300)))
    assert {response.status for response in responses} == {200}
    stopped = counts(client.app, "2.0.0")
    assert stopped.total == stopped.fallbacks > 140
    assert stopped.counts["timeout"] > 0.2 * 300, "more than the budget allows"
    calls_before = predictor.calls.count("2.0.0")
    began = time.monotonic()
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    assert time.monotonic() - began < 0.9, "now its breaker is open"
    assert predictor.calls.count("2.0.0") == calls_before


async def test_failures_now_and_then_cost_no_more_second_calls_than_a_fifth(make, predictor):
    client = make(canary(policy=BREAKER))
    failing = cycle([True, True, False])
    plain = predictor.predict

    async def predict(version, batch):
        if version.version == "2.0.0" and next(failing):
            raise ModelFailed("the model raised")
        return await plain(version, batch)

    predictor.predict = predict
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(200)]
    found = counts(client.app, "2.0.0")
    assert (found.blamed, found.refused) == (134, 0)
    assert found.fallbacks <= 40
    assert Counter(response.status for response in responses) == {200: 66 + found.fallbacks, 500: 134 - found.fallbacks}


async def test_a_version_without_a_replica_is_answered_for_at_once(make, predictor):
    client = make(canary(policy=BREAKER))
    predictor.replicas = lambda version: version.version == "1.0.0"
    began = time.monotonic()
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(30)]
    assert {response.status for response in responses} == {200}
    assert time.monotonic() - began < 5
    found = counts(client.app, "2.0.0")
    assert (found.counts, found.fallbacks) == ({"unavailable": 3, "refused": 27}, 30)
    assert found.latency.count == 0, "the time without a replica is not the version's"


async def test_an_answer_that_waited_for_a_replica_is_not_the_versions_latency(make, predictor):
    client = make()
    deaths = [Unavailable("its replica died")]
    plain = predictor.predict

    async def predict(version, batch):
        if deaths:
            raise deaths.pop()
        return await plain(version, batch)

    predictor.predict = predict
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    await client.post(PREDICT, ONE_ROW)
    found = counts(client.app)
    assert (found.counts, found.rows, found.retries, found.disturbed, found.latency.count) == ({"ok": 2}, 2, 1, 1, 1)
    predictor.replicas = lambda version: 0
    await client.post(PREDICT, ONE_ROW)
    assert (counts(client.app).disturbed, counts(client.app).latency.count) == (2, 1)


async def test_requests_without_an_answer_are_seen_before_their_time_is_up(predictor):
    clock = ManualClock(1000.0)
    app = GatewayApp(predictor, GatewayLimits(), clock)
    app.apply(canary(fallback=""))
    client = AsgiClient(app)
    await learnt(client)
    predictor.hold("2.0.0")
    waiting = [asyncio.create_task(client.post(PREDICT, ONE_ROW)) for _ in range(20)]
    await asyncio.sleep(0.02)
    clock.advance(1.9)
    assert counts(app, "2.0.0").overdue == 0
    clock.advance(0.2)
    found = counts(app, "2.0.0")
    assert (found.overdue, found.in_flight, found.judged) == (20, 20, 0)
    assert counts(app, "1.0.0").overdue == 0
    predictor.let_go("2.0.0")
    await asyncio.gather(*waiting)
    assert counts(app, "2.0.0").overdue == 0


HOW = ("answers", "hangs", "raises", "dies", "refuses", "wrong count", "no replica", "crashes")


class Moody(VersionsPredictor):
    """Its version 2.0.0 does with each call what comes next in a list."""

    def __init__(self, moods):
        super().__init__()
        self.moods = iter(moods)
        self.mood = "answers"

    def replicas(self, version):
        return 0 if version.version == "2.0.0" and self.mood == "no replica" else 1

    async def predict(self, version, batch):
        self.mood = next(self.moods, "answers") if version.version == "2.0.0" else self.mood
        if version.version == "1.0.0" or self.mood in ("answers", "no replica"):
            return await super().predict(version, batch)
        if self.mood == "hangs":
            await asyncio.get_running_loop().create_future()
        if self.mood == "wrong count":
            return BatchReply(np.zeros(len(batch.rows) + 1))
        errors = {"raises": ModelFailed("x"), "dies": Unavailable("x"), "refuses": InvalidInput("x")}
        raise errors.get(self.mood, RuntimeError("a bug"))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(HOW), max_size=30), st.integers(1, 40), st.booleans(), st.sampled_from([3000, 10_000]))
def test_whatever_a_version_does_each_request_gets_one_answer_and_is_counted(moods, requests, breaker, share):
    async def live():
        app = GatewayApp(Moody(moods), GatewayLimits(request_timeout_s=0.3), SystemClock())
        app.apply(canary(share, policy=BREAKER if breaker else GatewayPolicy()))
        client, began = AsgiClient(app), time.monotonic()
        tasks = []
        for _ in range(requests):
            tasks.append(asyncio.create_task(client.post(PREDICT, ONE_ROW)))
            await asyncio.sleep(0)
        responses = await asyncio.gather(*tasks)
        assert time.monotonic() - began < 20
        found = {version: counts(app, version) for version in ("1.0.0", "2.0.0")}
        await app.close()
        return responses, found

    responses, found = asyncio.run(live())
    new, old = found["2.0.0"], found["1.0.0"]
    assert new.total + old.total - new.fallbacks == requests == len(responses)
    assert sum(response.status == 200 for response in responses) == new.ok + old.ok
    assert new.in_flight == old.in_flight == old.fallbacks == 0
    assert {response.status for response in responses} <= {200, 422, 500, 503, 504}


async def test_the_limit_of_the_first_version_is_told_if_nobody_else_may_answer(make, predictor, monkeypatch):
    monkeypatch.setattr(FallbackBudget, "take", lambda budget, now: False)
    client = make(canary())
    await learnt(client)
    predictor.hold("2.0.0")
    assert "within 1 s" in error_of(await client.post(PREDICT, ONE_ROW), 504, "timeout")["error"]
