"""API keys: their form, their check, and the ring that keeps them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import NotFound, Unauthorized
from streamb.hashing import sha256_hex
from streamb.security.keys import KeyRecord, KeyRing, Principal, check, digest, new_key, parse
from streamb.store.plain import from_plain, to_plain
from tests.store.memory import MemoryRecords


def test_a_key_names_its_id_and_the_record_holds_no_secret():
    plaintext, record = new_key("ci", admin=True)
    assert re.fullmatch(r"sb_[0-9a-f]{12}_[0-9a-f]{64}", plaintext)
    assert parse(plaintext) == record.key_id
    assert plaintext.rpartition("_")[2] not in str(record)
    assert record.digest == digest(plaintext) == sha256_hex(plaintext.encode())


def test_keys_differ():
    assert len({new_key("ci")[0] for _ in range(100)}) == 100


def test_only_the_right_key_is_the_principal():
    plaintext, record = new_key("ci", admin=True)
    assert check(plaintext, record) == Principal("ci", record.key_id, admin=True)
    other, _ = new_key("ci")
    forged = f"sb_{record.key_id}_{other.rpartition('_')[2]}"
    assert check(forged, record) is None
    assert check(plaintext[:-1], record) is None
    assert check(plaintext.upper(), record) is None


@given(st.text())
def test_any_text_is_refused_quietly(text):
    _, record = new_key("ci")
    assert check(text, record) is None
    with pytest.raises(Unauthorized) as refusal:
        parse(text)
    assert not text or text not in refusal.value.message or len(text) < 40


def test_a_record_survives_its_json_form():
    _, record = new_key("ci")
    assert from_plain(KeyRecord, {**to_plain(record), "from_a_later_version": 1}) == record


class TestKeyRing:
    @pytest.fixture
    def clock(self):
        return ManualClock(start=1_000.0)

    @pytest.fixture
    def ring(self, clock):
        return KeyRing(MemoryRecords(clock), clock)

    def test_a_created_key_is_valid_until_it_is_revoked(self, ring):
        plaintext, record = ring.create("ci")
        assert ring.check(plaintext) == Principal("ci", record.key_id, admin=False)
        assert ring.digests() == {digest(plaintext)}
        assert record.created_at == "1970-01-01T00:16:40Z"
        ring.revoke(record.key_id)
        assert ring.check(plaintext) is None
        assert ring.digests() == frozenset()
        with pytest.raises(NotFound):
            ring.revoke(record.key_id)

    def test_a_key_from_elsewhere_can_be_adopted_and_again(self, ring):
        plaintext, _ = new_key("somewhere")
        adopted = ring.adopt(plaintext, "operator", admin=True)
        assert ring.check(plaintext) == Principal("operator", parse(plaintext), admin=True)
        assert ring.adopt(plaintext, "another name") == adopted
        assert len(ring.list()) == 1

    def test_what_is_no_key_is_never_valid(self, ring):
        ring.create("ci")
        for text in ("", "sb__", "Bearer x", "sb_000000000000_" + "0" * 64, "\ud800"):
            assert ring.check(text) is None
        with pytest.raises(Unauthorized):
            ring.adopt("secret", "operator")
