"""Random column transformers over a table with columns of every kind: each row is taken and answered as in process."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from streamb.models import FeatureSchema, Model
from streamb.models.columns.rows import wire_rows
from tests.serving.gateways import PREDICT
from tests.serving.served_model import serve

ROWS = 40


def table_of(rng) -> pd.DataFrame:
    def gaps(values, share=0.2):
        return pd.Series(values).mask(rng.random(ROWS) < share)

    start = pd.Timestamp("2024-01-01")
    moments = start + pd.to_timedelta(rng.integers(0, 10**9, ROWS), "ms")
    return pd.DataFrame(
        {
            "area": rng.normal(size=ROWS),
            "price": gaps(rng.normal(size=ROWS)),
            "weight": rng.normal(size=ROWS).astype(np.float32),
            "rooms": rng.integers(1, 5, ROWS),
            "floor": rng.integers(-2, 100, ROWS).astype(np.int8),
            "beds": gaps(rng.integers(1, 4, ROWS)).astype("Int64"),
            "garden": rng.random(ROWS) < 0.5,
            "city": rng.choice(["Oslo", "Lima", "Pune"], ROWS),
            "street": gaps(rng.choice(["a", "b"], ROWS)),
            "owner": pd.Series(rng.choice(["x", "y", None], ROWS), dtype=object),
            "grade": pd.Categorical(rng.choice(["low", "high"], ROWS), ["low", "mid", "high"], ordered=True),
            "zone": pd.Categorical(rng.choice([3, 1, 2], ROWS)),
            "seen": moments,
            "sold": moments.tz_localize("Europe/Oslo").as_unit("s"),
            "day": moments.floor("100D"),
            "note": rng.choice(["a quiet house", "near the lake", "with a view of the sea"], ROWS),
            "mixed": pd.Series(rng.choice([1, "a", 2.5], ROWS), dtype=object),
            "tags": pd.Series([["new"] * int(count) for count in rng.integers(0, 3, ROWS)], dtype=object),
        }
    )


def as_text(values):
    return values.astype(str)


def hours(frame):
    return frame.apply(lambda column: pd.to_datetime(column.astype(str), format="ISO8601").dt.hour)


def counted(frame):
    return frame.map(len)


def onehot():
    return OneHotEncoder(handle_unknown="ignore")


def ordinal():
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)


NUMBERS = [StandardScaler, MinMaxScaler, lambda: "passthrough", lambda: KBinsDiscretizer(3, quantile_method="linear")]
LEVELS = [OneHotEncoder, onehot, ordinal, lambda: TargetEncoder(cv=2)]
READERS = {
    ("area",): NUMBERS,
    ("price",): [lambda: make_pipeline(SimpleImputer(), StandardScaler()), lambda: SimpleImputer(add_indicator=True)],
    ("weight", "rooms"): NUMBERS,
    ("rooms", "garden"): [*NUMBERS[:3], *LEVELS],
    ("floor",): [*NUMBERS, *LEVELS],
    ("beds",): [SimpleImputer, onehot],
    ("garden",): [StandardScaler, *LEVELS],
    ("city",): [*LEVELS, lambda: make_pipeline(SimpleImputer(strategy="most_frequent"), onehot())],
    ("street", "owner"): [onehot, ordinal],
    ("owner",): [OneHotEncoder],
    ("grade",): LEVELS,
    ("zone", "city"): LEVELS,
    ("seen",): [lambda: FunctionTransformer(hours), onehot],
    ("sold",): [lambda: FunctionTransformer(hours)],
    ("day",): [OneHotEncoder, lambda: FunctionTransformer(hours)],
    "note": [lambda: TfidfVectorizer(min_df=1)],
    ("mixed",): [lambda: make_pipeline(FunctionTransformer(as_text), onehot())],
    ("tags",): [lambda: FunctionTransformer(counted)],
}
ENDS = [
    lambda: LogisticRegression(max_iter=1000),
    lambda: DecisionTreeClassifier(random_state=0),
    lambda: RandomForestClassifier(3, random_state=0),
    lambda: HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=5),
]


def pipeline_of(rng):
    names = list(READERS)
    chosen = [names[index] for index in rng.permutation(len(names))[: rng.integers(1, 6)]]
    parts = []
    for number, columns in enumerate(chosen):
        makers = READERS[columns]
        part = makers[rng.integers(len(makers))]()
        parts.append((f"part{number}", part, columns if isinstance(columns, str) else list(columns)))
    end = ENDS[rng.integers(len(ENDS))]()
    pipeline = make_pipeline(ColumnTransformer(parts, sparse_threshold=0), end)
    model = VotingClassifier([("only", pipeline)], voting="soft") if rng.random() < 0.2 else pipeline
    return model, ("sold",) in chosen


async def answers(model, rows):
    response = await serve(model).post(PREDICT, {"instances": rows, "probabilities": True})
    assert response.status == 200, response.json()
    return response.json()


@pytest.mark.parametrize("seed", range(100))
async def test_every_row_is_taken_and_answered_as_in_process(seed):
    rng = np.random.default_rng(seed)
    frame, labels = table_of(rng), rng.choice(["yes", "no"], ROWS)
    pipeline, reads_zone = pipeline_of(rng)
    chances = pipeline.fit(frame, labels).predict_proba(frame)
    rows = wire_rows(frame)
    known = await answers(Model.wrap(pipeline, schema=FeatureSchema.learn(frame)), rows)
    assert known["predictions"] == pipeline.classes_[chances.argmax(axis=1)].tolist()
    np.testing.assert_allclose(known["probabilities"], chances, rtol=1e-9, atol=1e-12)
    guessed = await answers(Model.wrap(pipeline), rows)
    if not reads_zone:  # no estimator remembers a time zone
        np.testing.assert_allclose(guessed["probabilities"], chances, rtol=1e-9, atol=1e-12)
