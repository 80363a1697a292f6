import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock, SystemClock
from streamb.errors import ModelFailed
from streamb.models.schema import FeatureSchema
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.shadow import MOST_COPIES, MOST_ROWS
from streamb.traffic import Shadow, Split
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import ONE_ROW, PREDICT, counts, user_of
from tests.serving.predictors import NUMBERS, VersionsPredictor, table, target

ALL = 10_000


@pytest.fixture
def predictor():
    return VersionsPredictor()


def mirrored(share=ALL, schema=NUMBERS, task="regression", **options):
    return table(
        target("1.0.0"),
        replace(target("2.0.0", schema=schema), task=task),
        **{"split": Split.all_to("1.0.0"), "shadow": Shadow("2.0.0", share), **options},
    )


async def settled(client, app="m-2.0.0"):
    for _ in range(1000):
        if not client.app.in_flight(app):
            return dict(counts(client.app, "2.0.0").shadow)
        await asyncio.sleep(0.001)
    raise AssertionError("copies are still on their way")


async def test_copies_are_compared_and_counted_under_the_shadow_only(make, predictor):
    client = make(mirrored())
    predictor.plus["2.0.0"] = 1.0
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(5)]
    assert {(response.status, response.json()["version"]) for response in responses} == {(200, "1.0.0")}
    shadow = await settled(client)
    shadow.pop("slower", None)
    assert shadow == {"sent": 5, "compared": 5, "disagreed": 5}
    found = counts(client.app, "2.0.0")
    assert (found.counts, found.rows, found.batch_rows, found.latency.count) == ({}, 0, 0, 0)
    assert found.shadow_difference.count == 5
    assert found.shadow_difference.quantile(0.5) == pytest.approx(0.25, rel=0.02)  # 3 and 4
    assert counts(client.app, "1.0.0").shadow == {}


async def test_equal_answers_agree(make, predictor):
    client = make(mirrored())
    await client.post(PREDICT, ONE_ROW)
    shadow = await settled(client)
    assert (shadow["compared"], shadow.get("disagreed", 0)) == (1, 0)


async def test_what_the_shadow_cannot_do_is_counted_and_nobody_hears_of_it(make, predictor):
    client = make(mirrored())
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    assert await settled(client) == {"sent": 1, "failed": 1}
    assert counts(client.app, "2.0.0").blamed == 0


async def test_a_shadow_that_takes_other_features_refuses(make, predictor):
    client = make(mirrored(schema=FeatureSchema.numbers(3).to_json()))
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    assert await settled(client) == {"sent": 1, "refused": 1}
    assert predictor.calls == ["1.0.0"]


@pytest.mark.parametrize("share", [0, 100, 3000])
async def test_the_share_is_kept(make, predictor, share):
    client = make(mirrored(share))
    for _ in range(600):
        await client.post(PREDICT, ONE_ROW)
    sent = (await settled(client)).get("sent", 0)
    assert sent == pytest.approx(600 * share / ALL, abs=3.3 * (600 * share / ALL) ** 0.5)


async def test_requests_that_fail_and_those_that_it_answers_itself_are_not_copied(make, predictor):
    client = make(mirrored())
    predictor.errors["1.0.0"] = ModelFailed("the model raised")
    assert (await client.post(PREDICT, ONE_ROW)).status == 500
    assert (await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW)).status == 200
    assert await settled(client) == {}


async def test_a_shadow_that_hangs_delays_nobody_and_its_queue_is_bounded(make, predictor):
    client = make(mirrored(), max_concurrent_requests=2, max_queued_requests=5)
    predictor.hold("2.0.0")
    for _ in range(MOST_COPIES + 50):
        response = await asyncio.wait_for(client.post(PREDICT, ONE_ROW), 30)
        assert response.status == 200
    await asyncio.sleep(0.01)
    assert client.app.in_flight("m-2.0.0") == MOST_COPIES
    assert counts(client.app, "2.0.0").shadow == {"sent": MOST_COPIES, "dropped": 50}
    assert predictor.calls.count("2.0.0") == 1
    predictor.let_go("2.0.0")
    shadow = await settled(client)
    assert shadow["compared"] == MOST_COPIES
    assert predictor.calls.count("2.0.0") == 2  # the first alone, then all that waited
    await client.post(PREDICT, ONE_ROW)
    assert (await settled(client))["sent"] == MOST_COPIES + 1


