"""One contract for every kind of `Model`: what holds for one adapter holds for all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from streamb.crypto import SigningKey
from streamb.errors import ArtifactCorrupt, ArtifactUntrusted, InvalidFeatures, InvalidInput, ModelFailed
from streamb.models import (
    FeatureSchema,
    Model,
    catalog,
    load_artifact,
    pack,
    save_artifact,
    sign_artifact,
    unpack,
    verify_artifact,
)
from streamb.models.manifest import is_outside
from tests.contracts.own_model_samples import Gated, NearestMean, SavesItself

X, y = load_iris(return_X_y=True)
KEY = SigningKey.generate()
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """A fitted model, some rows as a request would bring them, and what is known of it."""

    model: Model
    rows: list[Any]
    task: str
    carries_code: bool = False
    probabilities: bool = False
    bad_rows: list[Any] | None = None


def sklearn_classifier() -> Case:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y)
    return Case(
        Model.wrap(pipeline, name="iris"), X[:7].tolist(), "classification", probabilities=True, bad_rows=[[1, 2, 3]]
    )


def sklearn_regressor() -> Case:
    model = Model.wrap(LinearRegression()).fit(X, y.astype(float))
    return Case(model, X[::30].tolist(), "regression", bad_rows=[["a", 1, 2, 3]])


def sklearn_texts() -> Case:
    texts = ["shall report emissions", "must notify the agency", "may apply for a label", "can take part"] * 5
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["duty", "duty", "free", "free"] * 5)
    rows = ["shall notify", ["may take part"], {"text": "must report"}]
    return Case(Model.wrap(pipeline), rows, "classification", probabilities=True, bad_rows=[3])


def sklearn_frame() -> Case:
    frame = pd.DataFrame(
        {"area": [50.0, 80.0, 120.0, 60.0] * 5, "rooms": [2, 3, 4, 2] * 5, "city": ["Bonn", "Kiel"] * 10}
    )
    columns = ColumnTransformer([("n", StandardScaler(), ["area", "rooms"]), ("c", OneHotEncoder(), ["city"])])
    pipeline = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 1, 0] * 5)
    rows = [{"city": "Kiel", "area": 70, "rooms": 3}, [55.5, 2, "Bonn"]]
    return Case(
        Model.wrap(pipeline), rows, "classification", probabilities=True, bad_rows=[{"area": 70, "town": "Kiel"}]
    )


def torch_sequential() -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(dim=1)
    )
    return Case(Model.wrap(net), X[:5].tolist(), "classification", probabilities=True, bad_rows=[[1, 2, 3, None]])


def torch_own_module() -> Case:
    torch.manual_seed(0)
    model = Model.wrap(Gated(4, 6), schema=FeatureSchema.numbers(4))
    return Case(model, X[:5].tolist(), "other", carries_code=True, bad_rows=[[1, 2, 3, True]])


def torchscript_classifier() -> Case:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch would rather have torch.export
        traced = torch.jit.trace(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).eval(), torch.ones(1, 4))
    model = Model.wrap(traced, classes=["a", "b", "c"])
    return Case(model, X[:5].tolist(), "classification", True, True, bad_rows=[[1, 2, 3, "x"]])


def onnx_classifier() -> Case:
    node = helper.make_node(
        "LinearClassifier", ["X"], ["label", "probabilities"], domain="ai.onnx.ml", classlabels_ints=[10, 20, 30],
        coefficients=np.linspace(-1, 1, 12).tolist(), intercepts=[0.1, 0.2, 0.3],
        post_transform="SOFTMAX", multi_class=1,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
         helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(proto)
    return Case(Model.wrap(proto), X[:5].tolist(), "classification", probabilities=True, bad_rows=[[1, 2, 3, 4, 5]])


def own_class() -> Case:
    model = Model.wrap(NearestMean(power=3.0)).fit(X, y)
    return Case(model, X[:9].tolist(), "classification", True, True, bad_rows=[[1, 2, 3, float("inf")]])


def own_class_that_saves_itself() -> Case:
    return Case(Model.wrap(SavesItself(2.5)), X[:5].tolist(), "other", carries_code=True, bad_rows=[[1, 2], [1]])


CASES = (
    sklearn_classifier, sklearn_regressor, sklearn_texts, sklearn_frame, torch_sequential, torch_own_module,
    torchscript_classifier, onnx_classifier, own_class, own_class_that_saves_itself,
)  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def case(request) -> Case:
    return cache(request.param)()


def answer(model: Model, rows: list[Any]) -> list[Any]:
    """What serving does: check, convert, predict."""
    schema = model.schema or FeatureSchema.open()
    return model.predict(model.to_input(schema.check_rows(rows))).tolist()


def test_every_adapter_keeps_the_contract():
    """A new one adds a case here, or imports `TestModelContract` into its own test file, beside a fixture `case`."""
    texts = [path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py")]
    elsewhere = [text for text in texts if "import Case, TestModelContract" in text]
    covered = {type(cache(make)().model) for make in CASES}
    ours = [adapter for adapter in catalog.adapters() if not is_outside(adapter.class_id)]
    assert len(ours) >= 4
    for adapter in ours:
        assert adapter in covered or any(adapter.__name__ in text for text in elsewhere), adapter


class TestModelContract:
    def test_it_answers_one_prediction_per_row_and_always_the_same(self, case):
        predictions = answer(case.model, case.rows)
        assert len(predictions) == len(case.rows)
        one_by_one = [answer(case.model, [row])[0] for row in case.rows]
        np.testing.assert_array_equal(np.asarray(one_by_one).dtype.kind, np.asarray(predictions).dtype.kind)
        if case.task == "classification":
            assert one_by_one == predictions
        else:
            np.testing.assert_allclose(one_by_one, predictions, rtol=1e-5)

    def test_it_says_what_it_is(self, case):
        assert case.model.task == case.task
        assert case.model.name
        assert Model.wrap(case.model) is case.model
        with pytest.raises(InvalidInput):
            Model.wrap(case.model, name="another")

    def test_probabilities_are_there_or_typed_as_missing(self, case):
        model = case.model
        data = model.to_input((model.schema or FeatureSchema.open()).check_rows(case.rows))
        assert model.has_probabilities is case.probabilities
        if not case.probabilities:
            with pytest.raises(ModelFailed, match="no probabilities"):
                model.predict_proba(data)
            return
        probabilities = model.predict_proba(data)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        labels = model.classes or list(range(probabilities.shape[1]))
        assert [labels[index] for index in probabilities.argmax(axis=1)] == answer(model, case.rows)

    def test_rows_that_do_not_fit_are_refused_by_name(self, case):
        with pytest.raises(InvalidFeatures, match="row "):
            answer(case.model, case.bad_rows)

    def test_it_survives_the_whole_journey(self, case, tmp_path):
        manifest = save_artifact(case.model, tmp_path / "saved")
        assert manifest == verify_artifact(tmp_path / "saved")
        assert manifest.carries_code is case.carries_code
        assert manifest.task == case.task
        if case.carries_code:
            sign_artifact(tmp_path / "saved", KEY)
        pack(tmp_path / "saved", tmp_path / "model.zip")
        unpack(tmp_path / "model.zip", tmp_path / "arrived", max_bytes=16 * MIB)
        arrived = load_artifact(tmp_path / "arrived", trusted=[KEY.public])
        assert type(arrived) is type(case.model)
        assert (arrived.name, arrived.task, arrived.schema) == (case.model.name, case.model.task, case.model.schema)
        assert arrived.classes == case.model.classes
        assert answer(arrived, case.rows) == answer(case.model, case.rows)
        assert save_artifact(arrived, tmp_path / "again").digest == manifest.digest

    def test_saving_twice_gives_the_same_bytes(self, case, tmp_path):
        for name in ("first", "second"):
            case.model.save(tmp_path / name)
            pack(tmp_path / name, tmp_path / f"{name}.zip")
        assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()

    def test_code_is_refused_without_a_trusted_signature(self, case, tmp_path):
        case.model.save(tmp_path / "saved")
        if not case.carries_code:
            assert load_artifact(tmp_path / "saved", trusted=[])
            return
        with pytest.raises(ArtifactUntrusted):
            load_artifact(tmp_path / "saved", trusted=[KEY.public])
        sign_artifact(tmp_path / "saved", SigningKey.generate())
        with pytest.raises(ArtifactUntrusted):
            load_artifact(tmp_path / "saved", trusted=[KEY.public])

    def test_load_on_the_class_checks_the_kind(self, case, tmp_path):
        case.model.save(tmp_path / "saved")
        sign_artifact(tmp_path / "saved", KEY)
        assert type(case.model).load(tmp_path / "saved", trusted=[KEY.public])

    def test_a_spoiled_file_is_noticed(self, case, tmp_path):
        manifest = case.model.save(tmp_path / "saved")
        for name in manifest.files:
            path = tmp_path / "saved" / name
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"x")
            with pytest.raises(ArtifactCorrupt):
                load_artifact(tmp_path / "saved", trusted=[])
            path.write_bytes(content)
