import asyncio
import time

import numpy as np
import pytest

from streamb.errors import InvalidInput, ModelFailed, Overloaded, Unavailable
from streamb.models.schema import FeatureSchema
from streamb.serving import BatchReply
from streamb.traffic import Override, Split
from tests.serving.gateways import ONE_ROW, PREDICT, counts, error_of
from tests.serving.predictors import VersionsPredictor, table, target

OLD, NEW = target("1.0.0"), target("2.0.0")


@pytest.fixture
def predictor():
    return VersionsPredictor()


def canary(new=10_000, *targets, **options):
    split = Split.by_shares([("2.0.0", new), ("1.0.0", 10_000 - new)])
    return table(*(targets or (OLD, NEW)), split=split, **{"fallback": "1.0.0", **options})


@pytest.mark.parametrize("error", [ModelFailed("the model raised"), Unavailable("no replica")])
async def test_a_version_that_fails_is_answered_for(make, predictor, error):
    client = make(canary())
    predictor.errors["2.0.0"] = error
    response = await client.post(PREDICT, ONE_ROW)
    assert response.status == 200
    assert response.json()["version"] == response.headers["x-model-version"] == "1.0.0"
    failed, answered = counts(client.app, "2.0.0"), counts(client.app, "1.0.0")
    assert (failed.blamed, failed.fallbacks, failed.codes) == (1, 1, {error.status: 1})
    assert (answered.counts, answered.fallbacks, answered.rows) == ({"ok": 1}, 0, 1)


async def test_a_version_that_is_late_is_answered_for_within_the_time_of_the_request(make, predictor):
    client = make(canary(), request_timeout_s=3.0)
    predictor.hold("2.0.0")
    began = time.monotonic()
    response = await client.post(PREDICT, ONE_ROW)
    assert 1.4 < time.monotonic() - began < 3.0
    assert response.json()["version"] == "1.0.0"
    assert counts(client.app, "2.0.0").counts == {"timeout": 1}
    assert counts(client.app, "1.0.0").latency.quantile(0.99) < 1.4  # the time of another is not its own


async def test_when_both_are_late_the_request_takes_no_longer_than_any_other(make, predictor):
    client = make(canary(), request_timeout_s=3.0)
    predictor.hold("2.0.0")
    predictor.hold("1.0.0")
    began = time.monotonic()
    error_of(await client.post(PREDICT, ONE_ROW), 504, "timeout")
    assert 2.9 < time.monotonic() - began < 4.5  # one after the other would be that
    assert counts(client.app, "1.0.0").counts == counts(client.app, "2.0.0").counts == {"timeout": 1}


async def test_when_both_fail_the_second_failure_is_told_and_both_are_counted(make, predictor):
    client = make(canary())
    predictor.errors = {"2.0.0": ModelFailed("the new one raised"), "1.0.0": Unavailable("the old one is away")}
    response = await client.post(PREDICT, ONE_ROW)
    assert "old one" in error_of(response, 503, "unavailable")["error"]
    assert response.headers["x-model-version"] == "1.0.0"
    assert [counts(client.app, version).blamed for version in ("1.0.0", "2.0.0")] == [1, 1]


async def test_a_full_gateway_is_told(make, predictor):
    client = make(canary())
    predictor.errors["2.0.0"] = Overloaded("the queue is full", retry_after_s=1)
    error_of(await client.post(PREDICT, ONE_ROW), 503, "overloaded")
    assert predictor.calls == ["2.0.0"]
    assert counts(client.app, "2.0.0").blamed == 0


WIDER = target("2.0.0", schema=FeatureSchema.numbers(3).to_json())


async def test_rows_that_only_the_new_version_refuses_are_answered_for_without_a_budget(make, predictor):
    client = make(canary(10_000, OLD, WIDER))
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(30)]
    assert {(response.status, response.headers["x-model-version"]) for response in responses} == {(200, "1.0.0")}
    refused, answered = counts(client.app, "2.0.0"), counts(client.app, "1.0.0")
    assert (refused.counts, refused.codes, refused.fallbacks) == ({"client_error": 30}, {422: 30}, 30)
    assert answered.counts == {"ok": 30}
    assert predictor.calls == ["1.0.0"] * 30


async def test_rows_that_both_refuse_are_the_clients_mistake_at_the_first(make, predictor):
    client = make(canary())
    error_of(await client.post(PREDICT, {"instances": [["a", "b"]]}), 422, "invalid_features")
    assert (counts(client.app, "2.0.0").counts, counts(client.app, "1.0.0").counts) == ({"client_error": 1}, {})
    assert counts(client.app, "2.0.0").fallbacks == 0


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/m/versions/2.0.0/predict"])
async def test_a_client_that_names_the_version_hears_that_it_refuses_the_rows(make, predictor, path):
    client = make(canary(0, OLD, WIDER))
    error_of(await client.post(path, ONE_ROW, x_model_version="2.0.0"), 422, "invalid_features")
    assert predictor.calls == []


