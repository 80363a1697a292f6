import asyncio
from dataclasses import replace

import pytest

from streamb.clock import SystemClock
from streamb.serving import GatewayApp, GatewayLimits
from streamb.traffic import Split
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of
from tests.serving.predictors import table, target

HALVES = table(target("1.0.0"), target("2.0.0"), split=Split.by_shares([("2.0.0", 5000), ("1.0.0", 5000)]))


async def test_a_user_gets_the_same_version_by_header_and_by_body(make):
    client = make(HALVES)
    seen = set()
    for number in range(40):
        by_header = (await client.post(PREDICT, ONE_ROW, x_user_id=f"u{number}")).headers["x-model-version"]
        by_body = (await client.post(PREDICT, {**ONE_ROW, "user_id": f"u{number}"})).headers["x-model-version"]
        by_tensors = {
            "inputs": [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}],
            "parameters": {"user_id": f"u{number}"},
        }
        by_infer = (await client.post("/v2/models/m/infer", by_tensors)).headers["x-model-version"]
        assert by_header == by_body == by_infer == HALVES.models["m"].split.choose(f"u{number}", salt="salt")
        seen.add(by_header)
    assert seen == {"1.0.0", "2.0.0"}


async def test_without_a_user_the_request_decides(make):
    client = make(HALVES)
    versions = [(await client.post(PREDICT, ONE_ROW)).json()["version"] for _ in range(60)]
    assert 10 < versions.count("1.0.0") < 50


async def test_a_path_names_a_version(make):
    client = make(table(target("1.0.0"), target("2.0.0")))
    assert (await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW)).json()["version"] == "2.0.0"
    error_of(await client.post("/v2/models/m/versions/3.0.0/predict", ONE_ROW), 404, "not_found")


async def test_a_newer_table_takes_over_and_an_older_one_is_refused(make, predictor):
    client = make(table(target("1.0.0"), epoch=5))
    assert client.app.apply(table(target("2.0.0"), epoch=6))
    assert not client.app.apply(table(target("1.0.0"), epoch=5))
    assert client.app.table.epoch == 6
    assert (await client.post(PREDICT, ONE_ROW)).json()["version"] == "2.0.0"


async def test_requests_on_a_version_that_leaves_are_answered_and_counted_down(make, predictor):
    client = make()
    predictor.hold()
    tasks = [asyncio.create_task(client.post(PREDICT, ONE_ROW)) for _ in range(5)]
    await asyncio.sleep(0.01)
    client.app.apply(table(target("2.0.0"), epoch=2))
    assert client.app.in_flight("m-1.0.0") == 5
    predictor.let_go()
    assert {response.json()["version"] for response in await asyncio.gather(*tasks)} == {"1.0.0"}
    assert client.app.in_flight("m-1.0.0") == 0
    assert client.app.in_flight("never heard of") == 0
    client.app.apply(table(target("2.0.0"), epoch=3))
    assert counts(client.app).counts == {"ok": 5}  # what it did is not forgotten


async def test_an_unreadable_schema_puts_only_its_version_out_of_order(make):
    client = make(table(target("1.0.0", schema={"features": "?"}), target("2.0.0")))
    error_of(await client.post(PREDICT, ONE_ROW), 503, "unavailable")
    assert (await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW)).status == 200


async def test_before_the_first_table_nothing_can_be_answered(predictor):
    client = AsgiClient(GatewayApp(predictor, GatewayLimits(), SystemClock()))
    assert error_of(await client.post(PREDICT, ONE_ROW), 503, "unavailable")["retry_after_s"] == 1
    assert (await client.get("/v2/health/ready")).status == 503
    assert (await client.get("/v2/health/live")).status == 200


async def test_a_split_that_leads_to_a_version_that_does_not_run(make):
    response = await make(table(target("1.0.0"), split=Split.all_to("9.0.0"))).post(PREDICT, ONE_ROW)
    error_of(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"


# --- a version that the request names -----------------------------------------------------------------------------

NAMED = table(
    target("1.0.0"),
    target("2.0.0"),
    split=Split.all_to("1.0.0"),
    aliases={"champion": "1.0.0", "challenger": "2.0.0", "gone": "0.9.0"},
)
INFER = {"inputs": [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}


@pytest.mark.parametrize(("verb", "body"), [("predict", ONE_ROW), ("infer", INFER)])
async def test_a_header_asks_for_a_version_by_number_or_alias(make, verb, body):
    client = make(NAMED)
    for wish, found in (("2.0.0", "2.0.0"), ("challenger", "2.0.0"), ("champion", "1.0.0"), ("", "1.0.0")):
        answer = await client.post(f"/v2/models/m/{verb}", body, x_model_version=wish, x_user_id="ada")
        assert (answer.status, answer.headers["x-model-version"]) == (200, found)
    for wish in ("7.7.7", "nobody", "gone", "1.0"):
        answer = await client.post(f"/v2/models/m/{verb}", body, x_model_version=wish)
        assert error_of(answer, 404, "not_found")["running"] == ["1.0.0", "2.0.0"]
    answer = await client.post(f"/v2/models/m/versions/1.0.0/{verb}", body, x_model_version="challenger")
    assert "the path asks for version '1.0.0'" in error_of(answer, 422, "invalid_input")["error"]


async def test_an_alias_stands_where_a_version_may_in_a_path(make):
    client = make(NAMED)
    answer = await client.post("/v2/models/m/versions/challenger/predict", ONE_ROW)
    assert (answer.json()["version"], answer.headers["x-model-version"]) == ("2.0.0", "2.0.0")
    assert (await client.get("/v2/models/m/versions/challenger")).json()["versions"] == ["2.0.0"]
    assert (await client.get("/v2/models/m/versions/challenger/ready")).status == 200
    error_of(await client.get("/v2/models/m/versions/gone/ready"), 404, "not_found")


async def test_metadata_and_readiness_hear_the_header_too(make):
    client = make(NAMED)
    assert (await client.get("/v2/models/m", x_model_version="2.0.0")).json()["versions"] == ["2.0.0"]
    error_of(await client.get("/v2/models/m/ready", x_model_version="7.7.7"), 404, "not_found")


async def test_an_alias_that_moves_takes_effect_with_the_next_table(make):
    client = make(NAMED)
    route = replace(NAMED.models["m"], aliases={"champion": "2.0.0"})
    assert client.app.apply(replace(NAMED, epoch=NAMED.epoch + 1, models={"m": route}))
    assert (await client.post(PREDICT, ONE_ROW, x_model_version="champion")).json()["version"] == "2.0.0"
    error_of(await client.post(PREDICT, ONE_ROW, x_model_version="challenger"), 404, "not_found")
