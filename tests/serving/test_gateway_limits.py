"""The limits on callers, as a gateway enforces them."""

import asyncio

import pytest

from streamb.clock import ManualClock
from streamb.hashing import sha256_hex
from streamb.metrics import Outcome
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.callers import CLIENT_HEADER, CallerLimits
from streamb.traffic import GatewayPolicy, KeyGrant, RateLimits, Split
from tests.serving.asgi_client import AsgiClient, Connection
from tests.serving.gateways import ONE_ROW, PREDICT, error_of
from tests.serving.predictors import SumPredictor, table, target

LIMITS = RateLimits(per_minute=1000, burst=100, address_per_minute=12_000, address_burst=2_000)
TIGHT = RateLimits(per_minute=60, burst=3, address_per_minute=600, address_burst=8)
SECRET = "s" * 64
KEYS = {
    sha256_hex(name.encode()): KeyGrant(name, "ada", frozenset({"predict", "feedback", "read"}))
    for name in ("one", "two")
}


class Calling:
    """A gateway and its clients."""

    def __init__(self, limits, *, required=True):
        self.clock = ManualClock(1000.0)
        callers = CallerLimits(self.clock, SECRET)
        self.app = GatewayApp(SumPredictor(), GatewayLimits(), self.clock, callers)
        self.app.apply(table(policy=GatewayPolicy(api_key_required=required, keys=KEYS, limits=limits)))
        self.client = AsgiClient(self.app)

    async def ask(self, key="one", path=PREDICT, address=None, **headers):
        said = {} if address is None else {CLIENT_HEADER.decode(): f"{SECRET} {address}"}
        given = {} if key is None else {"x_api_key": key}
        return await self.client.post(path, ONE_ROW, **given, **said, **headers)

    async def passed(self, number, **how):
        return [(await self.ask(**how)).status for _ in range(number)].count(200)


async def test_a_minute_of_flood_at_one_key():
    calling = Calling(LIMITS)
    passed = 0
    for _ in range(60 * 25):
        passed += await calling.passed(2)
        calling.clock.advance(1 / 25)
    assert 1078 <= passed <= 1122


async def test_what_a_caller_is_told():
    calling = Calling(TIGHT)
    for left in (2, 1, 0):
        reply = await calling.ask()
        assert (reply.status, reply.headers["ratelimit-remaining"], reply.headers["ratelimit-limit"]) == (
            200,
            str(left),
            "60",
        )
    refused = await calling.ask()
    document = error_of(refused, 429, "rate_limited")
    assert document["retry_after_s"] == 1
    assert refused.headers["retry-after"] == refused.headers["ratelimit-reset"] == "1"
    assert refused.headers["ratelimit-remaining"] == "0"
    assert refused.headers["ratelimit"] == '"default";r=0;t=1'
    calling.clock.advance(1.0)
    assert (await calling.ask()).status == 200


async def test_nothing_is_said_where_there_are_no_limits():
    reply = await Calling(None).ask()
    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("ratelimit")]


async def test_a_refused_request_is_no_versions_fault_and_reaches_none():
    calling = Calling(TIGHT)
    await calling.passed(10)
    unrouted, version = sorted(calling.app.snapshot(), key=lambda one: one.version)
    assert unrouted.codes == {429: 7}
    assert unrouted.counts == {Outcome.CLIENT_ERROR.value: 7}
    assert version.codes == {200: 3}


async def test_its_body_is_not_read():
    calling = Calling(TIGHT)
    await calling.passed(3)
    connection = Connection(b"x", more_to_come=True)
    await calling.client.open(connection, "POST", PREDICT, {"x-api-key": "one", "content-length": "1000000"})
    assert connection.response.status == 429
    assert connection.received == 0


