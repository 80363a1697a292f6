import base64
import hashlib
import hmac
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.models.outputs import predictions_of
from streamb.serving.tokens import MARK, MAX_ROWS, TokenSigner, new_key, pack, unpack

KEY = bytes(range(32))
VERSIONS = st.from_regex(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(-[a-z0-9.]{1,20})?", fullmatch=True)
TASKS = st.sampled_from(["classification", "regression", "other"])
ROWS = st.integers(1, MAX_ROWS)
ARRAYS = st.one_of(
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=MAX_ROWS).map(np.array),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=MAX_ROWS).map(
        lambda values: np.array(values, dtype=np.int64)
    ),
    st.lists(st.booleans(), min_size=1, max_size=MAX_ROWS).map(np.array),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=MAX_ROWS).map(
        lambda values: np.array(values, dtype=object)
    ),
)


def sign(signer=None, model="m", version="1.0.0", unit="", at=1_790_000_000.0, packed=b""):
    return (signer or TokenSigner(KEY)).sign(model, version, "classification", unit, at, packed)


@given(st.text(max_size=30), VERSIONS, TASKS, st.text(max_size=30), st.integers(0, 2**32 - 1), ARRAYS)
def test_a_token_says_what_it_was_told(model, version, task, unit, at, predictions):
    token = TokenSigner(KEY).sign(model, version, task, unit, at + 0.5, pack(predictions))
    record = TokenSigner(KEY).read(model, token)
    assert record is not None
    assert (record.version, record.task, record.at) == (version, task, at)
    assert unpack(record.packed) == predictions.tolist()
    assert (record.unit == 0) == (unit == "")
    assert token.isascii()
    assert token.startswith(MARK)


@given(ARRAYS, st.data())
def test_any_flipped_bit_is_refused(predictions, data):
    signer = TokenSigner(KEY)
    token = bytearray(sign(signer, packed=pack(predictions)).encode())
    token[data.draw(st.integers(0, len(token) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert signer.read("m", token.decode("latin-1")) is None


@given(st.data())
def test_any_flipped_bit_under_the_writing_is_refused(data):
    signer = TokenSigner(KEY)
    token = sign(signer)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert signer.read("m", base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


@given(st.text(max_size=100), st.binary(max_size=120))
def test_anything_else_is_none(text, raw):
    signer = TokenSigner(KEY)
    for token in (text, MARK + text, MARK + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()):
        assert signer.read("m", token) is None


def test_every_cut_or_longer_token_is_refused():
    signer = TokenSigner(KEY)
    token = sign(signer, packed=pack(np.array(["setosa"])))
    assert signer.read("m", token) is not None
    changed = [token[:end] for end in range(len(token))]
    changed += [token + more for more in ("A", "=", "==", " ", "\n", "AAAA", "A" * 5000)]
    assert [one for one in changed if signer.read("m", one) is not None] == []


def test_only_for_its_model_and_under_its_key():
    token = sign()
    assert TokenSigner(KEY).read("other", token) is None
    assert TokenSigner(new_key()).read("m", token) is None


def test_model_and_version_cannot_trade_characters():
    assert TokenSigner(KEY).read("m1", sign(model="m", version="11.0.0")) is None


def test_two_answers_that_are_alike_have_two_tokens():
    one, other = TokenSigner(KEY), TokenSigner(KEY)
    assert len({sign(signer) for signer in (one, other) for _ in range(100)}) == 200


def test_the_unit_is_a_keyed_hash():
    def unit_of(name, key=KEY):
        signer = TokenSigner(key)
        return signer.read("m", sign(signer, unit=name)).unit

    assert unit_of("ann") == unit_of("ann") != unit_of("bob")
    assert unit_of("ann") != unit_of("ann", new_key())


def test_the_tag_is_an_hmac():
    token = sign(packed=b"\x0b\x01abcdefgh")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    signing = hmac.digest(KEY, b"streamb request token: tag", "sha256")
    assert raw[-16:] == hmac.new(signing, b"\0\x01m" + raw[:-16], hashlib.sha256).digest()[:16]


def test_many_versions_do_not_pile_up():
    signer = TokenSigner(KEY)
    for number in range(5000):
        sign(signer, version=f"1.0.{number}")
    assert len(signer._heads) <= 4096


def test_a_token_of_one_row_fits_a_header():
    assert len(sign(unit="user-1", packed=pack(np.array([1.5])))) < 80
    assert len(sign(version="1" * 100, packed=pack(np.zeros(MAX_ROWS)))) < 400


def test_keys():
    assert len(new_key()) == 32
    assert new_key() != new_key()


@pytest.mark.parametrize(
    ("predictions", "values"),
    [
        (np.array([1, 2], dtype=np.int8), [1, 2]),
        (np.array([1.5], dtype=np.float32), [1.5]),
        (np.array([1.5, 2.5], dtype=">f8"), [1.5, 2.5]),
        (np.array([[1.5], [2.5]]), [1.5, 2.5]),
        (np.array(["a", "ß"]), ["a", "ß"]),
        (np.array([1, 2], dtype=object), [1, 2]),
        (np.array([2**64 - 1], dtype=np.uint64), [2**64 - 1]),
        (np.arange(10.0)[::3], [0.0, 3.0, 6.0, 9.0]),
        (np.zeros(16), [0.0] * 16),
    ],
)
def test_predictions_that_are_carried(predictions, values):
    assert unpack(pack(predictions)) == values


@pytest.mark.parametrize(
    "predictions",
    [
        np.zeros(17),
        np.zeros((2, 3)),
        np.array(["x" * 254]),
        np.array(["x" * 100] * 3),
        np.array(["x" * 300]),
        np.array(["a", 1], dtype=object),
        np.array([None], dtype=object),
        np.array(["\ud800"], dtype=object),
        np.array([2**70], dtype=object),
        np.array([1.5], dtype=np.longdouble),
        np.array([{"a": 1}], dtype=object),
    ],
)
def test_predictions_that_are_not(predictions):
    assert pack(predictions) == b""
    assert unpack(b"") is None


@pytest.mark.parametrize("predictions", [[{"a": 1}], [[1, 2], [3]], [None, 1], [["a"]], np.zeros((2, 3, 2))])
def test_a_token_carries_no_structured_predictions(predictions):
    assert unpack(pack(predictions_of(predictions, len(predictions)))) in (None, ["a"])


def test_a_token_says_who_asked_and_whether_the_answer_is_evidence():
    signer = TokenSigner(KEY)
    for caller, aside, packed in product(("", "ada", "bob"), (False, True), (b"", pack(np.array([1.5])))):
        token = signer.sign("m", "1.0.0", "regression", "u", 1e9, packed, caller=caller, aside=aside)
        record = signer.read("m", token)
        assert (record.caller, record.aside, record.packed) == (signer.caller(caller), aside, packed)
        assert (record.task, record.version) == ("regression", "1.0.0")
        assert "ada" not in token
    assert len({signer.caller(name) for name in ("", "ada", "bob")}) == 3
    assert TokenSigner(KEY).caller("ada") == signer.caller("ada"), "the same at every gateway"
