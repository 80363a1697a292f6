"""An adapter that is no part of streamb: found by `Model.wrap`, saved, and loaded elsewhere, if it may run code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamb.config import child_environment
from streamb.crypto import SigningKey
from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted, InvalidInput
from streamb.models import FeatureSchema, Model, load_artifact, pack, sign_artifact
from streamb.models.catalog import adapter_for
from streamb.registry.artifacts import ArtifactStore
from streamb.store import open_blobs
from tests.contracts.test_model_contract import Case, TestModelContract
from tests.models.outside_adapter import Line, LineModel, SteeperLine
from tests.models.test_artifact import rewrite

__all__ = ["TestModelContract"]  # it runs here once more, over the case below

KEY = SigningKey.generate()
CLASS_ID = "tests.models.outside_adapter:LineModel"


@pytest.fixture
def case() -> Case:
    model = Model.wrap(Line(2.5), schema=FeatureSchema.numbers(1))
    return Case(model, [[1.0], [2.0]], "regression", carries_code=True, bad_rows=[["a"]])


@pytest.fixture
def saved(case, tmp_path) -> Path:
    assert case.model.save(tmp_path / "saved").class_id == CLASS_ID
    return tmp_path / "saved"


def test_wrap_finds_it_by_class_subclass_and_suffix(tmp_path):
    assert isinstance(Model.wrap(Line(1.0)), LineModel)
    assert isinstance(Model.wrap(SteeperLine(1.0)), LineModel)
    (tmp_path / "a.line").write_text("4.0")
    assert Model.wrap(tmp_path / "a.line").predict([[2.0]]).tolist() == [8.0]
    with pytest.raises(InvalidInput, match=r"a path must end in \.onnx or \.line"):
        Model.wrap("a.txt")


def test_the_most_specific_class_wins():
    class Predicting(Line):
        def predict(self, X):
            return X

    assert adapter_for(Predicting(1.0)) is LineModel
    assert adapter_for(object()) is None


LOAD = """
import sys
from pathlib import Path
from streamb.crypto import PublicKey
from streamb.models import load_artifact
assert "tests.models.outside_adapter" not in sys.modules
folder, key = sys.argv[1:]
try:
    model = load_artifact(Path(folder), trusted=[PublicKey(bytes.fromhex(key))])
    print(type(model).__name__, model.predict([[2.0]]).tolist())
except Exception as error:
    print(type(error).__name__, "tests.models.outside_adapter" in sys.modules)
"""


def load_in_a_new_process(folder: Path, cwd: Path | None = None) -> str:
    key = KEY.public.raw.hex()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), key], capture_output=True, text=True, timeout=60, cwd=cwd,
        env=child_environment(PYTHONPATH=str(Path(__file__).parents[2])),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_imports_it_only_for_a_signed_artifact(saved):
    assert load_in_a_new_process(saved) == "ArtifactUntrusted False"
    sign_artifact(saved, KEY)
    assert load_in_a_new_process(saved) == "LineModel [5.0]"


@pytest.mark.parametrize("class_id", [CLASS_ID, "antigravity:fly", "os:system"])
def test_a_manifest_that_names_code_cannot_deny_it(saved, class_id):
    rewrite(saved, class_id=class_id, carries_code=False)
    with pytest.raises(ArtifactCorrupt, match="names code"):
        load_artifact(saved, trusted=[KEY.public])
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("class_id", ["os:system", "tests.models.outside_adapter:Line", "not_installed_anywhere:Model"])
def test_even_a_signed_one_names_an_adapter_that_can_be_imported(saved, class_id):
    rewrite(saved, class_id=class_id)
    sign_artifact(saved, KEY)
    with pytest.raises(ArtifactUnsupported):
        load_artifact(saved, trusted=[KEY.public])


def test_the_platform_takes_it_in_from_those_who_may_bring_code(saved, tmp_path):
    pack(saved, tmp_path / "model.zip")
    store = ArtifactStore(
        open_blobs(f"file://{tmp_path / 'blobs'}"), signing=KEY, trusted=[KEY.public], scratch=tmp_path / "scratch",
        max_bytes=1 << 20,
    )  # fmt: skip
    with pytest.raises(ArtifactUntrusted, match="may not upload code"):
        store.ingest(tmp_path / "model.zip", may_carry_code=False)
    artifact = store.ingest(tmp_path / "model.zip", may_carry_code=True)
    assert artifact.carries_code
    assert store.load(artifact.blob)[0].predict([[2.0]]).tolist() == [5.0]


def test_one_that_no_other_process_could_import_is_refused_when_it_is_saved(tmp_path):
    class Hidden(LineModel):
        pass

    with pytest.raises(ArtifactUnsupported, match="move it to the top level of a module"):
        Hidden(Line(1.0)).save(tmp_path / "hidden")
