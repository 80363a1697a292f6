"""Dataclasses in their JSON form: what comes back, what is refused, and what an error says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from streamb.store.plain import from_plain, to_plain


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Leaf:
    colour: Colour
    sizes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    name: str
    main: Leaf
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    other: Leaf | None = None
    anything: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0


TREE = Tree("oak", Leaf(Colour.RED, (0.1, 2.0)), {"a": Leaf(Colour.RED)}, anything={"list": [1, {"x": None}]})


def test_every_field_comes_back_from_json():
    plain = json.loads(json.dumps(to_plain(TREE)))
    assert plain["leaves"] == {"a": {"colour": "red", "sizes": []}}
    assert from_plain(Tree, plain) == TREE


def test_unknown_names_are_left_out_and_missing_ones_have_their_default():
    found = from_plain(Tree, {"name": "oak", "main": {"colour": "red", "shape": "round"}, "from_a_later_release": 1})
    assert found == Tree("oak", Leaf(Colour.RED))


def test_a_number_beyond_64_bits_is_read_from_its_text():
    assert from_plain(Tree, {**to_plain(TREE), "count": str(2**80)}).count == 2**80


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"main": {"colour": "blue"}}, "main.colour: Input should be 'red'"),
        ({"main": None}, "main: "),
        ({"leaves": {"a": {"colour": "red", "sizes": ["x"]}}}, "leaves.a.sizes.0: "),
        ({"name": 7}, "name: "),
    ],
)
def test_an_error_names_the_field(change, named):
    with pytest.raises(ValueError, match="not a Tree") as refusal:
        from_plain(Tree, to_plain(TREE) | change)
    assert named in str(refusal.value)
    assert type(refusal.value) is ValueError


def test_a_missing_field_is_named_and_no_value_is_repeated():
    with pytest.raises(ValueError, match="main: Field required") as refusal:
        from_plain(Tree, {"name": ["secret"]})
    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("module", ["streamb", "streamb.hpo", "streamb.hpo.study.study", "streamb.stats"])
def test_pydantic_is_not_imported_before_a_form_is_needed(module):
    code = f"import sys, streamb.store.plain, {module}; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
