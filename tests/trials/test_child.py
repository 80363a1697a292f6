"""What a trial learns and refuses, in this process: the job that the child does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from streamb.crypto import SigningKey
from streamb.models import FeatureSchema, Model, save_artifact, sign_artifact
from streamb.models.artifact import reseal
from streamb.models.example import Example
from streamb.models.signature import Signature
from streamb.sdk.rows import wire_rows
from streamb.trials import child
from streamb.trials.child import JOB_FILE, RESULT_FILE, main
from tests.serving.raised import KINDS
from tests.trials import own_models

ROWS = np.random.default_rng(0).normal(size=(30, 2)).tolist()
KEY = SigningKey.generate()


class Bench:
    """Makes artifacts in a folder and tries them."""

    def __init__(self, folder: Path) -> None:
        self.artifact = folder / "artifact"
        self._job = folder

    def save(self, model: object, schema: FeatureSchema | None = None) -> None:
        save_artifact(Model.wrap(model), self.artifact)
        if schema is not None:
            reseal(self.artifact, Signature(schema).to_json())
        sign_artifact(self.artifact, KEY)

    def tried(self, example: Example | None) -> dict:
        job = {
            "artifact": str(self.artifact),
            "trusted": [KEY.public.raw.hex()],
            "example": example and example.to_json(),
        }
        (self._job / JOB_FILE).write_text(json.dumps(job))
        main(self._job)
        return json.loads((self._job / RESULT_FILE).read_text())


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        (own_models.Raises, "it cannot answer its example: the model raised ValueError: no such customer"),
        (own_models.TooFew, "it cannot answer its example"),
        (own_models.Exits, "SystemExit: I am done"),
    ],
)
def test_a_model_that_cannot_answer_is_refused(bench, habit, words):
    bench.save(habit())
    refused = bench.tried(Example(ROWS))["refused"]
    assert refused["code"] == "trial_failed"
    assert words in refused["message"]


def test_other_answers_than_expected_are_refused(bench):
    bench.save(own_models.NeverTheSame())
    refused = bench.tried(Example(ROWS, [2.0 * row[0] for row in ROWS]))["refused"]
    assert "answers otherwise than where it was made" in refused["message"]
    assert refused["details"]["row"] == 0
    assert refused["details"]["expected"] == 2.0 * ROWS[0][0]


@pytest.mark.parametrize("without", ["fit", "last fit"])
def test_an_estimator_that_was_never_fitted_is_refused(bench, without):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, [row[0] > 0 for row in ROWS])
    bench.save(pipeline)
    unfitted = LogisticRegression() if without == "last fit" else StandardScaler()
    model = Model.wrap(pipeline)
    model.estimator.steps[without == "last fit"] = ("replaced", unfitted)  # type: ignore[attr-defined]
    model.write_payload(bench.artifact)
    _seal_again(bench.artifact)
    refused = bench.tried(None)["refused"]
    assert "fit" in refused["message"]


def _seal_again(folder: Path) -> None:
    """Write the manifest of an artifact whose files were replaced."""
    from dataclasses import replace

    from streamb.hashing import sha256_file
    from streamb.models.manifest import MANIFEST_NAME, SIGNATURE_NAME, FileEntry, Manifest

    (folder / SIGNATURE_NAME).unlink()
    manifest = Manifest.from_bytes((folder / MANIFEST_NAME).read_bytes())
    files = {name: FileEntry(sha256_file(folder / name), (folder / name).stat().st_size) for name in manifest.files}
    (folder / MANIFEST_NAME).write_bytes(replace(manifest, files=files).to_bytes())
    sign_artifact(folder, KEY)


def test_an_archive_whose_model_file_is_garbage_is_refused_with_its_own_code(bench):
    bench.save(LogisticRegression().fit(ROWS, [row[0] > 0 for row in ROWS]))
    (bench.artifact / "model.skops").write_bytes(b"garbage")
    _seal_again(bench.artifact)
    assert bench.tried(None)["refused"]["code"] == "artifact_corrupt"


def test_a_stochastic_model_passes_without_golden_rows(bench):
    bench.save(own_models.Stochastic())
    found = bench.tried(Example(ROWS, [0.0] * len(ROWS)))
    assert (found["deterministic"], found["row_wise"], found["golden"]) == (False, None, None)


def test_a_model_that_looks_at_its_neighbours_is_not_row_wise(bench):
    bench.save(own_models.Centres())
    mean = sum(row[0] for row in ROWS) / len(ROWS)
    found = bench.tried(Example(ROWS, [row[0] - mean for row in ROWS]))
    assert (found["deterministic"], found["row_wise"]) == (True, False)
    own = np.asarray(ROWS)[:20, 0]
    assert np.allclose(found["golden"]["predictions"], own - own.mean()), "golden rows are asked alone"


def test_one_row_does_not_say_whether_a_model_is_row_wise(bench):
    bench.save(own_models.Habit())
    assert bench.tried(Example(ROWS[:1]))["row_wise"] is None


def test_no_rows_are_kept_if_the_owner_says_so(bench):
    bench.save(own_models.Habit())
    found = bench.tried(Example(ROWS, keep=False))
    assert (found["rows"], found["golden"]) == (30, None)


def test_without_an_example_it_loads(bench):
    bench.save(own_models.Raises())
    found = bench.tried(None)
    assert "refused" not in found
    assert "rows" not in found


def test_columns_that_the_model_does_not_use_are_optional(bench):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Oslo", "Lima", "Pune"], 60),
            "note": ["free text"] * 60,
            "urgent": rng.random(60) < 0.5,
            "tonnes": rng.normal(5, 1, 60),
        }
    )
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, frame["city"] == "Oslo")
    bench.save(model, FeatureSchema.learn(frame))
    rows = wire_rows(frame.head(30))
    found = bench.tried(Example(rows, model.predict(frame.head(30)).tolist()))
    features = {feature["name"]: feature.get("optional", False) for feature in found["signature"]["inputs"]["features"]}
    assert features == {"city": False, "note": True, "urgent": True, "tonnes": True}
    assert found["signature"]["classes"] == [False, True]


def test_a_curl_upload_is_learned_from_its_rows(bench):
    bench.save(own_models.Habit())
    found = bench.tried(Example(ROWS))
    assert [feature["kind"] for feature in found["signature"]["inputs"]["features"]] == ["number", "number"]
    assert found["golden"]["predictions"] == [2.0 * row[0] for row in ROWS[:20]]


def test_rows_that_do_not_fit_the_model_are_refused(bench):
    bench.save(LogisticRegression().fit(ROWS, [row[0] > 0 for row in ROWS]))
    refused = bench.tried(Example([[1.0, 2.0, 3.0]]))["refused"]
    assert refused["code"] == "trial_failed"
    assert "the example does not fit the model" in refused["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_raised_is_a_refusal(bench, monkeypatch, kind):
    def fails(_job):
        raise KINDS[kind]

    bench.artifact.mkdir()
    monkeypatch.setattr(child, "_tried", fails)
    refused = bench.tried(None)["refused"]
    assert refused["code"] == "trial_failed"
    assert f"it raised {type(KINDS[kind]).__name__}" in refused["message"]
