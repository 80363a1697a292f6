"""What models answer, from the model over a real link and the gateway to the client, in each format."""

import asyncio
import struct

import numpy as np
import orjson
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.tree import DecisionTreeClassifier

from streamb.models import Model
from streamb.traffic import Batching, VersionTarget
from tests.models.test_json_values import JSON
from tests.models.test_outputs import CASES
from tests.serving.answering import learned, served
from tests.serving.gateways import PREDICT, counts, error_of
from tests.serving.predictors import table

INFER = "/v2/models/m/infer"
TWO_ROWS = {"instances": [[0.0, 1.0], [1.0, 0.0]]}
INPUT = {"name": "input", "shape": [2, 2], "datatype": "FP64", "data": [0, 1, 1, 0]}
NUMBERS = {"FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT8": "<i1", "BOOL": "?"}


class Answering:
    """A model that answers as it is told: a function of the rows, or for each question the same."""

    schema = None

    def __init__(self, predictions, probabilities=None) -> None:
        self._predictions, self._probabilities = predictions, probabilities
        self.asked = []

    @property
    def has_probabilities(self) -> bool:
        return self._probabilities is not None

    def predict(self, X):
        self.asked.append(("predictions", len(X)))
        return self._predictions(X) if callable(self._predictions) else self._predictions

    def predict_proba(self, X):
        self.asked.append(("probabilities", len(X)))
        return self._probabilities(X) if callable(self._probabilities) else self._probabilities


def read_output(output, tail=None):
    """The values of an output of an OIP reply, one per row, with JSON texts read."""
    if tail is None:
        values = output["data"]
    elif output["datatype"] == "BYTES":
        values = []
        while tail:
            (length,) = struct.unpack_from("<I", tail)
            values.append(tail[4 : 4 + length].decode())
            tail = tail[4 + length :]
    else:
        values = np.frombuffer(tail, NUMBERS[output["datatype"]]).tolist()
    filled = np.fromiter(values, dtype=object, count=len(values))
    return filled.reshape(output["shape"]).tolist()


