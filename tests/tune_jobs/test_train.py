"""The training job from its command line to its artifact, without a platform."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamb.clock import ManualClock
from streamb.crypto import SigningKey
from streamb.models import Model, load_artifact, sign_artifact
from tests.tune_jobs.conftest import customers
from tune_jobs.train import main, split

REQUIRED = ("--model-id", "churn", "--version", "1.0.0")


def train(csv: Path, *options: str, target: str = "churn") -> int:
    return main(["--csv", str(csv), "--target", target, *REQUIRED, *options], ManualClock())


def load(folder: Path, keys: Path) -> Model:
    key = SigningKey.load_or_create(keys / "key.pem")
    sign_artifact(folder, key)
    return load_artifact(folder, trusted=[key.public])


def test_a_model_of_every_kind_of_column_is_written_with_its_report(
    customers_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(customers_csv, "--output", str(tmp_path / "out"), "--param", "C=2.5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"\[ +\d+\.\ds\] ", line) for line in lines)
    assert "read 239 rows, 6 columns" in lines[0]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    metadata = report["metadata"]
    assert metadata["metrics"]["accuracy"] > metadata["metrics"]["baseline_accuracy"] + 0.1
    assert metadata["metrics"]["training_rows"] + metadata["metrics"]["test_rows"] == 239
    assert metadata["hyperparameters"]["C"] == 2.5
    assert len(report["lineage"]["data_digest"]) == 64
    model = load(tmp_path / "out" / "model", tmp_path)
    assert (model.task, model.classes, model.name) == ("classification", ["no", "yes"], "churn")


def test_rows_answer_the_same_alone_and_together_with_gaps(customers_csv: Path, tmp_path: Path) -> None:
    """As the gateway asks: checked by the schema, in batches that mix rows with gaps and without."""
    assert train(customers_csv, "--output", str(tmp_path / "out")) == 0
    model = load(tmp_path / "out" / "model", tmp_path)
    assert model.schema is not None
    schema = model.schema
    rows = [
        {name: value for name, value in row.items() if name in schema.names}
        for row in customers().head(30).astype(object).where(customers().head(30).notna(), None).to_dict("records")
        if row["note"] is not None
    ]
    together = model.predict_proba(model.to_input(schema.check_rows(rows)))
    alone = np.vstack([model.predict_proba(model.to_input(schema.check_rows([row]))) for row in rows])
    np.testing.assert_allclose(alone, together, atol=1e-12)
    assert len({*map(tuple, together)}) > 20


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("spending", ["--estimator", "ridge"]),
        ("spending", ["--estimator", "gradient_boosting", "--param", "max_iter=20"]),
        ("churn", ["--estimator", "forest", "--param", "n_estimators=10", "--drop", "note"]),
        ("churn", ["--estimator", "gradient_boosting", "--param", "max_iter=10"]),
        ("churn", ["--estimator", "neighbors"]),
    ],
)
def test_every_estimator_trains(
    customers_csv: Path, target: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(customers_csv, "--dry-run", *options, target=target) == 0
    assert "nothing is registered" in capsys.readouterr().out


def test_plain_numbers_make_an_artifact_without_code(tmp_path: Path) -> None:
    csv = tmp_path / "numbers.csv"
    csv.write_text("a,b,label\n" + "".join(f"{i},{i % 7}.5,{i % 2}\n" for i in range(60)))
    assert train(csv, "--output", str(tmp_path / "out"), target="label") == 0
    model = load_artifact(tmp_path / "out" / "model", trusted=[])
    assert model.predict(model.to_input(model.schema.check_rows([[3, 3.5]]))).shape == (1,)  # type: ignore[union-attr]


def test_the_same_job_makes_the_same_model(customers_csv: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert train(customers_csv, "--output", str(tmp_path / name), "--seed", "7") == 0
    one, two = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--test-share", "3"], "--test-share 3: Input should be less than or equal to 0.9"),
        (["--param", "C"], "--param C: write NAME=VALUE"),
        (["--param", "depth=3"], "no such parameter; it has C, "),
        (["--param", "C=-1"], "must be a float in the range"),
        (["--estimator", "ridge"], "not for classification; allowed: random_forest"),
        (["--estimator", "magic"], "--estimator magic: no such model; there are random_forest"),
        (["--drop", "churn"], "--drop churn: this is the target"),
        (["--deploy", "immediate", "--dry-run"], "--deploy needs a platform"),
        (["--url", "http://127.0.0.1:1", "--dry-run"], "--url and --dry-run exclude each other"),
        (["--output", "."], "it exists already"),
    ],
)
def test_wrong_arguments_end_with_code_2(
    customers_csv: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        train(customers_csv, *([] if "--dry-run" in options or "--output" in options else ["--dry-run"]), *options) == 2
    )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--csv", "missing.csv"), ("--version", "1"), ("--model-id", "/")])
def test_required_arguments_are_checked(
    customers_csv: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(customers_csv, option, value) == 2  # the last of two wins
    assert f"{option} {value}: " in capsys.readouterr().err


def test_no_platform_is_a_failure_that_says_what_to_do(
    customers_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_STATE_DIR", str(tmp_path))
    assert train(customers_csv, "--drop", "note") == 1
    assert f"no platform runs on {tmp_path}; start one with `streamb up" in capsys.readouterr().out


def test_data_that_cannot_be_learned_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "tiny.csv"
    csv.write_text("a,churn\n1,x\n2,y\n")
    assert train(csv, "--dry-run") == 1
    assert "failed: " in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_a_failure(
    customers_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert train(customers_csv, "--output", str(tmp_path / "file" / "model")) == 1
    assert "failed: cannot write" in capsys.readouterr().out


def test_classes_keep_their_shares_and_rare_ones_do_not_stop_the_split() -> None:
    target = np.array(["a"] * 80 + ["b"] * 20)
    training, testing = split(target, "classification", 0.25, 0)
    assert (target[testing] == "b").sum() == 5
    assert sorted([*training, *testing]) == list(range(100))
    training, testing = split(np.array(["a"] * 19 + ["b"]), "classification", 0.25, 0)
    assert len(training) == 15


def test_it_runs_as_a_program(customers_csv: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tune_jobs.train", "--csv", customers_csv, "--target", "churn", *REQUIRED, "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert "accuracy" in finished.stdout
