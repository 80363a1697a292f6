"""Learning a schema from data, and from what a fitted scikit-learn estimator remembers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from streamb.models import Feature, FeatureKind, FeatureSchema, Model

FRAME = pd.DataFrame(
    {
        "area": [50.0, 80.5, np.nan, 60.0] * 5,
        "rooms": [2, 3, 4, 2] * 5,
        "garden": [True, False] * 10,
        "city": ["Bonn", "Kiel"] * 10,
        "size": pd.Categorical(["s", "m"] * 10, categories=["s", "m", "l"]),
        "advert": [f"house number {index}" for index in range(20)],
    }
)
LABELS = [0, 1, 1, 0] * 5


def kinds(schema: FeatureSchema) -> dict[str, str]:
    return {feature.name: str(feature.kind) for feature in schema.features}


def test_a_frame_tells_names_kinds_ranges_and_gaps():
    schema = FeatureSchema.learn(FRAME)
    assert schema.container == "frame"
    assert schema.features == (
        Feature("area", FeatureKind.NUMBER, observed_min=50.0, observed_max=80.5, dtype="float64", optional=True),
        Feature("rooms", FeatureKind.INTEGER, observed_min=2.0, observed_max=4.0, dtype="int64"),
        Feature("garden", FeatureKind.BOOLEAN, dtype="bool"),
        Feature("city", FeatureKind.CATEGORY, dtype="str"),
        Feature("size", FeatureKind.CATEGORY, categories=("s", "m", "l"), dtype="str"),
        Feature("advert", FeatureKind.TEXT, dtype="str"),
    )
    assert schema.check_rows(FRAME.astype(object).where(FRAME.notna(), None).to_dict("records"))


def test_arrays_texts_and_sparse_matrices():
    assert FeatureSchema.learn([[1, 2.0], [3, np.nan]]).features == (
        Feature("x0", observed_min=1.0, observed_max=3.0, dtype="float64"),
        Feature("x1", observed_min=2.0, observed_max=2.0, dtype="float64", optional=True),
    )
    assert FeatureSchema.learn(["a", "b"]) == FeatureSchema.learn(np.array(["a", "b"])) == FeatureSchema.texts()
    assert FeatureSchema.learn(pd.Series(["a", "b"])) == FeatureSchema.texts()
    assert FeatureSchema.learn(csr_array(np.eye(3))) == FeatureSchema.numbers(3)
    mixed = FeatureSchema.learn(np.array([[1, "a"], [2, "a"]], object))
    assert kinds(mixed) == {"x0": "integer", "x1": "category"}
    assert mixed.to_input(mixed.check_rows([[3, "b"]])).tolist() == [[3, "b"]]


def test_an_estimator_fitted_on_an_array_knows_its_width():
    numbers = FeatureSchema(tuple(Feature(f"x{index}", takes_booleans=True) for index in range(4)))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1])
    assert Model.wrap(pipeline).schema == numbers
    forest = RandomForestClassifier(3).fit(np.eye(4), [0, 1, 0, 1])
    assert [feature.nullable for feature in Model.wrap(forest).schema.features] == [True] * 4  # it handles NaN
    assert Model.wrap(LogisticRegression()).schema is None


def test_a_fitted_column_transformer_tells_kinds_by_who_reads_them():
    gaps = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["area"]),
            ("plain", StandardScaler(), slice("rooms", "garden")),
            ("city", OneHotEncoder(), ["city"]),
            ("size", gaps, make_column_selector("size")),
            ("words", TfidfVectorizer(), "advert"),
        ]
    )
    frame = FRAME.assign(size=FRAME["size"].astype(str))
    model = Model.wrap(make_pipeline(columns, LogisticRegression()).fit(frame, LABELS))
    assert kinds(model.schema) == {
        "area": "number", "rooms": "number", "garden": "number",
        "city": "category", "size": "category", "advert": "text",
    }  # fmt: skip
    assert [feature.optional for feature in model.schema.features] == [True, False, False, False, True, False]
    rows = [{"rooms": 2, "garden": 1, "city": "Kiel", "advert": "a house"}]
    assert model.predict(model.to_input(model.schema.check_rows(rows))).shape == (1,)


def test_a_first_step_that_encodes_or_reads_text_tells_too():
    encoded = make_pipeline(OrdinalEncoder(), LogisticRegression()).fit(FRAME[["city"]], LABELS)
    assert kinds(Model.wrap(encoded).schema) == {"city": "category"}
    texts = FRAME["advert"].tolist()
    for vectorizer in (TfidfVectorizer(), HashingVectorizer(n_features=16)):
        fitted = make_pipeline(vectorizer, LogisticRegression()).fit(texts, LABELS)
        assert Model.wrap(fitted).schema == FeatureSchema.texts()
    assert Model.wrap(make_pipeline(TfidfVectorizer(), LogisticRegression())).schema is None


def test_a_search_is_looked_through():
    search = GridSearchCV(
        make_pipeline(TfidfVectorizer(), LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2
    )
    assert Model.wrap(search.fit(FRAME["advert"].tolist(), LABELS)).schema == FeatureSchema.texts()


def test_columns_that_nothing_reads_may_hold_anything_or_be_absent():
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"])])
    model = Model.wrap(make_pipeline(columns, LogisticRegression()).fit(FRAME, LABELS))
    assert {name for name, kind in kinds(model.schema).items() if kind != "any"} == {"city"}
    for row in ({"city": "Kiel"}, {"city": "Kiel", "area": None, "garden": True, "advert": "x", "rooms": [1]}):
        assert model.predict(model.to_input(model.schema.check_rows([row]))).shape == (1,)


def told(estimator, data=FRAME):
    """The kind of each column of a fitted estimator, and whether it takes null."""
    schema = Model.wrap(estimator.fit(data, LABELS)).schema
    return {f.name: f"{f.kind}{'?' * f.nullable}" for f in schema.features}


def encoding(*columns, encoder=None, rest="drop"):
    return ColumnTransformer([("encoder", encoder or OneHotEncoder(), list(columns))], remainder=rest)


def as_text(values):
    return values.astype(str)


SMALL = FRAME[["rooms", "garden", "city"]]
CASES = [
    ("levels of whole numbers", encoding("rooms"), {"rooms": "integer", "garden": "any?", "city": "any?"}),
    ("levels of booleans", encoding("garden"), {"rooms": "any?", "garden": "boolean", "city": "any?"}),
    (
        "unknown levels",
        encoding("city", encoder=OneHotEncoder(handle_unknown="ignore")),
        {"rooms": "any?", "garden": "any?", "city": "category?"},
    ),
    (
        "a column that passes on",
        encoding("city", rest="passthrough"),
        {"rooms": "number", "garden": "number", "city": "category"},
    ),
    (
        "a function",
        encoding("city", "rooms", encoder=make_pipeline(FunctionTransformer(as_text), OneHotEncoder())),
        {"rooms": "any?", "garden": "any?", "city": "any?"},
    ),
    (
        "a column that two steps read",
        make_union(encoding("rooms", encoder=StandardScaler()), encoding("rooms", "city")),
        {"rooms": "integer", "garden": "any?", "city": "category"},
    ),
]


@pytest.mark.parametrize(("columns", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_steps_tell_what_they_read(columns, wanted):
    model = make_pipeline(columns, LogisticRegression())
    assert told(model, SMALL) == wanted
    assert told(VotingClassifier([("only", model)]), SMALL) == wanted
    assert told(GridSearchCV(model, {"logisticregression__C": [1.0]}, cv=2), SMALL) == wanted
    assert told(CalibratedClassifierCV(model, cv=2), SMALL) == wanted


def test_whether_null_is_taken_follows_the_whole_chain():
    data = FRAME[["area", "rooms"]]
    full = data.fillna(1.0)
    assert told(make_pipeline(StandardScaler(), LogisticRegression()), full) == {"area": "number", "rooms": "number"}
    for taking in (
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=2)),
        make_pipeline(StandardScaler(), KNNImputer(), LogisticRegression()),
    ):
        assert told(taking, data) == {"area": "number?", "rooms": "number?"}


def test_categories_of_histograms_may_be_anything():
    data = FRAME[["rooms", "size"]]
    fitted = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype").fit(data, LABELS)
    assert kinds(Model.wrap(fitted).schema) == {"rooms": "any", "size": "any"}
    for model in (Model.wrap(fitted), Model.wrap(fitted, schema=FeatureSchema.learn(data))):
        assert model.predict(model.to_input(model.schema.check_rows([[2, "m"]]))).shape == (1,)


def test_fit_learns_unless_a_schema_was_given():
    assert Model.wrap(LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1]).schema.features[0].observed_max == 1.0
    given = FeatureSchema(tuple(Feature(name, maximum=2.0) for name in "abcd"))
    assert Model.wrap(LogisticRegression(), schema=given).fit(np.eye(4), [0, 1, 0, 1]).schema is given


@pytest.mark.parametrize(
    ("library", "maker", "options", "others"),
    [
        ("lightgbm", "LGBMClassifier", {"verbose": -1}, "any?"),  # it keeps the levels, but not of which columns
        ("xgboost", "XGBClassifier", {"enable_categorical": True}, "number?"),
    ],
)
def test_categories_of_boosters_never_become_numbers(library, maker, options, others):
    booster = getattr(pytest.importorskip(library), maker)(n_estimators=2, **options)
    data = FRAME[["area", "rooms"]].assign(size=FRAME["size"].astype("category"))
    assert told(booster, data) == {"area": others, "rooms": others, "size": "any?"}
