from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.registry.semver import Semver

numbers = st.integers(0, 10**12).map(str)
identifiers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.text("0123456789ABCxyz-", min_size=1, max_size=6).filter(lambda t: not t.isdecimal()),
)
builds = st.lists(st.text("019aZ-", min_size=1, max_size=4), max_size=2).map(".".join)


@st.composite
def versions(draw) -> str:
    core = ".".join(draw(st.tuples(numbers, numbers, numbers)))
    prerelease, build = ".".join(draw(st.lists(identifiers, max_size=4))), draw(builds)
    return core + (f"-{prerelease}" if prerelease else "") + (f"+{build}" if build else "")


def precedence(left: str, right: str) -> int:
    """Item 11 of the specification, word for word, as a comparison."""
    (left_core, _, left_pre), (right_core, _, right_pre) = (v.split("+")[0].partition("-") for v in (left, right))
    one, other = [int(n) for n in left_core.split(".")], [int(n) for n in right_core.split(".")]
    if one != other:
        return -1 if one < other else 1
    if not left_pre or not right_pre:
        return bool(right_pre) - bool(left_pre)
    for a, b in zip(left_pre.split("."), right_pre.split("."), strict=False):
        if a != b:
            if a.isdecimal() and b.isdecimal():
                return -1 if int(a) < int(b) else 1
            if a.isdecimal() != b.isdecimal():
                return -1 if a.isdecimal() else 1
            return -1 if a < b else 1
    return (left_pre.count(".") > right_pre.count(".")) - (left_pre.count(".") < right_pre.count("."))


@given(versions(), versions())
def test_keys_sort_as_the_specification_orders(left: str, right: str):
    left_key, right_key = Semver.parse(left).sort_key, Semver.parse(right).sort_key
    by_key = (left_key > right_key) - (left_key < right_key)
    expected = precedence(left, right)
    if expected:
        assert by_key == expected
    assert (left_key == right_key) == (left == right), "one key per version"


def test_the_example_of_the_specification():
    ascending = [
        "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
        "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0-0", "2.0.0",
    ]  # fmt: skip
    shuffled = random.Random(0).sample(ascending, len(ascending))
    assert sorted(shuffled, key=lambda v: Semver.parse(v).sort_key) == ascending
    assert sorted(shuffled, key=functools.cmp_to_key(precedence)) == ascending


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3\n", " 1.2.3", "1.2.3-a..b", "-1.2.3",
     "1.2.3.4", "1.2.3-ä", "\u0661.2.3", "latest", "1.2.3-" + "a" * 100],
)  # fmt: skip
def test_what_is_no_version(text: str):
    with pytest.raises(InvalidInput):
        Semver.parse(text)


@pytest.mark.parametrize("text", ["0.0.0", "1.2.3-0a", "1.2.3--", "1.2.3-a.b-c+00.x", f"{9**40}.0.0", "1.0.0+001"])
def test_what_is_a_version(text: str):
    assert Semver.parse(text).is_release == ("-" not in text)
