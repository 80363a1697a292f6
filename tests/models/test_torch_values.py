"""What torch modules take and answer: several inputs, several outputs, and the types of numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from streamb.errors import InvalidInput, ModelFailed
from streamb.models import FeatureSchema, Model

X = np.random.default_rng(0).normal(size=(5, 3))


class Pair(nn.Module):
    """Two inputs, one with a default beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, first, second, scale=None):
        scaled = second if scale is None else second * scale
        return self.left(first) + self.right(scaled)


class Columns(nn.Module):
    def forward(self, age, height):
        return age * 2 + height


class Masked(nn.Module):
    """Whole numbers and a mask, as a language model takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.words = nn.Linear(4, 1), nn.Embedding(10, 4)

    def forward(self, input_ids, mask):
        return self.dense((self.words(input_ids) * mask.unsqueeze(-1)).sum(1))


class Answers(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


class Named(NamedTuple):
    total: torch.Tensor
    rest: torch.Tensor


FIRST, SECOND = np.ones((5, 3)), np.arange(10.0).reshape(5, 2)


@pytest.mark.parametrize(
    "given",
    [
        {"first": FIRST, "second": SECOND},
        {"second": SECOND, "first": FIRST},
        {"a": FIRST, "b": SECOND},
        [{"first": one.tolist(), "second": other.tolist()} for one, other in zip(FIRST, SECOND, strict=True)],
    ],
)
def test_several_inputs_go_by_name_or_in_order(given):
    pair = Pair()
    model = Model.wrap(pair)
    assert model.schema is None
    expected = pair(torch.ones(5, 3), torch.arange(10.0).reshape(5, 2)).detach().numpy()
    np.testing.assert_array_equal(model.predict(given), expected)
    doubled = pair(torch.ones(5, 3), 2 * torch.arange(10.0).reshape(5, 2)).detach().numpy()
    scaled = {"first": FIRST, "second": SECOND, "scale": np.full((5, 1), 2.0)}
    np.testing.assert_array_equal(model.predict(scaled), doubled)


@pytest.mark.parametrize("given", [{"first": FIRST, "third": SECOND}, {"a": FIRST}, FIRST])
def test_inputs_that_do_not_fit_are_told_which_ones_would(given):
    with pytest.raises(InvalidInput, match="first, second"):
        Model.wrap(Pair()).predict(given)


def test_columns_of_a_table_are_inputs_too():
    model, table = Model.wrap(Columns()), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert model.predict(table).tolist() == [4.0, 10.0]
    assert model.predict(pd.DataFrame(table, columns=["height", "age"])).tolist() == [5.0, 11.0]


def test_whole_numbers_and_masks_stay_what_they_are():
    masked, ids = Masked(), np.array([[1, 2], [3, 4]], np.int32)
    expected = masked(torch.from_numpy(ids), torch.tensor([[True, False], [True, True]]))
    found = Model.wrap(masked).predict({"input_ids": ids, "mask": np.array([[True, False], [True, True]])})
    np.testing.assert_array_equal(found, expected.detach().numpy()[:, 0])


def test_values_by_name_and_tuples_are_answered_as_such():
    by_name = Model.wrap(Answers(lambda x: {"total": x.sum(1), "none": None, "parts": (x, [x])})).predict(X)
    assert list(by_name) == ["total", "parts"]
    np.testing.assert_array_equal(by_name["total"], X.astype(np.float32).sum(1))
    assert [type(part) for part in by_name["parts"]] == [np.ndarray, tuple]
    pair = Model.wrap(Answers(lambda x: (x[:, 0], x))).predict(X)
    assert [part.shape for part in pair] == [(5,), (5, 3)]
    named = Model.wrap(Answers(lambda x: Named(x.sum(1), x))).predict(X)
    assert list(named) == ["total", "rest"]


def test_a_classifier_must_answer_one_tensor():
    with pytest.raises(ModelFailed, match="several outputs"):
        Model.wrap(Answers(lambda x: (x, x)), classes=["a", "b", "c"]).predict(X)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_every_precision(tmp_path, kind):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to(kind)
    model = Model.wrap(net)
    expected = net(torch.from_numpy(X).to(kind)).detach().double().numpy()
    np.testing.assert_array_equal(model.predict(X).astype(np.float64), expected)
    assert not model.save(tmp_path / "net").carries_code
    again = Model.load(tmp_path / "net")
    assert again.module[0].weight.dtype == kind
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_a_read_only_array_and_one_of_objects_are_taken():
    net = nn.Linear(3, 1)
    frozen = X.copy()
    frozen.setflags(write=False)
    expected = Model.wrap(net).predict(X)
    np.testing.assert_array_equal(Model.wrap(net).predict(frozen), expected)
    np.testing.assert_array_equal(Model.wrap(net).predict(X.astype(object)), expected)
    with pytest.raises(InvalidInput, match="numbers and booleans"):
        Model.wrap(net).predict(np.array([["a", "b", "c"]]))


def test_layers_that_have_no_weights_yet_were_never_fitted(tmp_path):
    with pytest.raises(InvalidInput, match="never fitted"):
        Model.wrap(nn.Sequential(nn.LazyLinear(2))).save(tmp_path / "net")


class Sees(nn.Module):
    """Keeps the type of its input."""

    def forward(self, x):
        self.seen = x.dtype
        return x.float().flatten(1).sum(1)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)])
def test_bfloat16_is_learned_and_given(shape):
    example = torch.full(shape, 0.1, dtype=torch.bfloat16)
    schema = FeatureSchema.learn(example)
    assert {feature.dtype for feature in schema.features} == {"bfloat16"}
    model = Model.wrap(Sees(), schema=schema)
    taken = schema.to_input(schema.check_rows(example.float().tolist()))
    np.testing.assert_array_equal(taken, example.float().numpy(), strict=True)
    np.testing.assert_allclose(model.predict(taken), np.prod(shape[1:]) * 0.10009765625)
    assert model.module.seen == torch.bfloat16
    rounded = schema.to_input(schema.check_rows(np.full(shape, 0.1).tolist()))
    np.testing.assert_array_equal(rounded, example.float().numpy())


def test_each_half_of_a_dict_and_a_list_is_learned():
    half = torch.ones(2, 3, dtype=torch.bfloat16)
    named = FeatureSchema.learn({"a": half, "b": half.float(), "c": half[:, 0]})
    assert [feature.dtype for feature in named.features] == ["bfloat16", "float32", "bfloat16"]
    assert FeatureSchema.learn(list(half)).features[0].dtype == "bfloat16"


def test_a_module_takes_numbers_in_the_type_of_its_weights():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        model = Model.wrap(nn.Sequential(nn.Linear(2, 1)).to(dtype))
        assert {feature.dtype for feature in model.schema.features} == {str(dtype).removeprefix("torch.")}
        assert np.isfinite(model.predict(np.array([[1.0, 2.0]]))).all()


@pytest.mark.parametrize("value", [np.int64(2**24 + 1), np.uint64(2**64 - 1), 1e39])
def test_a_number_that_the_weights_would_change_is_refused(value):
    model = Model.wrap(nn.Sequential(nn.Linear(2, 1)))
    with pytest.raises(InvalidInput, match=r"row 1, column 1.*float32"):
        model.predict(np.array([[1, 1], [1, value]], np.asarray(value).dtype))


def test_a_whole_number_beyond_int64_is_no_index():
    model = Model.wrap(nn.Sequential(nn.Embedding(4, 2)))
    with pytest.raises(InvalidInput, match=r"row 0, column 0.*int64"):
        model.predict(np.array([[2**63]], np.uint64))
