"""Rows whose answer is not finite: what the client, the counts, the fallback and feedback make of them."""

import asyncio
from dataclasses import replace

import numpy as np
import orjson
import pytest

from streamb.metrics import Outcome
from streamb.serving.fallback import BUDGET_BURST
from streamb.traffic import BreakerPolicy, GatewayPolicy, Shadow, Split
from tests.serving.answering import learned, served
from tests.serving.gateways import PREDICT, counts, error_of, user_of
from tests.serving.predictors import VersionsPredictor, table, target
from tests.serving.test_answers import INFER, Answering
from tests.serving.test_shadow import settled

NAN, INF = float("nan"), float("inf")
SENTENCE = "the model answered a number that is not finite (NaN or infinity) to row "


def doubled(X):
    """Doubles the numbers; NaN for 7, infinity for 8."""
    return np.where(X[:, 0] == 7, NAN, np.where(X[:, 0] == 8, INF, X[:, 0] * 2))


def rows(*values, **more):
    return {"instances": [[value] for value in values], **more}


def tensors(*values, outputs=("predictions",), binary=False):
    data = {"name": "x", "shape": [len(values), 1], "datatype": "FP64", "data": values}
    return {
        "inputs": [data],
        "outputs": [{"name": name} for name in outputs],
        "parameters": {"binary_data_output": binary},
    }


def error(row):
    return {"row": row, "error": f"{SENTENCE}{row}", "code": "model_error"}


def read_binary(reply):
    head = int(reply.headers["inference-header-content-length"])
    return orjson.loads(reply.body[:head]), np.frombuffer(reply.body[head:])


async def test_a_row_fails_alone_in_both_formats():
    async with served(Answering(doubled)) as (client, app):
        plain = await client.post(PREDICT, rows(1, 7, 8, 2))
        json_tensor = (await client.post(INFER, tensors(1, 7, 8, 2))).json()
        binary = await client.post(INFER, tensors(1, 7, 8, 2, binary=True))
        total = counts(app)
    assert plain.status == 200
    assert plain.json()["predictions"] == [2, None, None, 4]
    assert plain.json()["errors"] == [error(1), error(2)]
    assert json_tensor["outputs"][0]["data"] == [2, None, None, 4]
    head, values = read_binary(binary)
    np.testing.assert_array_equal(values, [2, NAN, INF, 4])
    for document in (json_tensor, head):
        assert orjson.loads(document["parameters"]["errors"]) == plain.json()["errors"]
    assert total.counts == {Outcome.MODEL_ERROR.value: 3}
    assert total.codes == {200: 3}
    assert sum(total.predictions.values()) == 6, "rows that failed are no predictions"


async def test_a_request_whose_rows_all_failed_is_an_error_unless_its_format_holds_them():
    async with served(Answering(doubled)) as (client, app):
        replies = [await client.post(PREDICT, rows(7, 8)), await client.post(INFER, tensors(7))]
        head, values = read_binary(await client.post(INFER, tensors(7, 8, binary=True)))
        assert counts(app).counts == {Outcome.MODEL_ERROR.value: 3}
    for reply in replies:
        assert error_of(reply, 500, "model_error")["error"] == f"{SENTENCE}0"
    np.testing.assert_array_equal(values, [NAN, INF])
    assert len(orjson.loads(head["parameters"]["errors"])) == 2


async def test_requests_that_are_joined_with_a_failed_row_are_unharmed():
    async with served(Answering(doubled)) as (client, app):
        bodies = [rows(1, 2), rows(3, 7), rows(4), rows(8)]
        replies = await asyncio.gather(*(client.post(PREDICT, body) for body in bodies))
        assert counts(app).counts == {"ok": 2, "model_error": 2}
    assert [reply.status for reply in replies] == [200, 200, 200, 500]
    assert [reply.json()["predictions"] for reply in replies[:3]] == [[2, 4], [6, None], [8]]
    assert ["errors" in reply.json() for reply in replies] == [False, True, False, False]


