from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import BadRequest
from streamb.store.cursor import decode_cursor, encode_cursor

places = st.one_of(
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=200), st.integers(0, 2**63 - 1)
)


@given(places)
def test_a_cursor_comes_back_as_its_place(place: str | int):
    cursor = encode_cursor("list", place)
    assert decode_cursor("list", cursor, type(place)) == place
    assert cursor.replace("-", "").replace("_", "").isalnum(), "safe in a URL without quoting"


@given(places)
def test_a_cursor_belongs_to_one_list_and_one_kind_of_place(place: str | int):
    cursor = encode_cursor("list", place)
    with pytest.raises(BadRequest):
        decode_cursor("another", cursor, type(place))
    with pytest.raises(BadRequest):
        decode_cursor("list", cursor, int if isinstance(place, str) else str)


@settings(max_examples=50)
@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_any_other_text_is_a_bad_request(text: str):
    with pytest.raises(BadRequest):
        decode_cursor("list", text, str)


@pytest.mark.parametrize("place", ["a\x00b", -1, 2**63])
def test_a_forged_place_that_a_database_could_not_take_is_a_bad_request(place: str | int):
    with pytest.raises(BadRequest):
        decode_cursor("list", encode_cursor("list", place), type(place))