@pytest.mark.parametrize("trialed", [False, True])
@pytest.mark.parametrize(("raw", "expected", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_every_kind_of_prediction_in_every_format(raw, expected, kind, trialed):
    model = Answering(raw)
    known = learned(model, [[0, 1], [1, 0]]) if trialed else {}
    async with served(model, **known) as (client, app):
        rows = await client.post(PREDICT, TWO_ROWS)
        asked = {"inputs": [INPUT], "outputs": [{"name": "predictions"}]}
        tensors = await client.post(INFER, asked)
        binary = await client.post(INFER, {**asked, "parameters": {"binary_data_output": True}})
        told = (await client.get("/v2/models/m")).json()["outputs"][0]
        assert counts(app).blamed == 0
    assert rows.json()["predictions"] == expected
    (output,) = tensors.json()["outputs"]
    head = int(binary.headers["inference-header-content-length"])
    (packed,) = orjson.loads(binary.body[:head])["outputs"]
    for found in (read_output(output), read_output(packed, binary.body[head:])):
        is_json = output["datatype"] == "BYTES" and kind != "text"
        texts = [value if value in expected or value is None else orjson.loads(value) for value in found]
        values = texts if is_json else found
        assert values == expected
    if trialed and kind != "named":
        assert (output["datatype"], len(output["shape"])) == (told["datatype"], len(told["shape"]))
        assert output["datatype"] == packed["datatype"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON, min_size=2, max_size=2))
def test_what_json_holds_comes_out_equal(rows):
    async def check():
        async with served(Answering(rows)) as (client, _):
            return (await client.post(PREDICT, TWO_ROWS)).body

    body = asyncio.run(check())
    assert orjson.loads(body)["predictions"] == orjson.loads(orjson.dumps(rows))


async def test_two_requests_in_one_batch_get_what_each_would_get_alone():
    """Lists of the same length are a tensor, of several lengths JSON texts: no neighbour may change which."""
    model = Answering(lambda X: [[1.5] * int(row[0]) for row in X])
    one, two = ({"inputs": [{**INPUT, "shape": [1, 1], "data": [size]}]} for size in (1, 2))
    async with served(model) as (client, _):
        together = await asyncio.gather(client.post(INFER, one), client.post(INFER, two))
        alone = [await client.post(INFER, one), await client.post(INFER, two)]
    assert model.asked == [("predictions", 2), ("predictions", 1), ("predictions", 1)]
    for first, second in zip(together, alone, strict=True):
        assert first.json()["outputs"] == second.json()["outputs"]


@pytest.mark.parametrize("bad", [float("nan"), {"a": [float("inf")]}, [1, [float("-inf")]]])
async def test_numbers_that_are_not_finite_fail_only_their_request(bad):
    model = Answering(lambda X: [bad if row[0] == 7 else {"fine": 1} for row in X])
    async with served(model) as (client, _):
        replies = await asyncio.gather(*(client.post(PREDICT, {"instances": [[value]]}) for value in (1, 7, 2)))
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert "not finite" in error_of(replies[1], 500, "model_error")["error"]
    assert replies[2].json()["predictions"] == [{"fine": 1}]


async def test_a_value_that_json_cannot_hold_fails_only_its_request_and_is_named():
    model = Answering(lambda X: [{1, 2} if row[0] == 7 else "fine" for row in X])
    async with served(model) as (client, _):
        replies = await asyncio.gather(*(client.post(PREDICT, {"instances": [[value]]}) for value in (1, 7, 2)))
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert "type set" in error_of(replies[1], 500, "model_error")["error"]


# --- probabilities and classes --------------------------------------------------------------------------------------


def asking(value=0.0, **more):
    return {"instances": [[value, 1.0]], "probabilities": True, **more}


async def test_classes_are_in_the_order_of_the_columns():
    async with served(Answering(["b"], np.array([[0.1, 0.9]])), classes=["a", "b"]) as (client, _):
        reply = (await client.post(PREDICT, asking())).json()
        without = (await client.post(PREDICT, {"instances": [[0.0, 1.0]]})).json()
    assert list(reply) == ["predictions", "probabilities", "classes", "model", "version", "request_id"]
    assert (reply["probabilities"], reply["classes"]) == ([[0.1, 0.9]], ["a", "b"])
    assert list(without) == ["predictions", "model", "version", "request_id"]


@pytest.mark.parametrize("labels", [["setosa", "virginica"], [3, 8], [False, True], [0.5, 1.5]])
async def test_the_most_probable_class_is_the_prediction(labels):
    X = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.9, 0.2]])
    y = np.array([labels[0], labels[1]] * 2, dtype=object if isinstance(labels[0], str) else None)
    estimator = DecisionTreeClassifier() if isinstance(labels[0], float) else LogisticRegression()
    y = y.astype(str) if isinstance(labels[0], float) else y
    model = Model.wrap(estimator.fit(X, y))
    async with served(model, **learned(model, X, probabilities=True)) as (client, _):
        reply = (await client.post(PREDICT, {**TWO_ROWS, "probabilities": True})).json()
    assert reply["classes"] == model.classes
    best = [reply["classes"][int(np.argmax(row))] for row in reply["probabilities"]]
    assert best == reply["predictions"] == model.predict(np.array(TWO_ROWS["instances"])).tolist()


async def test_a_binary_torch_module_has_a_column_for_each_class():
    module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid())
    model = Model.wrap(module, classes=["no", "yes"])
    X = np.array(TWO_ROWS["instances"])
    async with served(model, **learned(model, X, probabilities=True)) as (client, _):
        reply = (await client.post(PREDICT, {**TWO_ROWS, "probabilities": True})).json()
    with torch.no_grad():
        yes = module(torch.tensor(X, dtype=torch.float32)).numpy()[:, 0].astype(float)
    assert reply["classes"] == ["no", "yes"]
    np.testing.assert_allclose(reply["probabilities"], np.column_stack([1 - yes, yes]))


async def test_a_classifier_of_several_labels_has_probabilities_for_each():
    X, y = make_multilabel_classification(60, n_features=2, n_classes=3, random_state=0)
    model = Model.wrap(MultiOutputClassifier(LogisticRegression()).fit(X, y))
    async with served(model, **learned(model, X, probabilities=True)) as (client, _):
        reply = (await client.post(PREDICT, {"instances": X[:4].tolist(), "probabilities": True})).json()
        wanted = {"inputs": [{**INPUT, "shape": [2, 2]}], "outputs": [{"name": "probabilities"}]}
        (tensor,) = (await client.post(INFER, wanted)).json()["outputs"]
        told = (await client.get("/v2/models/m")).json()["outputs"]
    assert reply["classes"] == [[0, 1]] * 3
    found = np.array(reply["probabilities"])
    assert found.shape == (4, 3, 2)
    assert found.argmax(axis=2).tolist() == reply["predictions"]
    assert (tensor["datatype"], tensor["shape"]) == ("FP64", [2, 3, 2])
    assert told == [
        {"name": "predictions", "datatype": "INT64", "shape": [-1, 3]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3, 2], "parameters": {"classes": [[0, 1]] * 3}},
    ]