async def test_large_requests_fill_it_sooner(make, predictor):
    client = make(mirrored())
    predictor.hold("2.0.0")
    large = {"instances": [[1, 2]] * (MOST_ROWS // 4)}
    for _ in range(6):
        await client.post(PREDICT, large)
    assert client.app.in_flight("m-2.0.0") == 4
    predictor.let_go("2.0.0")
    assert (await settled(client))["dropped"] == 2


async def test_a_version_that_leaves_the_shadow_is_drained(make, predictor):
    client = make(mirrored())
    predictor.hold("2.0.0")
    await client.post(PREDICT, ONE_ROW)
    await asyncio.sleep(0.005)
    client.app.apply(table(target("1.0.0"), epoch=2))
    assert client.app.in_flight("m-2.0.0") == 1
    predictor.let_go("2.0.0")
    assert (await settled(client))["compared"] == 1
    client.app.apply(table(target("1.0.0"), epoch=3))
    await client.post(PREDICT, ONE_ROW)
    assert (await settled(client))["sent"] == 1


async def test_closing_stops_it(make, predictor):
    client = make(mirrored())
    predictor.hold("2.0.0")
    await client.post(PREDICT, ONE_ROW)
    await asyncio.sleep(0.005)
    await client.app.close()
    assert await settled(client) == {"sent": 1, "dropped": 1}


# --- a sample, by rate ------------------------------------------------------------------------------------------


def sampled(new=0, **options):
    split = Split.by_shares([("2.0.0", new), ("1.0.0", ALL - new)])
    return mirrored(split=split, shadow=Shadow("2.0.0", ALL, 20), **options)


@pytest.fixture
def timed(predictor):
    """A gateway whose clock stands until the test moves it."""

    def build(routing):
        clock = ManualClock(1000.0)
        app = GatewayApp(predictor, GatewayLimits(), clock)
        app.apply(routing)
        return AsgiClient(app), clock

    return build


async def sent(client, count, body=ONE_ROW, version="1.0.0"):
    """The number of copies among so many requests to a version, one after the other."""
    user = user_of(client.app, version)
    before = counts(client.app, "2.0.0").shadow.get("sent", 0)
    for _ in range(count):
        assert (await client.post(PREDICT, body, x_user_id=user)).status == 200
        await asyncio.sleep(0)
        await settled(client)
    return counts(client.app, "2.0.0").shadow.get("sent", 0) - before


async def test_a_sample_is_bounded_by_its_rate_and_what_is_left_out_is_not_dropped(timed):
    client, clock = timed(sampled())
    assert await sent(client, 50) == 20
    clock.advance(0.5)
    assert await sent(client, 50) == 10
    assert await settled(client) == {"sent": 30, "compared": 30}
    clock.advance(60)
    assert await sent(client, 50) == 20, "what was not used is not saved up"


async def test_large_requests_count_as_several_copies_of_a_sample(timed):
    client, clock = timed(sampled())
    assert await sent(client, 5, {"instances": [[1, 2]] * 4000}) == 1
    clock.advance(1.0)
    assert await sent(client, 1) == 0
    clock.advance(0.1)
    assert await sent(client, 1) == 1


async def test_in_a_sample_only_one_copy_is_in_progress_and_one_without_an_answer_ends(timed, predictor):
    client, clock = timed(sampled())
    predictor.hold("2.0.0")
    for _ in range(100):
        await client.post(PREDICT, ONE_ROW)
    await asyncio.sleep(0.01)
    assert client.app.in_flight("m-2.0.0") == 1
    client.app.snapshot()
    for _ in range(32):  # half of the time of a request: what is usual was not known when it was sent
        clock.advance(0.5)
        client.app._mirrors._mirrors["m-2.0.0"]._batcher._deadlines.sweep()
    assert await settled(client) == {"sent": 1, "failed": 1}
    assert await sent_without_waiting(client) == 2
    for _ in range(3):
        clock.advance(0.5)
        client.app._mirrors._mirrors["m-2.0.0"]._batcher._deadlines.sweep()
    assert (await settled(client))["failed"] == 2, "now it is: a second"


async def sent_without_waiting(client):
    await client.post(PREDICT, ONE_ROW)
    await asyncio.sleep(0.01)
    return counts(client.app, "2.0.0").shadow["sent"]


async def test_while_it_has_traffic_copies_take_a_small_share_of_its_time(timed, predictor):
    client, clock = timed(sampled(5000))
    predictor.hold("2.0.0")
    await client.post(PREDICT, ONE_ROW, x_user_id=user_of(client.app, "1.0.0"))
    await asyncio.sleep(0.01)
    clock.advance(0.1)
    predictor.let_go("2.0.0")
    await settled(client)
    clock.advance(4.8)
    assert await sent(client, 10) == 0
    clock.advance(0.2)
    assert await sent(client, 1) == 1


async def test_a_version_without_a_replica_gets_no_copies(timed, predictor):
    client, _ = timed(sampled())
    predictor.replicas = lambda version: version.version == "1.0.0"
    assert await sent(client, 5) == 0
    assert await settled(client) == {}


async def test_answers_in_the_place_of_another_are_not_copied(timed, predictor):
    client, _ = timed(sampled(ALL, fallback="1.0.0"))
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    assert await sent(client, 5, version="2.0.0") == 0
    assert counts(client.app, "1.0.0").ok == 5


async def test_the_answers_to_copies_are_counted_and_compared_by_one_row(timed, predictor):
    client, _ = timed(sampled())
    predictor.plus["2.0.0"] = 0.05
    assert await sent(client, 5, {"instances": [[1, 2], [100, 200]]}) == 5
    counted = counts(client.app, "2.0.0")
    assert sum(counted.shadow_predictions.values()) == 10
    assert counted.predictions == {}
    assert (counted.shadow["compared"], counted.shadow.get("disagreed", 0), counted.shadow_difference.count) == (
        5,
        0,
        5,
    )


async def test_an_answer_of_another_type_is_retyped(timed, predictor):
    async def predict(version, batch):
        return BatchReply(np.array(["3.0"] * len(batch.rows)) if version.version == "2.0.0" else np.full(1, 3.0))

    predictor.predict = predict
    client, _ = timed(sampled())
    await sent(client, 3)
    assert await settled(client) == {"sent": 3, "compared": 3, "disagreed": 3, "retyped": 3}


async def test_equal_answers_of_versions_with_another_task_are_counted_alike(make, predictor):
    client = make(mirrored(task="classification"))
    await client.post(PREDICT, ONE_ROW)
    await settled(client)
    counted = counts(client.app, "2.0.0")
    assert counted.shadow_predictions == counted.shadow_expected != {}


behaviours = st.fixed_dictionaries(
    {"hangs": st.booleans(), "fails": st.booleans(), "plus": st.floats(allow_nan=False, allow_infinity=False)}
)


@settings(max_examples=30)
@given(behaviours, st.integers(0, ALL), st.lists(st.integers(-1000, 1000), max_size=30))
def test_the_primary_answers_the_same_whatever_the_shadow_does(behaviour, share, values):
    async def answers(routing):
        predictor = VersionsPredictor()
        predictor.plus["2.0.0"] = behaviour["plus"]
        if behaviour["fails"]:
            predictor.errors["2.0.0"] = ModelFailed("the model raised")
        if behaviour["hangs"]:
            predictor.hold("2.0.0")
        app = GatewayApp(predictor, GatewayLimits(), SystemClock())
        app.apply(routing)
        client = AsgiClient(app)
        bodies = [{"instances": [[value, 0]]} for value in values]
        tasks = [client.post(PREDICT, body, x_request_id=f"r-{index}") for index, body in enumerate(bodies)]
        responses = await asyncio.wait_for(asyncio.gather(*tasks), 5)
        primary = counts(app, "1.0.0")
        await app.close()
        return [(response.status, response.body) for response in responses], primary.counts, primary.batch_rows

    plain = table(target("1.0.0"), target("2.0.0"), split=Split.all_to("1.0.0"))
    assert asyncio.run(answers(mirrored(share))) == asyncio.run(answers(plain))
