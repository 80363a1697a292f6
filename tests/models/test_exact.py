"""Whole numbers stay whole: in rows and tensors, and beside fractions and nulls, or they are refused."""

from __future__ import annotations

import numpy as np
import pytest

from streamb.errors import InvalidFeatures
from streamb.models import FeatureSchema
from streamb.models.dtypes import bfloat16_from_bits, bfloat16_of
from streamb.models.schema import Feature, FeatureKind

LARGE = 2**53 + 1


def column(container="array", **about):
    return FeatureSchema((Feature("a", **about),), container)


@pytest.mark.parametrize("container", ["array", "frame", "tensors"])
@pytest.mark.parametrize("other", [0.5, None])
def test_a_large_number_beside_what_makes_floats_of_its_column_is_refused(container, other):
    schema = column(container, dtype="int64", nullable=True)
    with pytest.raises(InvalidFeatures, match=f"row 0, column 'a': .* the whole number {LARGE} exactly"):
        schema.check_rows([[LARGE], [other]])
    assert len(schema.check_rows([[2**54], [other]])) == 2  # a float64 holds it
    taken = schema.to_input(schema.check_rows([[LARGE], [1]]))
    assert np.asarray(taken["a"] if container == "tensors" else taken).ravel().tolist() == [LARGE, 1]


def test_columns_of_two_types_in_one_array_are_floats():
    schema = FeatureSchema((Feature("a", FeatureKind.INTEGER), Feature("b")))
    with pytest.raises(InvalidFeatures, match="row 0, column 'a'"):
        schema.check_rows([[LARGE, 0.5]])


@pytest.mark.parametrize(
    ("dtype", "value"), [("", LARGE), ("float32", 2**24 + 1), ("float16", 2**11 + 1), ("bfloat16", 2**8 + 1)]
)
def test_a_whole_tensor_is_not_rounded_and_a_decimal_of_rows_is(dtype, value):
    schema = column(dtype=dtype)
    with pytest.raises(InvalidFeatures, match=f"row 1, column 'a': .*{value} exactly"):
        schema.check_array(np.array([[1], [value]]))
    assert schema.to_input(schema.check_array(np.array([[1], [value - 1]]))).tolist() == [[1], [value - 1]]
    assert schema.to_input(schema.check_rows([[1], [value]])).tolist() == [[1], [value - 1]]
    tensor = FeatureSchema((Feature("a", FeatureKind.TENSOR, dtype=dtype, shape=(2,)),), "tensor")
    with pytest.raises(InvalidFeatures, match=f"row 0, column 'a': .*{value} exactly"):
        tensor.check_array(np.array([[1, value]]))


def test_a_table_has_the_type_of_its_columns():
    for dtype in ("int8", "uint64", "float32", "float16"):
        found = column(dtype=dtype).check_rows([[1], [2]])
        assert found.dtype == dtype
        assert column(dtype=dtype).check_array(np.array([[1.0], [2.0]])).dtype == dtype
    assert column(dtype="int8").check_rows([[1], [0.5]]).dtype == np.float64


def test_a_tensor_of_the_columns_type_is_not_copied():
    for dtype in ("float32", "float64", "int64"):
        values = np.ones((2, 1), dtype)
        schema = column(dtype=dtype)
        assert schema.to_input(schema.check_array(values)) is values


def test_bfloat16_rounds_as_torch_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 10_000, np.uint32)
    values = bits.view(np.float32)
    values = values[np.abs(values) < 3e38]
    wanted = torch.from_numpy(values.copy()).bfloat16()
    np.testing.assert_array_equal(bfloat16_of(values), wanted.float().numpy())
    raw = wanted.view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(bfloat16_from_bits(raw), wanted.float().numpy())
    assert np.isnan(bfloat16_of(np.array([np.nan]))).all()
