"""What is particular to the scikit-learn, torch and ONNX adapters, beyond the contract of `Model`."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from streamb.config import child_environment
from streamb.crypto import SigningKey
from streamb.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactUnsupported,
    ArtifactUntrusted,
    InvalidInput,
)
from streamb.models import FeatureSchema, Manifest, Model, load_artifact, verify_artifact
from streamb.models.adapters.onnx_model import refuse_outside_data
from streamb.models.adapters.torch_layers import build_module
from streamb.models.artifact import seal
from streamb.models.environment import Environment


def reseal(folder, kind: str) -> Manifest:
    """A manifest that fits what lies in the folder now, and says that none of it is code."""
    return seal(
        folder,
        framework=kind,
        class_id=kind,
        task="other",
        name="n",
        schema={},
        carries_code=False,
        environment=Environment({}),
    )


rng = np.random.default_rng(0)
X, y = rng.normal(size=(40, 3)), np.arange(40) % 2


class TestScikitLearn:
    @pytest.mark.parametrize(
        "estimator", [RandomForestClassifier(5, n_jobs=2), BaggingClassifier(LogisticRegression(), 4, n_jobs=2)]
    )
    def test_predicting_starts_no_processes(self, estimator):
        model = Model.wrap(estimator.set_params(n_jobs=1).fit(X, y))
        estimator.set_params(n_jobs=2)
        model = Model.wrap(estimator)
        model.predict(X)
        model.predict_proba(X)
        import psutil

        names = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
        assert not [name for name in names if "loky" in name or "joblib" in name]
        assert not multiprocessing.active_children()

    def test_infinities_and_gaps_are_still_the_estimators_business(self):
        model = Model.wrap(LogisticRegression()).fit(X, y)
        for wrong in (np.nan, np.inf):
            with pytest.raises(ValueError, match="contains"):
                model.predict(np.full((1, 3), wrong))

    def test_several_outputs_have_a_list_of_classes_and_probabilities_each(self):
        labels = np.column_stack([y, np.arange(40) % 3])
        model = Model.wrap(MultiOutputClassifier(LogisticRegression()).fit(X, labels))
        assert model.classes == [[0, 1], [0, 1, 2]]
        assert model.predict(X[:2]).shape == (2, 2)
        assert [part.shape for part in model.predict_proba(X[:5])] == [(5, 2), (5, 3)]

    @pytest.mark.parametrize("vectorizer", [CountVectorizer, TfidfVectorizer, HashingVectorizer])
    def test_no_model_reads_files_that_a_request_names(self, tmp_path, vectorizer):
        with pytest.raises(InvalidInput, match="would read files"):
            Model.wrap(make_pipeline(vectorizer(input="filename"), LogisticRegression()))
        texts = ColumnTransformer([("t", vectorizer(), 0)]).fit(np.array([["a word"], ["another"]], object))
        model = Model.wrap(make_pipeline(texts, LogisticRegression()).fit(np.array([["one"], ["two"]], object), [0, 1]))
        texts.transformers_[0][1].input = "filename"  # where get_params does not look
        model.save(tmp_path / "hidden")
        assert not verify_artifact(tmp_path / "hidden").carries_code
        with pytest.raises(InvalidInput, match="would read files"):
            load_artifact(tmp_path / "hidden", trusted=[])


class TestTorch:
    def test_the_first_layer_tells_the_width_and_the_last_the_task(self):
        plain = Model.wrap(nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(7, 1))))
        assert (len(plain.schema.features), plain.task) == (7, "other")
        assert plain.predict(np.ones((3, 7))).shape == (3,)
        assert not plain.module.training
        assert Model.wrap(nn.Sequential(nn.Conv1d(1, 1, 3))).schema is None

    @pytest.mark.parametrize("net", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(1)),
                                     nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)), nn.Linear(3, 1),
                                     nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())])  # fmt: skip
    def test_classes_make_a_classifier_of_scores_logits_and_probabilities(self, net):
        model = Model.wrap(net, classes=["no", "yes"])
        probabilities = model.predict_proba(X)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        assert model.predict(X).tolist() == [["no", "yes"][index] for index in probabilities.argmax(axis=1)]

    def test_every_listed_layer_is_made_again_as_it_was(self, tmp_path):
        layers = [
            nn.Conv1d(2, 4, 3, padding=1, bias=False), nn.BatchNorm1d(4), nn.GELU("tanh"), nn.MaxPool1d(2),
            nn.Flatten(), nn.Linear(8, 6), nn.LayerNorm(6, bias=False), nn.ELU(0.5), nn.LeakyReLU(0.2),
            nn.Softplus(beta=2.0), nn.Tanh(), nn.SiLU(), nn.SELU(), nn.Hardtanh(-2, 2), nn.Identity(),
            nn.Unflatten(1, (2, 3)), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Sigmoid(),
        ]  # fmt: skip
        model = Model.wrap(nn.Sequential(*layers))
        manifest = model.save(tmp_path / "net")
        assert not manifest.carries_code
        again = load_artifact(tmp_path / "net", trusted=[])
        data = rng.normal(size=(5, 2, 4))
        np.testing.assert_array_equal(again.predict(data), model.predict(data))
        assert repr(again.module) == repr(model.module)

    def test_an_embedding_gets_whole_numbers(self, tmp_path):
        model = Model.wrap(nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 1)))
        model.save(tmp_path / "e")
        ids = np.array([[1.0, 2.0]])
        np.testing.assert_array_equal(load_artifact(tmp_path / "e", trusted=[]).predict(ids), model.predict(ids))

    def test_what_cannot_be_stored_is_named(self, tmp_path):
        hooked = nn.Linear(2, 1)
        hooked.register_forward_hook(lambda *_: None)
        with pytest.raises(ArtifactUnsupported, match="hooks"):
            Model.wrap(hooked).save(tmp_path / "a")
        odd = nn.Bilinear(2, 2, 1)
        odd.add_module("extra", nn.Linear(1, 1))
        odd.thing = object()
        with pytest.raises(ArtifactUnsupported, match=r"Bilinear\.thing is a object"):
            Model.wrap(odd).save(tmp_path / "b")
        made_at_run_time = nn.utils.parametrizations.weight_norm(nn.Linear(2, 1))
        with pytest.raises(ArtifactUnsupported, match="ParametrizedLinear is made at run time"):
            Model.wrap(made_at_run_time).save(tmp_path / "c")
        with pytest.raises(InvalidInput, match="comes trained"):
            Model.wrap(nn.Linear(2, 1)).fit(X, y)

    def test_an_architecture_takes_no_memory_for_the_weights_it_claims(self):
        claimed = {"layer": "Linear", "arguments": {"in_features": 10**6, "out_features": 10**6, "bias": True}}
        assert build_module(claimed, None).weight.is_meta

    @pytest.mark.parametrize(
        ("structure", "error"),
        [
            ({"layer": "Module", "arguments": {}}, ArtifactCorrupt),
            ({"layer": "Linear", "arguments": {"in_features": 3, "out_features": 2, "bias": False}}, ArtifactCorrupt),
            ({"layer": "Linear", "arguments": {"in_features": 9, "out_features": 1, "bias": True}}, ArtifactCorrupt),
            ({"layer": "Linear", "arguments": {"in_features": {"function": "os:getcwd"}}}, ArtifactCorrupt),
            (
                {"object": "os:system", "attributes": {}, "children": {}, "parameters": {}, "buffers": {}},
                ArtifactUntrusted,
            ),
            ([], ArtifactCorrupt),
        ],
    )
    def test_an_architecture_that_lies_is_refused(self, tmp_path, structure, error):
        folder = tmp_path / "net"
        Model.wrap(nn.Linear(3, 1)).save(folder)
        (folder / "architecture.json").write_text(json.dumps({"structure": structure, "aliases": {}, "classes": None}))
        reseal(folder, "torch")
        with pytest.raises(ArtifactError) as caught:
            load_artifact(folder, trusted=[])
        assert type(caught.value) is error


def graph_of(nodes, inputs, outputs, initializer=()) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(initializer))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


class TestOnnx:
    def regressor(self) -> onnx.ModelProto:
        weights = numpy_helper.from_array(np.array([[1.0], [2.0]], np.float32), "W")
        nodes = [helper.make_node("MatMul", ["X", "W"], ["Y"])]
        return graph_of(
            nodes, [value("X", TensorProto.FLOAT, ["n", 2])], [value("Y", TensorProto.FLOAT, ["n", 1])], [weights]
        )

    def test_a_file_by_its_path(self, tmp_path):
        onnx.save(self.regressor(), tmp_path / "double.onnx")
        model = Model.wrap(tmp_path / "double.onnx")
        assert (model.name, model.task, model.schema) == ("double", "other", FeatureSchema.numbers(2, "float32"))
        assert model.predict(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [3.0, 4.0]
        assert Model.wrap(str(tmp_path / "double.onnx"), name="n", task="regression").task == "regression"
        with pytest.raises(InvalidInput, match="comes trained"):
            model.fit(X, y)

    @pytest.mark.parametrize("content", [b"", b"not a graph"])
    def test_a_file_that_is_no_model_or_absent(self, tmp_path, content):
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises((InvalidInput, ArtifactUnsupported)):
            Model.wrap(tmp_path / "a.onnx")
        with pytest.raises(InvalidInput, match="cannot read"):
            Model.wrap(tmp_path / "absent.onnx")

    def test_a_zipmap_of_probabilities_and_string_labels(self):
        classifier = helper.make_node(
            "LinearClassifier", ["X"], ["label", "raw"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"],
            coefficients=[1.0, -1.0, -1.0, 1.0], intercepts=[0.0, 0.0], post_transform="SOFTMAX",
        )  # fmt: skip
        zipmap = helper.make_node(
            "ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
        )
        mapping = helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        )
        proto = graph_of(
            [classifier, zipmap], [value("X", TensorProto.FLOAT, [None, 2])],
            [value("label", TensorProto.STRING, [None]), helper.make_value_info("probabilities", mapping)],
        )  # fmt: skip
        model = Model.wrap(proto)
        assert (model.task, model.classes, model.has_probabilities) == ("classification", ["no", "yes"], True)
        data = np.array([[3.0, 0.0], [0.0, 3.0]])
        assert model.predict(data).tolist() == ["no", "yes"]
        np.testing.assert_allclose(model.predict_proba(data).sum(axis=1), 1, rtol=1e-6)
        assert model.predict_proba(data)[0, 0] > 0.9

    def test_one_input_per_column_and_texts(self):
        add = graph_of(
            [
                helper.make_node("Cast", ["age"], ["a"], to=TensorProto.FLOAT),
                helper.make_node("Add", ["a", "income"], ["sum"]),
            ],
            [value("age", TensorProto.INT64, [None, 1]), value("income", TensorProto.FLOAT, [None, 1])],
            [value("sum", TensorProto.FLOAT, [None, 1])],
        )
        model = Model.wrap(add)
        rows = model.schema.check_rows([{"income": 0.5, "age": 3}, [4, 1.5]])
        assert model.predict(model.to_input(rows)).tolist() == [3.5, 5.5]
        echo = graph_of([helper.make_node("Identity", ["t"], ["o"])], [value("t", TensorProto.STRING, [None, 1])],
                        [value("o", TensorProto.STRING, [None, 1])])  # fmt: skip
        texts = Model.wrap(echo)
        assert texts.predict(texts.to_input(texts.schema.check_rows(["a", "b"]))).tolist() == ["a", "b"]

    def test_weights_beside_the_file_come_inside_and_paths_are_never_followed(self, tmp_path):
        proto = self.regressor()
        onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
        model = Model.wrap(tmp_path / "m.onnx")
        model.save(tmp_path / "saved")
        assert load_artifact(tmp_path / "saved", trusted=[]).predict(np.ones((1, 2))).tolist() == [3.0]
        (tmp_path / "saved" / "model.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
        manifest = reseal(tmp_path / "saved", "onnx")
        assert manifest == verify_artifact(tmp_path / "saved")
        with pytest.raises(ArtifactUnsupported, match="outside of its file"):
            load_artifact(tmp_path / "saved", trusted=[])

    @pytest.mark.parametrize("place", ["sparse_initializer of a branch", "sparse attribute"])
    def test_paths_are_found_in_sparse_weights_too(self, place):
        values = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        sparse = onnx.SparseTensorProto(values=values, dims=[4])
        if place == "sparse attribute":
            node = helper.make_node("Constant", [], ["y"])
            node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.CopyFrom(
                sparse
            )
        else:
            branch = helper.make_graph([], "b", [], [value("w", TensorProto.FLOAT, [4])], sparse_initializer=[sparse])
            node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        proto = graph_of([node], [value("c", TensorProto.BOOL, [])], [value("y", TensorProto.FLOAT, [4])])
        with pytest.raises(ArtifactUnsupported, match="outside of its file"):
            refuse_outside_data(proto.SerializeToString())


HEAVY = ("torch", "sklearn", "pandas", "onnx", "onnxruntime", "skops", "safetensors", "scipy", "joblib")


@pytest.mark.parametrize(
    "statement",
    [
        "import streamb.models.schema as s; s.FeatureSchema.numbers(2).check_rows([[1, 2]])",
        "from streamb.models import FeatureSchema, Model, Manifest, load_artifact, pack, unpack, sign_artifact",
    ],
)
def test_a_gateway_imports_no_learning_library(statement):
    program = f"{statement}\nimport sys\nassert not [m for m in {HEAVY!r} if m in sys.modules], sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=child_environment())


def test_torch_classes_of_the_users_own_need_trust_even_where_the_manifest_denies_it(tmp_path):
    from tests.contracts.own_model_samples import Gated

    folder, key = tmp_path / "net", SigningKey.generate()
    Model.wrap(Gated(3, 4)).save(folder)
    reseal(folder, "torch")
    with pytest.raises(ArtifactUntrusted, match="Gated"):
        load_artifact(folder, trusted=[key.public])
    with pytest.raises(ArtifactUntrusted):
        Model.wrap(torch.nn.Linear(1, 1)).load(folder)
