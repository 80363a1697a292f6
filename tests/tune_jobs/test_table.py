"""CSV files as training data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from streamb.errors import InvalidInput
from streamb.models import FeatureKind
from tests.tune_jobs.conftest import ROWS
from tune_jobs.arguments import WrongArgument
from tune_jobs.table import read_table


def write(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text)
    return path


def column(folder: Path, values: list[object], name: str = "y") -> Path:
    return write(folder, "\n".join([f"x,{name}", *(f"{index},{value}" for index, value in enumerate(values))]))


def test_kinds_gaps_and_digest_of_a_mixed_table(customers_csv: Path) -> None:
    table = read_table(customers_csv, "churn")
    assert {f.name: (f.kind, f.optional) for f in table.schema.features} == {
        "age": (FeatureKind.INTEGER, False),
        "income": (FeatureKind.NUMBER, True),
        "city": (FeatureKind.CATEGORY, True),
        "vip": (FeatureKind.BOOLEAN, False),
        "note": (FeatureKind.TEXT, False),
        "spending": (FeatureKind.NUMBER, False),
    }
    assert table.task == "classification"
    assert table.frame.shape == (ROWS - 1, 6)
    assert table.target.shape == (ROWS - 1,)
    assert {*table.target.tolist()} == {"yes", "no"}
    assert table.digest == hashlib.sha256(customers_csv.read_bytes()).hexdigest()
    assert table.columns(FeatureKind.NUMBER, optional=True) == ["income"]
    assert any("empty" in note for note in table.notes)
    assert any("'churn': 1 rows" in note for note in table.notes)
    assert any("'note'" in note for note in table.notes)


def test_columns_can_be_dropped_and_their_kind_said(customers_csv: Path) -> None:
    table = read_table(customers_csv, "churn", drop=["income"], category=["note"], text=["city"])
    kinds = {f.name: f.kind for f in table.schema.features}
    assert "income" not in kinds
    assert (kinds["note"], kinds["city"]) == (FeatureKind.CATEGORY, FeatureKind.TEXT)


@pytest.mark.parametrize(
    ("values", "task", "dtype"),
    [
        ([0, 1, 2] * 5, "classification", np.int64),
        (["1.0", "2.0", ""] * 5, "classification", np.int64),
        ([True, False] * 6, "classification", bool),
        ([0.5, 1.5] * 6, "regression", np.float64),
        ([*range(40)], "regression", np.float64),
    ],
)
def test_the_task_follows_from_the_target(tmp_path: Path, values: list[object], task: str, dtype: type) -> None:
    table = read_table(column(tmp_path, values), "y")
    assert table.task == task
    assert table.target.dtype == dtype


def test_the_task_can_be_said(tmp_path: Path) -> None:
    path = column(tmp_path, [0, 1, 2] * 5)
    assert read_table(path, "y", task="regression").target.dtype == np.float64
    with pytest.raises(WrongArgument, match="--task regression: the target 'y' holds 'a', which is not a number"):
        read_table(column(tmp_path, ["a", "b"] * 6), "y", task="regression")
    with pytest.raises(WrongArgument, match="--task classification: the target 'y' holds fractions"):
        read_table(column(tmp_path, [0.5, 1.5] * 6), "y", task="classification")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "z"}, "--target z: no such column; there are x, y"),
        ({"target": "y", "drop": ["z"]}, "--drop z: no such column"),
        ({"target": "y", "text": ["y"]}, "--text y: this is the target"),
    ],
)
def test_wrong_column_names_are_wrong_arguments(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(WrongArgument, match=said):
        read_table(column(tmp_path, [0, 1] * 6), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as CSV"),
        ("x,y\n1,2,3\n4\n1,2,3,4,5\n", "cannot be read as CSV"),
        ("x,y\n1,2\n", "training needs 10"),
        ("x,y\n" + "1,a\n" * 12, "'a' in every row"),
        ("x,y\n" + ",a\n,b\n" * 6, "no column to learn from"),
        ("x,z,y\n" + "1,2,a\n3,4,b\n" * 6 + "inf,1,a\n", "infinite numbers in x;"),
        ("x,y\n" + "1,2.5\n" * 12 + "1,-inf\n", "infinite numbers in y;"),
    ],
)
def test_tables_that_teach_nothing_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_table(write(tmp_path, text), "y")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("x,y\nSão,1\n".encode("utf-16"))
    with pytest.raises(InvalidInput, match="cannot be read as CSV"):
        read_table(path, "y")
