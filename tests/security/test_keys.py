"""API keys: their form, their check, and the ring that keeps them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.asking import ONCE, Once, Verbs, change
from streamb.clock import ManualClock
from streamb.errors import Conflict, InvalidInput, NotFound, StaleRevision, Unauthorized
from streamb.hashing import sha256_hex
from streamb.security.directory import Directory
from streamb.security.keys import KeyRecord, KeyRing, Secret, check, digest, new_plaintext, parse
from streamb.security.permissions import ROLES, Permission, Role
from streamb.security.principals import Kind, Principal, PrincipalRecord
from streamb.store import Idempotency, keep
from streamb.store.plain import from_plain, to_plain
from tests.store.memory import MemoryRecords, memory_database

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

    def test_when_it_was_last_used_is_known_and_stored_to_a_minute(self, ring, clock, records, directory):
        plaintext, record = ring.create("ci")
        assert ring.get(record.key_id).used_at is None
        ring.check(plaintext)
        before = records.get("api-keys", record.key_id).revision
        ring.write_uses()
        clock.advance(59)
        ring.used({record.key_id: clock.now(), "unknown": 5.0})
        ring.write_uses()
        again = KeyRing(records, clock, directory)
        assert (ring.list()[0].used_at, again.list()[0].used_at) == (NOW + 59, NOW)
        clock.advance(1)
        ring.used({record.key_id: clock.now(), record.key_id: NOW})
        ring.used({record.key_id: clock.now()})
        ring.write_uses()
        assert again.get(record.key_id).used_at == NOW + 60
        assert records.get("api-key-uses", "unknown") is None
        assert records.get("api-keys", record.key_id).revision == before, "no use rewrites a key"

    def test_a_late_report_of_a_use_does_not_bring_a_revoked_key_back(self, ring, clock, records):
        plaintext, record = ring.create("ci")
        ring.check(plaintext)
        ring.write_uses()
        ring.revoke(record.key_id)
        ring.used({record.key_id: clock.now()})
        ring.write_uses()
        assert ring.check(plaintext) is None
        assert ring.list() == ()
        assert not records.list("api-key-uses").items
        assert len(ring._uses) == 0

    def test_who_gets_the_name_of_one_who_left_has_none_of_the_keys(self, ring, directory):
        plaintext, _ = ring.create("ci")
        directory.create("ci2", "service", ["viewer"])
        other, _ = ring.create("ci2")
        directory.remove("ci")
        directory.create("ci", "person", ["admin"])
        assert ring.check(plaintext) is None
        assert ring.check(other).name == "ci2"
        assert [one.principal for one in ring.list()] == ["ci2"]

    def test_the_key_in_the_file_is_replaced_there_when_it_is_rotated(self, records, clock, directory, tmp_path):
        file = tmp_path / "api-key"
        ring = KeyRing(records, clock, directory, file=file)
        old = new_plaintext()
        key_id = ring.adopt(old, "ci").key_id
        with pytest.raises(Conflict, match="rotate it instead"):
            ring.revoke(key_id)
        new, _ = ring.rotate(key_id, grace_s=0)
        assert file.read_text() == f"{new}\n"
        assert file.stat().st_mode & 0o777 == 0o600
        assert [ring.check(one) is not None for one in (old, new)] == [False, True]
        assert ring.adopt(new, "ci").key_id == key_id

    def test_a_new_key_in_the_file_ends_the_one_before_and_no_other(self, ring):
        first, second = new_plaintext(), new_plaintext()
        own, _ = ring.create("ci")
        ring.adopt(first, "ci")
        ring.adopt(second, "ci")
        assert [ring.check(one) is not None for one in (first, second, own)] == [False, True, True]

    def test_a_key_changes_only_from_what_was_read(self, ring, records):
        """Of two changes at once one is refused: a rotation does not bring a revoked key back."""
        _, record = ring.create("ci")
        put = records.put

        def meanwhile(*args, **kwargs):
            records.put = put
            records.delete("api-keys", record.key_id)
            return put(*args, **kwargs)

        records.put = meanwhile
        with pytest.raises(StaleRevision):
            ring.rotate(record.key_id)
        assert records.get("api-keys", record.key_id).revision == 1, "all of the rotation is undone"

    def test_keys_that_are_due_are_warned_about_once_a_day(self, ring, clock, caplog):
        journal = memory_database(clock).journal
        _, record = ring.create("ci")
        assert ring.warn_due(journal, 30) == ()
        clock.advance(30 * 86_400)
        assert ring.warn_due(journal, 30) == (record.key_id,)
        clock.advance(86_399)
        assert ring.warn_due(journal, 30) == ()
        clock.advance(1)
        assert ring.warn_due(journal, 30) == (record.key_id,)
        assert [one.body["event"] for one in journal.read("keys").items] == ["rotation_due"] * 2
        assert caplog.text.count(record.key_id) == 2
        ring.rotate(record.key_id)
        clock.advance(86_400)
        assert ring.warn_due(journal, 30) == ()

    def test_expired_keys_are_forgotten_after_a_month(self, ring, clock, directory):
        ring.create("ci", expires_at=NOW + 1)
        kept, _ = ring.create("ci")
        clock.advance(30 * 86_400)
        assert ring.sweep() == 0
        clock.advance(2)
        assert (ring.sweep(), len(ring.list()), ring.check(kept) is not None) == (1, 1, True)
        ring.issue(PrincipalRecord("job:1", Kind.JOB), ["job"], ["*"], clock.now() + 1)
        clock.advance(31 * 86_400)
        assert (ring.sweep(), directory.find("job:1"), directory.find("ci") is not None) == (1, None, True)

    def test_names_that_differ_in_case_only_are_one_name(self, directory):
        with pytest.raises(Conflict, match="'ci'"):
            directory.create("CI", "person", ["admin"])
        with pytest.raises(InvalidInput, match="lower case"):
            directory.create("Ada@example.com", "person", ["admin"])

    @pytest.mark.parametrize(
        "wrong",
        [{"scopes": ["everything"]}, {"scopes": []}, {"models": []}, {"models": ["a b"]}, {"models": ["a"] * 33}]
        + [{"expires_at": at} for at in (NOW, float("nan"), float("inf"))],
    )
    def test_what_is_no_key_is_not_created(self, ring, wrong):
        with pytest.raises(InvalidInput):
            ring.create("ci", **wrong)
        with pytest.raises(NotFound):
            ring.create("nobody")
        for grace_s in (-1, float("nan"), 91 * 86_400):
            with pytest.raises(InvalidInput):
                ring.rotate("0" * 12, grace_s=grace_s)
        assert ring.list() == ()


def test_the_key_of_a_job_ends_with_it_and_keeps_no_answer_of_its_own():
    clock, records = ManualClock(), MemoryRecords(ManualClock())
    ring = KeyRing(records, clock, Directory(records, clock))
    answers = Idempotency(records, clock)

    class Starter:
        @change
        def start(self) -> str:
            self.key = ring.issue(PrincipalRecord("job:1", Kind.JOB), ["job"], ["energy-*"], clock.now() + 60)
            return keep("started")

    starter = Starter()
    verbs = Verbs(starter, keeper=answers)
    assert verbs.run(Starter.start.__qualname__, (), {ONCE: Once("k", "f")}) == "started"
    job = ring.check(starter.key)
    assert (job.name, job.kind, job.permissions, job.models) == ("job:1", Kind.JOB, {Permission.JOB}, ("energy-*",))
    clock.advance(61)
    assert ring.check(starter.key) is None
    ring.withdraw("job:1")
    ring.withdraw("job:1")
    assert ring.list() == ()
