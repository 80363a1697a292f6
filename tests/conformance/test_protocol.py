"""The Open Inference Protocol V2 over HTTP, point by point, with tritonclient: servers, models, inference.

The docstring of each test is the point that it shows. docs/api.md lists them, and a test compares.
"""

from __future__ import annotations

import numpy as np
import pytest

from streamb.clock import SystemClock
from streamb.serving import GatewayApp, GatewayLimits
from tests.conformance.asking import ROWS, body, given, refused, same, tensor, texts, told, wanted
from tests.conformance.hosting import InProcess
from tests.serving.asgi_client import AsgiClient

SUMS = ROWS.sum(axis=1)


class TestServer:
    """Server"""

    def test_live(self, client):
        """`GET /v2/health/live`: 200 while the server answers"""
        assert client.is_server_live()

    async def test_ready(self, client):
        """`GET /v2/health/ready`: 200 once it knows its models, before that 503"""
        assert client.is_server_ready()
        new = AsgiClient(GatewayApp(InProcess({}), GatewayLimits(), SystemClock()))
        assert (await new.get("/v2/health/ready")).status == 503

    def test_metadata(self, client):
        """`GET /v2`: name, version, extensions"""
        document = client.get_server_metadata()
        assert document["name"] == "streamb"
        assert document["version"]
        assert document["extensions"] == ["binary_tensor_data"]


class TestModels:
    """Models"""

    def test_metadata(self, client):
        """`GET /v2/models/{m}`: name, versions, platform, and name, datatype and shape of each input and output"""
        document = client.get_model_metadata("sum")
        assert (document["name"], document["versions"], document["platform"]) == ("sum", ["1.0.0"], "streamb")
        (taken,), (answered,) = document["inputs"], document["outputs"]
        assert (taken["name"], taken["datatype"], taken["shape"]) == ("input", "FP64", [-1, 3])
        assert (answered["name"], answered["datatype"], answered["shape"]) == ("predictions", "FP64", [-1])

    def test_metadata_of_a_version(self, client):
        """`GET /v2/models/{m}/versions/{v}`: the same of one version"""
        assert client.get_model_metadata("sum", "1.0.0")["versions"] == ["1.0.0"]

    def test_columns_of_several_types(self, client):
        """A model of columns of several types has an input for each column, with its datatype"""
        inputs = {one["name"]: one["datatype"] for one in client.get_model_metadata("frame")["inputs"]}
        assert inputs["ratio"] == "FP32"
        assert inputs["small"] == "INT8"
        assert inputs["large"] == inputs["whole"] == "INT64"
        assert inputs["flag"] == "BOOL"
        assert inputs["city"] == inputs["seen"] == "BYTES"

    def test_ready(self, client):
        """`GET /v2/models/{m}/ready` and `…/versions/{v}/ready`: whether something answers"""
        assert client.is_model_ready("sum")
        assert client.is_model_ready("sum", "1.0.0")
        assert not client.is_model_ready("none")
        assert not client.is_model_ready("sum", "9.9.9")

    def test_an_alias_is_a_version(self, client):
        """An alias may stand where a version may"""
        assert client.is_model_ready("sum", "champion")
        assert client.get_model_metadata("sum", "champion")["versions"] == ["1.0.0"]
        result = client.infer("sum", [given(ROWS)], model_version="champion")
        same(result.as_numpy("predictions"), SUMS)
        assert result.get_response()["model_version"] == "1.0.0"

    def test_unknown(self, client):
        """An unknown model or version is 404, in every route"""
        assert "none" in refused(404, client.get_model_metadata, "none")
        assert "9.9.9" in refused(404, client.get_model_metadata, "sum", "9.9.9")
        assert "none" in refused(404, client.infer, "none", [given(ROWS)])
        assert "9.9.9" in refused(404, client.infer, "sum", [given(ROWS)], model_version="9.9.9")

    def test_case(self, client):
        """Names are case-sensitive"""
        assert not client.is_model_ready("Sum")
        assert "Predictions" in refused(400, client.infer, "sum", [given(ROWS)], outputs=wanted("Predictions"))