async def test_each_key_has_its_own_limit():
    calling = Calling(TIGHT)
    assert await calling.passed(5) == 3
    assert await calling.passed(5, key="two") == 3


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/nothing/predict",
        "/v2/models/m{}/predict",
        "/v2/nothing",
        "/v2/models/m/x",
        "/v2/models/m/predict?x={}",
    ],
)
async def test_what_does_not_exist_is_limited_as_well_and_fills_no_table(path):
    calling = Calling(TIGHT)
    statuses = [(await calling.ask(path=path.format(number))).status for number in range(20)]
    assert statuses[0] in (404, 422)
    assert statuses[-1] == 429
    assert len(calling.app._callers._keys) <= 1


async def test_unknown_keys_are_limited_by_address_before_they_are_looked_at():
    calling = Calling(TIGHT)
    statuses = [(await calling.ask(key=f"guess {number}", address="192.0.2.1")).status for number in range(20)]
    assert statuses == [401] * 8 + [429] * 12
    assert (await calling.ask(address="192.0.2.1")).status == 429, "nor does a good key help, from this address"
    assert (await calling.ask(address="192.0.2.2")).status == 200


async def test_callers_without_a_key_are_told_apart_by_address():
    calling = Calling(TIGHT, required=False)
    assert await calling.passed(5, key=None, address="192.0.2.1") == 3
    assert await calling.passed(5, key=None, address="192.0.2.2") == 3
    assert await calling.passed(5, key=None, address="2001:db8::1") == 3
    assert await calling.passed(5, key=None, address="2001:db8::2") == 0, "one network"


async def test_only_the_edge_can_say_where_a_request_comes_from():
    calling = Calling(TIGHT)
    for number in range(8):
        await calling.ask(key="guess", **{CLIENT_HEADER.decode(): f"192.0.2.{number}"})
    assert (await calling.ask(**{CLIENT_HEADER.decode(): "192.0.2.99"})).status == 429


async def test_health_is_never_limited():
    calling = Calling(TIGHT)
    for _ in range(30):
        for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            assert (await calling.client.get(path)).status == 200


async def test_metadata_and_feedback_count_as_requests_of_the_key():
    calling = Calling(TIGHT)
    for path in ("/v2/models/m", "/v2/models/m/ready", "/v2/models/m"):
        assert (await calling.client.get(path, x_api_key="one")).status == 200
    assert (await calling.client.get("/v2/models/m", x_api_key="one")).status == 429
    assert (await calling.ask(path="/v2/models/m/feedback")).status == 429
    assert (await calling.ask()).status == 429
    assert (await calling.client.get("/v2/models", x_api_key="one")).status == 200, "the list is about no model"


async def test_observe_only_refuses_nobody():
    calling = Calling(RateLimits(60, 3, 600, 8, observe_only=True))
    assert await calling.passed(20) == 20
    assert calling.app._callers.counted == {("key", "observed"): 17, ("address", "observed"): 12}


async def test_another_table_is_no_second_burst():
    calling = Calling(TIGHT)
    assert await calling.passed(5) == 3
    calling.app.apply(table(epoch=2, policy=GatewayPolicy(api_key_required=True, keys=KEYS, limits=TIGHT)))
    assert await calling.passed(5) == 0


@pytest.mark.parametrize("most", [1, 3, 10])
async def test_no_more_requests_than_the_setting_says_are_inside_calls(make, predictor, most):
    """ML_MAX_CONCURRENT_REQUESTS, whatever is asked of whichever version, and pinned or not."""
    client = make(
        table(target("1.0.0"), target("2.0.0"), split=Split.by_shares([("1.0.0", 5_000), ("2.0.0", 5_000)])),
        max_concurrent_requests=most,
        max_queued_requests=20,
    )
    predictor.hold()
    asked = [
        asyncio.create_task(client.post(PREDICT, ONE_ROW, **({"x_model_version": "2.0.0"} if number % 3 == 0 else {})))
        for number in range(60)
    ]
    for _ in range(50):
        await asyncio.sleep(0)
        assert sum(len(batch.counts) for _, batch in predictor.batches) <= most
    predictor.let_go()
    statuses = [(await one).status for one in asked]
    assert 20 <= statuses.count(200) <= 20 + most
    assert set(statuses) == {200, 503}