async def test_what_the_code_of_the_new_version_refuses_is_answered_for(make, predictor):
    client = make(canary())
    predictor.errors["2.0.0"] = InvalidInput("not like this")
    assert (await client.post(PREDICT, ONE_ROW)).json()["version"] == "1.0.0"
    assert counts(client.app, "2.0.0").counts == {"client_error": 1}
    predictor.errors["1.0.0"] = InvalidInput("not like this either")
    error_of(await client.post(PREDICT, ONE_ROW), 422, "invalid_input")


async def test_probabilities_that_only_the_old_version_has_come_from_it(make, predictor):
    async def predict(version, batch):
        predictor.calls.append(version.version)
        return BatchReply(np.zeros(1), np.array([[0.25, 0.75]]) if version.version == "1.0.0" else None)

    predictor.predict = predict
    client = make(canary())
    for _ in range(30):
        response = await client.post(PREDICT, {**ONE_ROW, "probabilities": True})
        assert (response.status, response.json()["probabilities"]) == (200, [[0.25, 0.75]])
    assert predictor.calls.count("2.0.0") == 1, "it is known after the first answer, so the budget is not touched"
    assert counts(client.app, "2.0.0").counts == {"client_error": 30}
    path = "/v2/models/m/versions/2.0.0/predict?probabilities=true"
    assert "no class probabilities" in error_of(await client.post(path, ONE_ROW), 422, "invalid_input")["error"]


async def test_a_version_named_in_the_path_answers_itself_or_not_at_all(make, predictor):
    client = make(canary())
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    error_of(await client.post("/v2/models/m/versions/2.0.0/predict", ONE_ROW), 500, "model_error")


async def test_the_fallback_itself_has_none(make, predictor):
    client = make(canary(0))
    predictor.errors["1.0.0"] = ModelFailed("the model raised")
    error_of(await client.post(PREDICT, ONE_ROW), 500, "model_error")
    assert predictor.calls == ["1.0.0"]


async def test_a_user_of_an_override_is_answered_for_too(make, predictor):
    client = make(canary(0, overrides=(Override("2.0.0", users=frozenset({"ada"})),)))
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    assert (await client.post(PREDICT, ONE_ROW, x_user_id="ada")).status == 200
    assert predictor.calls == ["2.0.0", "1.0.0"]


async def test_an_answer_that_json_cannot_hold_is_a_failure(make, predictor):
    async def predict(version, batch):
        strange = np.array([object()]) if version.version == "2.0.0" else np.zeros(1)
        return BatchReply(strange)

    predictor.predict = predict
    client = make(canary())
    assert (await client.post(PREDICT, ONE_ROW)).json()["version"] == "1.0.0"
    assert counts(client.app, "2.0.0").counts == {"model_error": 1}


async def test_a_fallback_that_takes_other_features_does_not_make_it_the_clients_mistake(make, predictor):
    client = make(canary(10_000, target("1.0.0", schema=FeatureSchema.numbers(3).to_json()), NEW))
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    error_of(await client.post(PREDICT, ONE_ROW), 500, "model_error")
    assert counts(client.app, "1.0.0").counts == {}
    assert counts(client.app, "2.0.0").counts == {"model_error": 1}


async def test_a_version_out_of_order_needs_no_budget(make, predictor):
    client = make(canary(10_000, OLD, target("2.0.0", schema={"features": "?"})))
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(30)]
    assert {response.status for response in responses} == {200}
    assert predictor.calls == ["1.0.0"] * 30


async def test_second_calls_are_bounded(make, predictor):
    client = make(canary(5000))
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    responses = [await client.post(PREDICT, ONE_ROW) for _ in range(200)]
    failed = counts(client.app, "2.0.0")
    assert failed.blamed == predictor.calls.count("2.0.0")
    assert failed.fallbacks in (39, 40)  # a fifth of all the requests, when the last one was not its own
    assert [response.status for response in responses].count(500) == failed.blamed - failed.fallbacks
    assert all(response.headers["x-model-version"] == "2.0.0" for response in responses if response.status == 500)


async def test_requests_before_the_canary_count_into_the_budget(make, predictor):
    client = make(canary(0))
    for _ in range(200):
        await client.post(PREDICT, ONE_ROW)
    client.app.apply(canary(10_000, epoch=2))
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    responses = await asyncio.gather(*(client.post(PREDICT, ONE_ROW) for _ in range(45)))
    assert [response.status for response in responses].count(200) == 45