class TestInference:
    """Inference"""

    @pytest.mark.parametrize("version", ["", "1.0.0"])
    def test_infer(self, client, version):
        """`POST /v2/models/{m}/infer` and `…/versions/{v}/infer`: tensors in, tensors out"""
        result = client.infer("sum", [given(ROWS)], model_version=version)
        same(result.as_numpy("predictions"), SUMS)

    def test_reply(self, http):
        """The answer names model, version and id, and of each output name, datatype, shape and data"""
        document = http.post("/v2/models/sum/infer", json=body(tensor(ROWS.tolist()))).json()
        assert document.pop("id")
        output = {"name": "predictions", "datatype": "FP64", "shape": [2], "data": [6.0, 7.0]}
        assert document == {"model_name": "sum", "model_version": "1.0.0", "outputs": [output]}

    def test_id(self, client):
        """The id of a request is that of its answer"""
        result = client.infer("sum", [given(ROWS)], request_id="mine: 東京")
        assert result.get_response()["id"] == "mine: 東京"

    def test_several_inputs(self, client):
        """One tensor with all columns, or one for each column, of shape [rows] or [rows, 1], in any order"""
        columns = [given(ROWS[:, 2], "x2"), given(ROWS[:, :1], "x0"), given(ROWS[:, 1], "x1")]
        same(client.infer("sum", columns).as_numpy("predictions"), SUMS)

    def test_several_types(self, client):
        """Inputs of one request have datatypes of their own"""
        count, name = np.array([2**60 + 1, -3]), texts("a", "é")
        answer = client.infer("reveal", [given(count, "n"), given(name, "t")]).as_numpy("predictions")
        assert [text.decode() for text in answer] == ["{'n': 1152921504606846977, 't': 'a'}", "{'n': -3, 't': 'é'}"]

    @pytest.mark.parametrize("data", [[1, 2, 3, -4, 5, 6], [[1, 2, 3], [-4, 5, 6]]])
    def test_flat_or_nested(self, http, data):
        """The data of a tensor are flat, row by row, or nested as its shape says"""
        asked = {**tensor(data), "shape": [2, 3]}
        assert http.post("/v2/models/sum/infer", json=body(asked)).json()["outputs"][0]["data"] == [6.0, 7.0]

    def test_any_shape(self, client):
        """Tensors have up to 32 dimensions; the first one is the rows"""
        for shape in ((2, 3, 4), (2,) + (1,) * 30 + (12,)):
            cube = np.arange(24.0).reshape(shape)
            same(client.infer("echo", [given(cube)]).as_numpy("predictions"), cube)

    def test_outputs(self, client):
        """Requested outputs come in their order; without `outputs`, or with an empty list, all that are the version's
        own"""
        result = client.infer("tree", tree_inputs(), outputs=wanted("probabilities", "predictions"))
        assert [one["name"] for one in result.get_response()["outputs"]] == ["probabilities", "predictions"]
        everything = client.infer("tree", tree_inputs(), outputs=[])
        assert [one["name"] for one in everything.get_response()["outputs"]] == ["predictions"]

    def test_an_unknown_output(self, client):
        """An output that the version does not have is refused, with the names that it has"""
        message = refused(400, client.infer, "sum", [given(ROWS)], outputs=wanted("labels"))
        assert "labels" in message
        assert "predictions" in message

    def test_named_outputs(self, client):
        """Several outputs of a model keep their names, datatypes and shapes, in metadata and answers"""
        expected = {
            "score": np.array([6, 7], np.float32),
            "count": np.array([4, -1]),
            "label": texts("up", "down"),
            "pair": np.array([[1.0, -1.0], [-4.0, 4.0]]),
        }
        outputs = client.get_model_metadata("named")["outputs"]
        assert [one["name"] for one in outputs] == list(expected)
        assert [one["datatype"] for one in outputs] == ["FP32", "INT64", "BYTES", "FP64"]
        assert [one["shape"] for one in outputs] == [[-1], [-1], [-1], [-1, 2]]
        result = client.infer("named", [given(ROWS)])
        for name, values in expected.items():
            same(result.as_numpy(name), values)
        chosen = client.infer("named", [given(ROWS)], outputs=wanted("label", "score", binary=False))
        assert [one["name"] for one in chosen.get_response()["outputs"]] == ["label", "score"]

    def test_classes(self, client):
        """Probabilities say which class each column is, in metadata and answers (`parameters.classes`)"""
        told_first = {one["name"]: one for one in client.get_model_metadata("tree")["outputs"]}
        result = client.infer("tree", tree_inputs(), outputs=wanted("probabilities"))
        for found in (told_first["probabilities"], result.get_output("probabilities")):
            assert found["parameters"]["classes"] == ["down", "up"]
        same(result.as_numpy("probabilities").sum(axis=1), np.ones(2))

    def test_parameters(self, client):
        """Parameters of a request that this server does not know are ignored"""
        result = client.infer("sum", [given(ROWS)], priority=3, timeout=10**6, parameters={"mine": "x"})
        same(result.as_numpy("predictions"), SUMS)

    def test_unknown_fields(self, http):
        """Fields that the protocol does not have are ignored in request, inputs and outputs"""
        asked = body(tensor(ROWS.tolist(), more=1), outputs=[{"name": "predictions", "more": 1}], more=1)
        assert http.post("/v2/models/sum/infer", json=asked).status_code == 200

    def test_nulls(self, http):
        """Null in an optional field is as if it were absent (what MLServer's `.dict()` sends)"""
        entry = tensor(ROWS.tolist(), parameters=None)
        output = {"name": "predictions", "parameters": None}
        for asked in (
            body(entry, id=None, parameters=None, outputs=None),
            body(entry, id=None, parameters={"content_type": None, "headers": None}, outputs=[output]),
            body({**entry, "parameters": {"content_type": None, "headers": None, "binary_data_size": None}}),
        ):
            response = http.post("/v2/models/sum/infer", json=asked)
            assert response.status_code == 200, response.text
            assert response.json()["outputs"][0]["data"] == [6.0, 7.0]

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    @pytest.mark.parametrize("binary", [True, False])
    def test_compressed_requests(self, client, algorithm, binary):
        """Requests may be compressed (`Content-Encoding: gzip`, `deflate`)"""
        result = client.infer("sum", [given(ROWS, binary=binary)], request_compression_algorithm=algorithm)
        same(result.as_numpy("predictions"), SUMS)

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    def test_compressed_answers(self, client, algorithm):
        """Answers are not compressed, also where `Accept-Encoding` allows it"""
        result = client.infer("sum", [given(ROWS)], response_compression_algorithm=algorithm)
        same(result.as_numpy("predictions"), SUMS)


