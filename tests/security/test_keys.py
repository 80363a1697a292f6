"""API keys: their form, their check, and the ring that keeps them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import InvalidInput, NotFound, Unauthorized
from streamb.hashing import sha256_hex
from streamb.security.directory import Directory
from streamb.security.keys import KeyRecord, KeyRing, Secret, check, digest, new_plaintext, parse
from streamb.security.permissions import ROLES, Permission, Role
from streamb.security.principals import Principal
from streamb.store.plain import from_plain, to_plain
from tests.store.memory import MemoryRecords

NOW = 1_000.0


def made() -> tuple[str, KeyRecord]:
    plaintext = new_plaintext()
    return plaintext, KeyRecord(parse(plaintext), "ci", (Secret(digest(plaintext), NOW),), created_at=NOW)


def test_a_key_names_its_id_and_the_record_holds_no_secret():
    plaintext, record = made()
    assert re.fullmatch(r"sb_[0-9a-f]{12}_[0-9a-f]{72}", plaintext)
    assert plaintext.rpartition("_")[2] not in str(record)
    assert record.secrets[0].digest == digest(plaintext) == sha256_hex(plaintext.encode())


def test_keys_differ():
    assert len({new_plaintext() for _ in range(100)}) == 100


def test_only_the_right_key_is_accepted():
    plaintext, record = made()
    assert check(plaintext, record, NOW)
    forged = f"sb_{record.key_id}_{new_plaintext().rpartition('_')[2]}"
    for wrong in (forged, plaintext[:-1], plaintext.upper(), plaintext + "\n"):
        assert not check(wrong, record, NOW)


@given(st.integers(3, 85), st.sampled_from("0123456789abcdef"))
def test_a_mistyped_key_is_told_from_a_revoked_one(place, letter):
    plaintext, _ = made()
    wrong = plaintext[:place] + letter + plaintext[place + 1 :]
    if wrong != plaintext:
        with pytest.raises(Unauthorized):
            parse(wrong)


def test_a_key_of_an_earlier_release_has_no_checksum():
    assert parse("sb_" + "a" * 12 + "_" + "0" * 64) == "a" * 12


@given(st.text())
def test_any_text_is_refused_quietly(text):
    _, record = made()
    assert not check(text, record, NOW)
    with pytest.raises(Unauthorized) as refusal:
        parse(text)
    assert not text or text not in refusal.value.message or len(text) < 40


def test_a_record_survives_its_json_form():
    _, record = made()
    assert from_plain(KeyRecord, {**to_plain(record), "from_a_later_version": 1}) == record


class TestKeyRing:
    @pytest.fixture
    def clock(self):
        return ManualClock(start=NOW)

    @pytest.fixture
    def records(self, clock):
        return MemoryRecords(clock)

    @pytest.fixture
    def directory(self, records, clock):
        directory = Directory(records, clock)
        directory.create("ci", "service", ["viewer"])
        return directory

    @pytest.fixture
    def changes(self):
        return []

    @pytest.fixture
    def ring(self, records, clock, directory, changes):
        return KeyRing(records, clock, directory, lambda: changes.append(1))

    def test_a_created_key_is_valid_until_it_is_revoked(self, ring, changes):
        plaintext, record = ring.create("ci")
        assert ring.check(plaintext) == Principal("ci", ROLES[Role.VIEWER], key_id=record.key_id)
        assert set(ring.allowed()) == {digest(plaintext)}
        ring.revoke(record.key_id)
        assert ring.check(plaintext) is None
        assert not ring.allowed()
        assert len(changes) == 2
        with pytest.raises(NotFound):
            ring.revoke(record.key_id)

    def test_a_key_from_elsewhere_can_be_adopted_and_again(self, ring):
        plaintext = new_plaintext()
        adopted = ring.adopt(plaintext, "ci")
        assert ring.check(plaintext).name == "ci"
        again = ring.adopt(plaintext, "another")
        assert (again.key_id, again.principal) == (adopted.key_id, "ci")
        assert len(ring.list()) == 1

    def test_what_is_no_key_is_never_valid(self, ring):
        ring.create("ci")
        assert ring.check("sb_000000000000_" + "0" * 64) is None
        for text in ("", "sb__", "Bearer x", "\ud800"):
            with pytest.raises(Unauthorized):
                ring.check(text)
        with pytest.raises(Unauthorized):
            ring.adopt("secret", "operator")

    def test_a_key_allows_what_both_its_owner_and_its_scopes_allow(self, ring, directory):
        plaintext, _ = ring.create("ci", scopes=["read", "deploy"])
        assert ring.check(plaintext).permissions == {Permission.READ}
        directory.set_roles("ci", ["operator"])
        assert ring.check(plaintext).permissions == {Permission.READ, Permission.DEPLOY}
        directory.remove("ci")
        assert ring.check(plaintext) is None
        assert not ring.allowed()

    def test_a_key_expires(self, ring, clock):
        plaintext, _ = ring.create("ci", expires_at=NOW + 10)
        clock.advance(9.9)
        assert ring.check(plaintext)
        clock.advance(0.1)
        assert ring.check(plaintext) is None

    def test_a_rotated_key_has_two_secrets_for_a_while(self, ring, clock):
        old, record = ring.create("ci")
        new, rotated = ring.rotate(record.key_id, grace_s=60)
        assert (rotated.key_id, len(rotated.secrets)) == (record.key_id, 2)
        assert ring.check(old) == ring.check(new)
        newest, _ = ring.rotate(record.key_id, grace_s=60)
        assert ring.check(old) is None, "never three"
        clock.advance(60)
        assert [ring.check(one) is not None for one in (old, new, newest)] == [False, False, True]
        last, _ = ring.rotate(record.key_id, grace_s=0)
        assert [ring.check(one) is not None for one in (newest, last)] == [False, True]

    def test_when_it_was_last_used_is_known_to_a_minute(self, ring, clock):
        plaintext, record = ring.create("ci")
        ring.check(plaintext)
        clock.advance(59)
        ring.used({record.key_id: clock.now(), "unknown": 5.0})
        assert ring.list()[0].used_at == NOW
        clock.advance(1)
        ring.used({record.key_id: clock.now()})
        assert ring.list()[0].used_at == NOW + 60

    @pytest.mark.parametrize(
        "wrong",
        [{"scopes": ["everything"]}, {"scopes": []}, {"models": []}, {"models": ["a b"]}, {"expires_at": NOW}],
    )
    def test_what_is_no_key_is_not_created(self, ring, wrong):
        with pytest.raises(InvalidInput):
            ring.create("ci", **wrong)
        with pytest.raises(NotFound):
            ring.create("nobody")
        assert ring.list() == ()
