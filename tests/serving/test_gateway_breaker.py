import asyncio

import pytest

from streamb.clock import ManualClock
from streamb.errors import InvalidInput, ModelFailed, Overloaded
from streamb.serving import GatewayApp, GatewayLimits
from streamb.traffic import BreakerPolicy, GatewayPolicy, Split
from tests.serving.asgi_client import AsgiClient, Connection
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of, user_of
from tests.serving.predictors import VersionsPredictor, table, target

POLICY = GatewayPolicy(breaker=BreakerPolicy(failure_threshold=3, recovery_timeout_s=30, half_open_max_calls=2))
FAILS = ModelFailed("the model raised")
OLD, NEW = "1.0.0", "2.0.0"


@pytest.fixture
def predictor():
    return VersionsPredictor()


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def gateway(predictor, clock):
    def build(new=5000, *, fallback="", policy=POLICY, versions=("1.0.0", "2.0.0")):
        app = GatewayApp(predictor, GatewayLimits(), clock)
        split = Split.by_shares([("2.0.0", new), ("1.0.0", 10_000 - new)])
        app.apply(table(*map(target, versions), split=split, fallback=fallback, policy=policy))
        return AsgiClient(app)

    return build


def post(client, version=NEW, body=ONE_ROW):
    """A request that the split sends to this version."""
    return client.post(PREDICT, body, x_user_id=user_of(client.app, version))


async def ask(client, times, version=NEW):
    return [(await post(client, version)).status for _ in range(times)]


async def test_open_it_refuses_with_a_time_to_come_back(gateway, predictor, clock):
    client = gateway()
    predictor.errors["2.0.0"] = FAILS
    assert await ask(client, 5) == [500, 500, 500, 503, 503]
    assert predictor.calls == ["2.0.0"] * 3
    clock.advance(10)
    response = await post(client)
    assert error_of(response, 503, "unavailable")["retry_after_s"] == 20
    assert (response.headers["retry-after"], response.headers["x-model-version"]) == ("20", "2.0.0")
    counted = counts(client.app, "2.0.0")
    assert counted.counts == {"model_error": 3, "refused": 3}, "only what was called says something of the version"
    assert (counted.blamed, counted.judged, counted.refused, counted.latency.count) == (3, 3, 3, 3)


async def test_after_a_while_it_tries_and_closes(gateway, predictor, clock):
    client = gateway()
    predictor.errors["2.0.0"] = FAILS
    await ask(client, 3)
    clock.advance(30)
    assert await ask(client, 3) == [500, 503, 503]
    clock.advance(30)
    predictor.errors.clear()
    assert await ask(client, 5) == [200] * 5
    assert predictor.calls == ["2.0.0"] * 9


async def test_open_its_fallback_answers_all_without_a_budget(gateway, predictor):
    client = gateway(10_000, fallback="1.0.0")
    predictor.errors["2.0.0"] = FAILS
    assert await ask(client, 100) == [200] * 100
    assert (predictor.calls.count("2.0.0"), predictor.calls.count("1.0.0")) == (3, 100)
    failed = counts(client.app, "2.0.0")
    assert (failed.blamed, failed.refused, failed.fallbacks) == (3, 97, 100)


async def test_the_last_healthy_version_is_called_whatever_happens(gateway, predictor):
    client = gateway(0, versions=("1.0.0",))
    predictor.errors["1.0.0"] = FAILS
    assert await ask(client, 20, OLD) == [500] * 20
    predictor.errors.clear()
    assert await ask(client, 5, OLD) == [200] * 5


async def test_when_both_fail_neither_is_taken_out(gateway, predictor):
    client = gateway()
    predictor.errors = {"1.0.0": FAILS, "2.0.0": FAILS}
    assert await ask(client, 4) == [500, 500, 500, 503]  # while the other still seems well
    assert await ask(client, 3, OLD) == [500] * 3
    assert [(await client.post(PREDICT, ONE_ROW)).status for _ in range(20)] == [500] * 20


async def test_what_says_nothing_about_the_version_does_not_open_it(gateway, predictor):
    client = gateway()
    for error in (InvalidInput("not like this"), Overloaded("the queue is full")):
        predictor.errors["2.0.0"] = error
        assert set(await ask(client, 10)) == {error.status}
    assert (await post(client, body={"instances": [["a", "b"]]})).status == 422
    predictor.errors.clear()
    assert await ask(client, 1) == [200]


async def test_a_success_from_before_it_opened_does_not_close_it(gateway, predictor):
    client = gateway()
    predictor.hold("2.0.0")
    slow = asyncio.create_task(post(client))
    await asyncio.sleep(0.01)
    gate = predictor.gates.pop("2.0.0")
    predictor.errors["2.0.0"] = FAILS
    await ask(client, 3)
    predictor.errors.clear()
    gate.set()
    assert (await slow).status == 200
    assert await ask(client, 2) == [503, 503]


async def test_a_probe_whose_client_left_leaves_room_for_another(gateway, predictor, clock):
    client = gateway()
    predictor.errors["2.0.0"] = FAILS
    await ask(client, 3)
    predictor.errors.clear()
    clock.advance(30)
    predictor.hold("2.0.0")
    body, headers = b'{"instances": [[1, 2]]}', {"x-user-id": user_of(client.app, NEW)}
    leaving = [asyncio.create_task(client.open(Connection(body), "POST", PREDICT, headers)) for _ in "ab"]
    await asyncio.sleep(0.01)
    assert await ask(client, 1) == [503]
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    predictor.let_go("2.0.0")
    assert await ask(client, 3) == [200] * 3


async def test_mostly_failures_in_a_window_open_it_too(gateway, predictor, clock):
    client = gateway()
    for _ in range(10):
        for error in (FAILS, FAILS, None):
            predictor.errors = {} if error is None else {"2.0.0": error}
            await ask(client, 1)
        clock.advance(1)
        client.app.snapshot()
    assert await ask(client, 1) == [503]


async def test_readiness_follows_it(gateway, predictor):
    client = gateway()
    predictor.errors["2.0.0"] = FAILS
    await ask(client, 3)
    assert (await client.get("/v2/models/m/versions/2.0.0/ready")).status == 503
    assert (await client.get("/v2/models/m/versions/1.0.0/ready")).status == 200
    assert (await client.get("/v2/models/m/ready")).status == 200


async def test_without_a_policy_there_is_none(gateway, predictor):
    client = gateway(policy=GatewayPolicy())
    predictor.errors["2.0.0"] = FAILS
    assert await ask(client, 10) == [500] * 10
