"""The environment of a model: what is captured at save, and what each difference means at load."""

from __future__ import annotations

import importlib
import json
import logging
import platform
import sys
from importlib.metadata import version

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from streamb.crypto import SigningKey
from streamb.errors import ArtifactUnsupported, EnvironmentMismatch, error_classes
from streamb.models import Manifest, Model, load_artifact, sign_artifact
from streamb.models.environment import Environment, Gap, capture, compare, distributions_of, version_gap
from tests.contracts.own_model_samples import NearestMean
from tests.models.installed import install

pytestmark = pytest.mark.slow

X, Y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder on the import path that distributions can be installed into."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(folder)):
            del sys.modules[name]


class TestVersionGap:
    @pytest.mark.parametrize(
        ("name", "recorded", "present", "gap"),
        [
            ("pandas", "2.2.3", "2.2.9", Gap.NONE),
            ("pandas", "2.2", "2.2.1", Gap.NONE),
            ("pandas", "2.2.3", "2.3.0", Gap.MINOR),
            ("pandas", "2.3.0", "2.2.3", Gap.MINOR),
            ("pandas", "2.3.3", "3.0.0", Gap.MAJOR),
            ("pandas", "3.0.0", "2.3.3", Gap.MAJOR),
            ("pandas", "2", "2.0.1", Gap.NONE),
            ("torch", "2.9.0+cpu", "2.9.1+cu128", Gap.NONE),
            ("torch", "2.9.0rc1", "2.10.0", Gap.MINOR),
            ("statsmodels", "0.14.1", "0.14.5", Gap.NONE),
            ("statsmodels", "0.13.5", "0.14.0", Gap.MAJOR),
            ("statsmodels", "0.14.0", "1.0.0", Gap.MAJOR),
            ("skops", "0.13.0", "0.14.0", Gap.MINOR),
            ("safetensors", "0.5.2", "0.6.0", Gap.MINOR),
            ("safetensors", "0.5.2", "1.0.0", Gap.MAJOR),
            ("pytz", "2024.2", "2025.1", Gap.MINOR),
            ("tool", "1!2.0", "2.0", Gap.MAJOR),
            ("tool", "unknown", "2.0", Gap.NONE),
            ("tool", "2.0", "unknown", Gap.NONE),
            ("tool", "", "2.0", Gap.NONE),
        ],
    )
    def test_table(self, name, recorded, present, gap):
        assert version_gap(name, recorded, present) is gap


class TestCompare:
    def test_the_same_and_another_patch_say_nothing(self, packages):
        install(packages, "wheels", "2.3.4", "wheels")
        assert compare(Environment({"python": platform.python_version(), "wheels": "2.3.9"}), "m") == []

    def test_another_minor_version_is_a_sentence(self, packages):
        install(packages, "wheels", "2.3.4", "wheels")
        assert compare(Environment({"wheels": "2.1.0"}), "m") == ["wheels is 2.3.4 here and was 2.1.0"]

    def test_another_python_is_a_sentence(self):
        assert compare(Environment({"python": "3.8.1"}), "m") == [
            f"Python is {platform.python_version()} here and was 3.8.1"
        ]

    def test_all_that_is_missing_or_too_different_is_named_with_the_command_that_mends_it(self, packages):
        install(packages, "wheels", "2.3.4", "wheels")
        recorded = Environment({"streamb": "9.0", "wheels": "1.2.7", "no-such-library": "0.4.1", "numpy": "0.1"})
        with pytest.raises(EnvironmentMismatch) as caught:
            compare(recorded, "churn")
        numpy = version("numpy")
        assert str(caught.value) == (
            "the model 'churn' cannot be loaded with what is installed here: wheels is 2.3.4 here and was 1.2.7; "
            f"no-such-library 0.4.1 is not installed here; numpy is {numpy} here and was 0.1. Install what it was "
            "saved with: pip install 'wheels==1.2.*' 'no-such-library==0.4.*' 'numpy==0.1.*'"
        )
        assert caught.value.details == {"install": ["wheels==1.2.*", "no-such-library==0.4.*", "numpy==0.1.*"]}

    @pytest.mark.parametrize("name", ["wheels-cpu", "wheels"])
    def test_a_distribution_that_provides_the_same_module_stands_for_it(self, packages, name):
        install(packages, "wheels-gpu", "2.3.4", "wheels")
        modules = {"wheels-cpu": "wheels"}
        assert compare(Environment({name: "2.3.0"}, modules), "m") == []
        assert compare(Environment({name: "2.2.0"}, modules), "m") == ["wheels-gpu is 2.3.4 here and was 2.2.0"]
        with pytest.raises(EnvironmentMismatch, match=r"pip install 'wheels-gpu==1\.0\.\*'$"):
            compare(Environment({name: "1.0.0"}, modules), "m")

    def test_an_unknown_version_is_never_refused(self):
        assert compare(Environment({"no-such-library": "unknown", "numpy": "unknown"}), "m") == []

    def test_a_module_without_a_distribution_is_not_missing(self, packages):
        (packages / "loose.py").write_text("")
        assert compare(Environment({"loose": "1.0"}), "m") == []

    def test_the_error_is_an_unsupported_artifact_with_a_code_of_its_own(self):
        assert issubclass(EnvironmentMismatch, ArtifactUnsupported)
        assert error_classes()["environment_mismatch"] is EnvironmentMismatch