async def test_a_row_with_bad_probabilities_fails_with_its_prediction():
    def chances(X):
        return np.where(X == 7, NAN, np.hstack([X, 1 - X]))

    async with served(Answering(lambda X: X[:, 0], chances), classes=["a", "b"]) as (client, _):
        reply = (await client.post(PREDICT, rows(0.25, 7, probabilities=True))).json()
        without = (await client.post(PREDICT, rows(0.25, 7))).json()
    assert reply["predictions"] == [0.25, None]
    assert reply["probabilities"] == [[0.25, 0.75], None]
    assert reply["errors"] == [error(1)]
    assert without["predictions"] == [0.25, 7]
    assert "errors" not in without


@pytest.mark.parametrize("bad", [NAN, {"a": [INF]}, [1, [-INF]]])
async def test_a_number_inside_of_an_object_fails_its_row(bad):
    async with served(Answering(lambda X: [bad if row[0] == 7 else {"fine": 1} for row in X])) as (client, _):
        reply = (await client.post(PREDICT, rows(1, 7))).json()
    assert (reply["predictions"], reply["errors"]) == ([{"fine": 1}, None], [error(1)])


@pytest.mark.parametrize("own_id", [{}, {"x_request_id": "mine"}])
async def test_a_label_counts_only_for_rows_that_have_a_prediction(own_id):
    model = Answering(doubled)
    key = GatewayPolicy(token_key=bytes(32))
    async with served(model, task="regression", **learned(model, np.ones((1, 1)))) as (client, app):
        app.apply(replace(app.table, epoch=2, policy=key))
        reply = (await client.post(PREDICT, rows(1, 7), **own_id)).json()
        feedback = {"request_id": reply["request_id"], "label": [2.5, 9.0]}
        told = (await client.post("/v2/models/m/feedback", feedback)).json()
        learnt = counts(app).feedback
    assert told["joined"] == ["label"]
    assert (learnt["labels"], learnt["error_micro"]) == (1, 500_000)


class HalfPredictor(VersionsPredictor):
    """Version 2.0.0 answers NaN to the last row of each request."""

    async def predict(self, target, batch):
        reply = await super().predict(target, batch)
        if target.version != "2.0.0":
            return reply
        ends = np.cumsum(batch.counts) - 1
        reply.predictions[ends] = NAN
        return replace(reply, failed=ends.tolist())


@pytest.fixture
def predictor():
    return HalfPredictor()


NEW, TWO_ROWS = target("2.0.0"), {"instances": [[1, 2], [3, 4]]}


async def test_a_version_with_a_failed_row_is_answered_for(make):
    client = make(table(target("1.0.0"), NEW, split=Split.all_to("2.0.0"), fallback="1.0.0"))
    replies = [await client.post(PREDICT, TWO_ROWS) for _ in range(15)]
    answered = [reply for reply in replies if reply.json()["version"] == "1.0.0"]
    assert len(answered) == BUDGET_BURST
    assert {tuple(reply.json()["predictions"]) for reply in answered} == {(3.0, 7.0)}
    partial = replies[-1]
    assert (partial.status, partial.json()["version"]) == (200, "2.0.0")
    assert (partial.json()["predictions"], partial.json()["errors"]) == ([3.0, None], [error(1)])
    assert partial.headers["x-request-id"] == partial.json()["request_id"]
    assert counts(client.app, "2.0.0").counts == {"model_error": 15}


async def test_failed_rows_open_the_breaker(make):
    policy = GatewayPolicy(breaker=BreakerPolicy(failure_threshold=3, recovery_timeout_s=30, half_open_max_calls=2))
    split = Split.by_shares([("2.0.0", 5_000), ("1.0.0", 5_000)])
    client = make(table(target("1.0.0"), NEW, split=split, policy=policy))
    user = user_of(client.app, "2.0.0")
    for _ in range(3):
        assert (await client.post(PREDICT, TWO_ROWS, x_user_id=user)).status == 200
    assert (await client.post(PREDICT, TWO_ROWS, x_user_id=user)).status == 503


async def test_a_copy_with_a_failed_row_has_failed(make):
    shadowed = table(target("1.0.0"), NEW, split=Split.all_to("1.0.0"), shadow=Shadow("2.0.0", 10_000))
    client = make(shadowed)
    assert (await client.post(PREDICT, TWO_ROWS)).json()["predictions"] == [3.0, 7.0]
    assert await settled(client) == {"sent": 1, "failed": 1}