async def test_outputs_with_different_numbers_of_classes():
    X = np.arange(12.0).reshape(6, 2)
    y = np.array([["a", "x"], ["b", "y"], ["c", "x"]] * 2)
    model = Model.wrap(DecisionTreeClassifier(random_state=0).fit(X, y))
    async with served(model, **learned(model, X, probabilities=True)) as (client, _):
        reply = (await client.post(PREDICT, {"instances": X[:2].tolist(), "probabilities": True})).json()
        body = {"inputs": [{**INPUT, "data": [0, 1, 2, 3]}], "outputs": [{"name": "probabilities"}]}
        (tensor,) = (await client.post(INFER, body)).json()["outputs"]
    assert reply["classes"] == [["a", "b", "c"], ["x", "y"]]
    assert reply["probabilities"] == [[[1, 0, 0], [1, 0]], [[0, 1, 0], [0, 1]]]
    assert [orjson.loads(text) for text in tensor["data"]] == reply["probabilities"]


async def test_probabilities_that_fail_do_not_fail_the_neighbours():
    def unusable(X):
        raise ValueError("no such thing")

    model = Answering(lambda X: X[:, 0], unusable)
    plain = {"instances": [[5.0, 1.0]]}
    async with served(model) as (client, _):
        bodies = [plain, asking(6.0), plain]
        replies = await asyncio.gather(*(client.post(PREDICT, body) for body in bodies))
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert "no such thing" in replies[1].json()["error"]
    assert model.asked[0] == ("predictions", 3), "they were one batch"


async def test_only_the_request_with_bad_probabilities_fails():
    def probabilities(X):
        return np.where(X[:, :1] == 7, np.nan, np.column_stack([X[:, 0], 1 - X[:, 0]]))

    model = Answering(lambda X: X[:, 0], probabilities)
    bodies = [asking(0.25), asking(7.0), {"instances": [[7.0, 1.0]]}, asking(0.5)]
    async with served(model) as (client, _):
        replies = await asyncio.gather(*(client.post(PREDICT, body) for body in bodies))
    assert [reply.status for reply in replies] == [200, 500, 200, 200]
    assert "row 0" in replies[1].json()["error"]
    assert replies[0].json()["probabilities"] == [[0.25, 0.75]]
    assert replies[2].json()["predictions"] == [7.0]
    assert "probabilities" not in replies[2].json()
    assert replies[3].json()["probabilities"] == [[0.5, 0.5]]
    assert model.asked == [("predictions", 4), ("probabilities", 3)]


async def test_a_model_without_probabilities_says_so():
    async with served(Answering(lambda X: X[:, 0])) as (client, app):
        bodies = [asking(1.0), {"instances": [[2.0, 1.0]]}]
        refused, answered = await asyncio.gather(*(client.post(PREDICT, body) for body in bodies))
        assert counts(app).blamed == 0
    assert "has no class probabilities" in error_of(refused, 422, "invalid_input")["error"]
    assert answered.json()["predictions"] == [2.0]


@pytest.mark.parametrize(("join", "sizes"), [(False, [1, 1, 1]), (True, [3])])
async def test_requests_are_joined_unless_rows_depend_on_each_other(join, sizes):
    model = Answering(lambda X: X[:, 0])
    async with served(model, batching=Batching(join=join)) as (client, _):
        bodies = [{"instances": [[value, 0.0]]} for value in (1.0, 2.0, 3.0)]
        replies = await asyncio.gather(*(client.post(PREDICT, body) for body in bodies))
    assert [reply.json()["predictions"] for reply in replies] == [[1.0], [2.0], [3.0]]
    assert [rows for _, rows in model.asked] == sizes


async def test_what_a_later_table_knows_of_a_version_counts():
    model = Answering(lambda X: X[:, 0], lambda X: X[:, :2])
    async with served(model) as (client, app):
        assert "classes" not in (await client.post(PREDICT, asking())).json()
        app.apply(table(VersionTarget("1.0.0", "m-1", {}, classes=("a", "b"), batching=Batching(join=False)), epoch=2))
        assert (await client.post(PREDICT, asking())).json()["classes"] == ["a", "b"]
        await asyncio.gather(client.post(PREDICT, asking()), client.post(PREDICT, asking()))
    assert {rows for _, rows in model.asked} == {1}


async def test_feedback_on_objects_counts_all_but_the_label():
    async with served(Answering([{"a": 1}])) as (client, app):
        await client.post(PREDICT, {"instances": [[0.0, 1.0]]}, x_request_id="r-1")
        feedback = {"request_id": "r-1", "label": "a", "success": True}
        told = (await client.post("/v2/models/m/feedback", feedback)).json()
    assert (told["joined"], told["not_joined"]) == (["success"], {"label": "unjoinable"})
    assert counts(app).predictions == {"object": 1}
