"""What a model gets for a request does not depend on the requests that are answered together with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.models import FeatureSchema
from streamb.models.schema import Feature, FeatureKind
from streamb.serving.forms import form_of, value_typed
from streamb.serving.http.rows import RowsRequest
from streamb.serving.replica import _untyped_input

K = FeatureKind
SCHEMAS = {
    "none": None,
    "any in an array": FeatureSchema((Feature("a", K.ANY, nullable=True), Feature("b", K.ANY, nullable=True))),
    "any in a frame": FeatureSchema((Feature("a", K.ANY, nullable=True), Feature("b", K.ANY, nullable=True)), "frame"),
    "int8 that takes fractions": FeatureSchema((Feature("a", dtype="int8"), Feature("b", dtype="int8"))),
    "int64": FeatureSchema((Feature("a", K.INTEGER, nullable=True), Feature("b", dtype="int64")), "frame"),
    "floats": FeatureSchema((Feature("a", dtype="float32"), Feature("b", dtype="float32", nullable=True))),
    "by name": FeatureSchema((Feature("a", dtype="uint8", nullable=True), Feature("b", K.INTEGER)), "tensors"),
    "masked": FeatureSchema((Feature("a", K.INTEGER, dtype="Int64", nullable=True), Feature("b", K.BOOLEAN)), "frame"),
}
VALUES = st.sampled_from([0, 5, 2**53 + 1, -(2**60) - 1, 2**63 - 1, 0.5, 7.0, 1e300, None, True, "5", "a", ""])
ROWS = st.lists(st.tuples(VALUES, VALUES).map(list), min_size=1, max_size=3)


def parts(taken: Any, start: int, end: int) -> Any:
    """Some rows of a model's input, with the types that they have in it."""
    if isinstance(taken, dict):
        return {name: parts(values, start, end) for name, values in taken.items()}
    if isinstance(taken, pd.DataFrame):
        return taken.iloc[start:end].reset_index(drop=True)
    return taken[start:end]


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            same(found[name], values)
    elif isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wanted)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted, strict=True)
        assert [type(value) for value in found.flat] == [type(value) for value in wanted.flat]
    else:
        assert repr(found) == repr(wanted)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS, ROWS)
def test_rows_of_equal_form_do_not_change_each_other(name, first, second):
    schema = SCHEMAS[name]

    def to_input(rows):
        return _untyped_input(rows) if schema is None else schema.to_input(rows)

    try:
        one, two = (RowsRequest(rows).rows(schema) for rows in (first, second))
    except InvalidInput:
        assume(False)
    typed = value_typed(schema)
    assume(form_of(one, typed) == form_of(two, typed))
    joined = np.concatenate([one, two]) if isinstance(one, np.ndarray) else [*one, *two]
    taken = to_input(joined)
    same(parts(taken, 0, len(first)), to_input(one))
    same(parts(taken, len(first), len(joined)), to_input(two))
