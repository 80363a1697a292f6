"""What is prepared before a version is sent: its archive, and the example with the model's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from streamb.errors import InvalidFeatures, TrialFailed
from streamb.models import Feature, FeatureKind, FeatureSchema, Model, unpack, verify_artifact
from streamb.sdk.example import write_archive
from tests.trials import own_models

X = np.random.default_rng(0).normal(size=(150, 2))
LABELS = np.where(X[:, 0] > 0, "stays", "leaves")
FRAME = pd.DataFrame(X, columns=["age", "income"])
BY_POSITION = LogisticRegression().fit(X, LABELS)
BY_NAME = LogisticRegression().fit(FRAME, LABELS)


def prepared(model: Any, folder: Path, example: Any, **options: Any) -> tuple[dict[str, Any], FeatureSchema]:
    """The part `example`, and the inputs in the manifest."""
    _, archive, sent = write_archive(model, folder, example=example, **{"schema": None, "keep": True, **options})
    unpack(archive, folder / "read", max_bytes=1 << 24)
    assert sent is not None
    return sent, verify_artifact(folder / "read").interface.inputs


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (BY_POSITION, X),
        (BY_POSITION, X.tolist()),
        (BY_NAME, FRAME),
        (BY_NAME, FRAME.to_dict("records")),
        (BY_NAME, X),
        (BY_NAME, X.tolist()),
    ],
)
def test_rows_of_every_form_come_with_the_models_own_answers(tmp_path, model, example):
    sent, inputs = prepared(model, tmp_path, example)
    assert sent["predictions"] == model.predict(FRAME if model is BY_NAME else X)[:100].tolist()
    assert np.allclose(sent["probabilities"], model.predict_proba(FRAME if model is BY_NAME else X)[:100])
    assert len(sent["instances"]) == 100
    assert sent["deterministic"] is True
    assert inputs.container == ("frame" if model is BY_NAME else "array")
    assert inputs.names == (("age", "income") if model is BY_NAME else ("x0", "x1"))


def test_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    rows = torch.tensor(X, dtype=torch.float32)
    sent, inputs = prepared(model, tmp_path, rows)
    with torch.inference_mode():
        assert np.allclose(sent["predictions"], model(rows)[:100, 0].numpy())
    assert [feature.dtype for feature in inputs.features] == ["float32", "float32"] or inputs.container == "tensor"


def test_texts(tmp_path):
    texts = ["a good day", "a bad day", "all good", "all bad"]
    model = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    sent, inputs = prepared(model, tmp_path, texts)
    assert (sent["instances"], sent["predictions"], inputs.container) == (texts, model.predict(texts).tolist(), "texts")


def test_the_schema_is_learned_from_all_rows_and_the_model_says_what_may_be_null(tmp_path):
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(FRAME, LABELS)
    _, inputs = prepared(model, tmp_path, FRAME)
    assert [feature.nullable for feature in inputs.features] == [True, True]
    assert inputs.features[0].observed_max == FRAME["age"].max()


def test_a_schema_that_is_given_counts_and_the_example_must_satisfy_it(tmp_path):
    narrow = FeatureSchema((Feature("x0", FeatureKind.NUMBER, maximum=0.0), Feature("x1")))
    with pytest.raises(InvalidFeatures, match="x0"):
        prepared(BY_POSITION, tmp_path / "one", X, schema=narrow)
    wide = FeatureSchema((Feature("x0", FeatureKind.NUMBER, maximum=100.0), Feature("x1")))
    assert prepared(BY_POSITION, tmp_path / "two", X, schema=wide)[1] == wide
    wrapped = Model.wrap(BY_POSITION, schema=wide)
    assert prepared(wrapped, tmp_path / "three", X)[1] == wide
    assert wrapped.schema == wide, "the caller's model is not changed"


def test_the_same_model_with_another_example_is_the_same_content(tmp_path):
    digests = set()
    for name, rows in (("one", X[:10]), ("two", X[10:20]), ("none", None)):
        write_archive(BY_POSITION, tmp_path / name, example=rows, schema=None, keep=True)
        digests.add(verify_artifact(tmp_path / name / "artifact").digest)
    assert len(digests) == 1


def test_a_stochastic_model_sends_no_answers(tmp_path):
    sent, _ = prepared(own_models.Stochastic(), tmp_path, X)
    assert sent["deterministic"] is False
    assert "predictions" not in sent


def test_a_model_that_cannot_answer_here_is_not_sent(tmp_path):
    with pytest.raises(TrialFailed, match="no such customer"):
        prepared(own_models.Raises(), tmp_path, X)
