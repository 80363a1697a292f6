"""The models of the conformance tests: each answers so that a value that was changed on the way is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from streamb.models import Feature, FeatureKind, FeatureSchema, Model
from streamb.traffic import Batching
from tests.conformance.hosting import Hosted

DATATYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
"""The protocol's datatypes that NumPy has, as tritonclient hands them over; BYTES and BF16 stand apart."""


def total(rows: Any) -> Any:
    """Answers each row with its sum."""
    return np.asarray(rows).sum(axis=1)


def echo(rows: Any) -> Any:
    """Answers with what it got, in the type in which it got it."""
    return np.asarray(rows)


def reveal(rows: Any) -> list[str]:
    """Answers each row with the types and exact values that the model sees."""
    if isinstance(rows, pd.DataFrame):
        columns = [rows[name] for name in rows.columns]
        return ["|".join(f"{column.dtype}:{column.iloc[row]!r}" for column in columns) for row in range(len(rows))]
    if isinstance(rows, np.ndarray):
        return [f"{rows.dtype}:{row.tolist()!r}" for row in rows]
    return [repr(row) for row in rows]


def named(rows: Any) -> dict[str, Any]:
    """Answers with several outputs, each of a type and shape of its own."""
    numbers = np.asarray(rows, np.float64)
    return {
        "score": numbers.sum(axis=1).astype(np.float32),
        "count": numbers.shape[1] + numbers[:, 0].astype(np.int64),
        "label": np.where(numbers[:, 0] > 0, "up", "down"),
        "pair": np.stack([numbers[:, 0], -numbers[:, 0]], axis=1),
    }


def centred(rows: Any) -> Any:
    """Answers each row with its distance from the mean of all rows of the call."""
    numbers = np.asarray(rows, np.float64)
    return numbers - numbers.mean(axis=0)


def of_type(datatype: str) -> FeatureSchema:
    """The schema of two columns of one datatype."""
    dtype = DATATYPES[datatype]
    kind = {"b": FeatureKind.BOOLEAN, "i": FeatureKind.INTEGER, "u": FeatureKind.INTEGER, "f": FeatureKind.NUMBER}
    return FeatureSchema(tuple(Feature(name, kind[dtype.kind], dtype=dtype.name) for name in ("a", "b")))


def frame(seed: int = 0, rows: int = 60) -> pd.DataFrame:
    """A table with columns of many types; those that may be missing sometimes are."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {
            "amount": rng.normal(size=rows) * 1e3,
            "ratio": rng.normal(size=rows).astype(np.float32),
            "large": rng.integers(2**53, 2**62, rows),
            "small": rng.integers(-128, 128, rows).astype(np.int8),
            "flag": rng.random(rows) < 0.5,
            "city": rng.choice(["Oslo", "Lima", "Pune", "東京"], rows),
            "note": pd.Series(rng.choice(["a", "", "c d"], rows), dtype=object).mask(rng.random(rows) < 0.3, None),
            "gap": pd.Series(rng.normal(size=rows)).mask(rng.random(rows) < 0.3),
            "whole": pd.Series(rng.integers(2**53, 2**60, rows)).astype("Int64").mask(rng.random(rows) < 0.3),
            "seen": (start + pd.to_timedelta(rng.integers(0, 10**9, rows), "ms")).as_unit("ms"),
        }
    )


TREE = ["amount", "ratio", "small", "flag", "city"]
"""The columns of the model "tree"."""


def pipeline() -> Model:
    """A scikit-learn pipeline on a table, with probabilities."""
    table = frame()[TREE]
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    model = Model.wrap(make_pipeline(columns, tree))
    return model.fit(table, np.where(table["amount"] > 0, "up", "down"))


def own(function: Any, **given: Any) -> Model:
    """A function as a model."""
    return Model.wrap(function, **given)


def zoo() -> dict[str, Hosted]:
    """Every model by name."""
    table = frame()
    numbers = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    models = {
        "sum": Hosted(
            own(total, schema=FeatureSchema.numbers(3), task="regression"),
            numbers,
            aliases=("champion",),
        ),
        "echo": Hosted(own(echo)),
        "reveal": Hosted(own(reveal)),
        "centred": Hosted(own(centred, schema=FeatureSchema.numbers(3)), numbers, batching=Batching(join=False)),
        "named": Hosted(own(named, schema=FeatureSchema.numbers(3)), numbers),
        "frame": Hosted(own(reveal, schema=FeatureSchema.learn(table)), table),
        "tree": Hosted(pipeline(), table[TREE]),
        "texts": Hosted(own(lambda rows: [text[::-1] for text in rows], schema=FeatureSchema.texts()), ["ab", "c"]),
    }
    for datatype, dtype in DATATYPES.items():
        models[f"typed-{datatype}"] = Hosted(own(echo, schema=of_type(datatype)), np.ones((2, 2), dtype))
    return models