class TestErrors:
    """Errors"""

    @pytest.mark.parametrize(
        ("inputs", "status", "sentence"),
        [
            ([tensor([[1, 2]])], 422, "3"),
            ([tensor([["a", "b", "c"]], datatype="BYTES")], 422, "number"),
            ([tensor([[1, 2, 3]], datatype="FP99")], 400, "FP99"),
            ([{**tensor([1, 2, 3]), "shape": [2, 3]}], 400, "6 elements"),
            ([tensor([1, 2], "x0"), tensor([1, 2], "x1")], 422, "x2"),
            ([tensor([1], "x0"), tensor([1], "x1"), tensor([1], "x2"), tensor([1], "x9")], 422, "x9"),
            ([tensor([1], "x0"), tensor([1, 2], "x1"), tensor([1], "x2")], 400, "rows"),
            ([tensor([[1, 2, 3]]), tensor([[1, 2, 3]])], 400, "same name"),
            ([{"name": "input", "datatype": "FP64", "data": [1, 2, 3]}], 400, "shape"),
            ([{"name": "input", "shape": [1, 3], "datatype": "FP64"}], 400, "data"),
            ([], 400, "inputs"),
        ],
    )
    def test_error(self, http, inputs, status, sentence):
        """A wrong shape, datatype, size, name, a missing or additional input: a 4xx that says which and why"""
        assert sentence in told(http.post("/v2/models/sum/infer", json=body(*inputs)), status)

    def test_form(self, client, http):
        """An error is `{"error": "…"}`, which tritonclient reads"""
        message = refused(404, client.infer, "none", [given(ROWS)])
        assert message == told(http.post("/v2/models/none/infer", json=body(tensor(ROWS.tolist()))), 404)


def tree_inputs():
    return [
        given(np.array([5.0, -5.0]), "amount"),
        given(np.array([0.5, 1.5], np.float32), "ratio"),
        given(np.array([1, -1], np.int8), "small"),
        given(np.array([True, False]), "flag"),
        given(texts("Oslo", "Lima"), "city"),
    ]