class TestCapture:
    def test_a_distribution_of_another_name_than_its_module(self, packages):
        install(packages, "wheels-cpu", "3.1.2", "wheels")
        found = capture([], ["wheels.inner.part"])
        assert found.versions["wheels-cpu"] == "3.1.2"
        assert found.modules == {"wheels-cpu": "wheels"}

    def test_a_library_declared_by_its_module_is_found_where_another_distribution_provides_it(self, packages):
        install(packages, "wheels-cpu", "3.1.2", "wheels")
        assert capture(["wheels"], []).versions["wheels-cpu"] == "3.1.2"

    def test_a_library_that_is_not_installed_is_unknown(self):
        assert capture(["no-such-library"], []).versions["no-such-library"] == "unknown"

    def test_nothing_is_invented_for_modules_that_no_distribution_provides(self, packages):
        (packages / "loose.py").write_text("")
        assert (
            distributions_of(["json.decoder", "loose", "__main__", "builtins", "no_such_module", "streamb.models"])
            == {}
        )

    def test_of_two_distributions_in_one_namespace_the_one_with_the_module(self, packages):
        for name in ("red", "blue"):
            install(packages / name, f"paint-{name}", "1.0", "paint")
            (packages / name / "paint" / "__init__.py").rename(packages / name / "paint" / f"{name}.py")
            record = packages / name / f"paint_{name}-1.0.dist-info" / "RECORD"
            record.write_text(record.read_text().replace("__init__", name))
            sys.path.insert(0, str(packages / name))
        try:
            importlib.invalidate_caches()
            assert distributions_of(["paint.red"]) == {"paint-red": "1.0"}
        finally:
            sys.path[:2] = []


def onnx_model() -> Model:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return Model.wrap(proto)


class TestManifests:
    @pytest.mark.parametrize(
        ("make", "needs"),
        [
            (lambda: Model.wrap(LogisticRegression().fit(X, Y)), {"numpy", "scikit-learn", "scipy", "skops"}),
            (lambda: Model.wrap(nn.Sequential(nn.Linear(2, 1))), {"numpy", "safetensors", "torch"}),
            (onnx_model, {"numpy", "onnxruntime"}),
            (lambda: Model.wrap(NearestMean(power=2.0)).fit(X, Y), {"numpy", "skops"}),
        ],
        ids=["sklearn", "torch", "onnx", "own"],
    )
    def test_each_adapter_names_what_its_models_need_and_loads_again(self, make, needs, tmp_path):
        key = SigningKey.generate()
        manifest = make().save(tmp_path / "a")
        assert needs <= set(manifest.versions)
        assert {name: manifest.versions[name] for name in needs} == {name: version(name) for name in needs}
        sign_artifact(tmp_path / "a", key)
        assert load_artifact(tmp_path / "a", trusted=[key.public]).name == manifest.name

    def test_a_step_of_another_library_inside_a_pipeline_is_listed(self, packages, tmp_path):
        body = (
            "from sklearn.base import BaseEstimator\n"
            "class Same(BaseEstimator):\n"
            "    def fit(self, X, y=None): return self\n"
            "    def transform(self, X): return X\n"
        )
        install(packages / "site-packages", "boosted-cpu", "1.4.2", "boosted", body)
        sys.path.insert(0, str(packages / "site-packages"))
        try:
            step = importlib.import_module("boosted").Same()
            pipeline = make_pipeline(step, LogisticRegression()).fit(X, Y)
            manifest = Model.wrap(pipeline).save(tmp_path / "a")
        finally:
            sys.path.remove(str(packages / "site-packages"))
        assert manifest.versions["boosted-cpu"] == "1.4.2"
        assert manifest.modules["boosted-cpu"] == "boosted"

    def test_versions_and_modules_are_no_part_of_the_digest(self, tmp_path):
        manifest = Model.wrap(LogisticRegression().fit(X, Y)).save(tmp_path / "a")
        body = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
        assert Manifest(**{**body, "versions": {}, "modules": {}}).digest == manifest.digest

    def test_an_artifact_of_before_has_no_modules_and_loads(self, tmp_path):
        manifest = Model.wrap(LogisticRegression().fit(X, Y)).save(tmp_path / "a")
        body = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
        old = Manifest(**{**body, "versions": {"python": platform.python_version()}, "modules": {}})
        assert "modules" not in json.loads(old.to_bytes())
        (tmp_path / "a" / "manifest.json").write_bytes(old.to_bytes())
        assert load_artifact(tmp_path / "a", trusted=[]).name == "LogisticRegression"


class TestLoading:
    def saved_with(self, folder, **versions: str):
        manifest = Model.wrap(LogisticRegression().fit(X, Y)).save(folder)
        body = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
        changed = Manifest(**{**body, "versions": {**manifest.versions, **versions}})
        (folder / "manifest.json").write_bytes(changed.to_bytes())
        return folder

    def test_another_major_version_is_refused(self, tmp_path):
        with pytest.raises(EnvironmentMismatch, match=r"pip install 'scipy==99\.1\.\*'"):
            load_artifact(self.saved_with(tmp_path / "a", scipy="99.1.0"), trusted=[])

    def test_another_minor_version_warns_once_and_loads(self, tmp_path, caplog):
        major = version("scipy").partition(".")[0]
        with caplog.at_level(logging.WARNING, "streamb"):
            model = load_artifact(self.saved_with(tmp_path / "a", scipy=f"{major}.0.0"), trusted=[])
        assert model.predict(X).shape == (30,)
        (record,) = caplog.records
        assert f"scipy is {version('scipy')} here and was {major}.0.0" in record.getMessage()

    def test_the_same_versions_say_nothing(self, tmp_path, caplog):
        with caplog.at_level(logging.DEBUG, "streamb"):
            load_artifact(self.saved_with(tmp_path / "a"), trusted=[])
        assert caplog.records == []


def test_torch_is_named_by_its_own_name():
    assert distributions_of([torch.nn.Linear.__module__]) == {"torch": version("torch")}
