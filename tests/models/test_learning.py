"""Learning a schema from data, and from what a fitted scikit-learn estimator remembers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from streamb.errors import InvalidInput
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
    forest = RandomForestClassifier(3).fit(np.eye(4), [0, 1, 0, 1])
    assert Model.wrap(forest).schema == FeatureSchema.numbers(4)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1])
    assert Model.wrap(pipeline).schema == FeatureSchema.numbers(4)
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


def test_categorical_columns_without_memory_ask_for_a_schema():
    data = FRAME[["rooms", "size"]]
    fitted = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype").fit(data, LABELS)
    with pytest.raises(InvalidInput, match=r"schema=FeatureSchema\.learn"):
        Model.wrap(fitted)
    model = Model.wrap(fitted, schema=FeatureSchema.learn(data))
    assert model.predict(model.to_input(model.schema.check_rows([[2, "m"]]))).shape == (1,)


def test_fit_learns_unless_a_schema_was_given():
    assert Model.wrap(LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1]).schema.features[0].observed_max == 1.0
    given = FeatureSchema(tuple(Feature(name, maximum=2.0) for name in "abcd"))
    assert Model.wrap(LogisticRegression(), schema=given).fit(np.eye(4), [0, 1, 0, 1]).schema is given
