"""Changes of keys and principals: told again without their secret, and published only when they are written."""

from __future__ import annotations

import pytest

from streamb.asking import ONCE, Once, Verbs
from streamb.clock import ManualClock
from streamb.security.directory import Directory
from streamb.security.keys import KeyRecord, KeyRing
from streamb.store import Database, Idempotency, every_record
from tests.store.memory import memory_database

CHANGES = [
    (Directory.create, ("eve", "person", ["viewer"])),
    (Directory.set_roles, ("ada", ["viewer"])),
    (Directory.remove, ("ada",)),
    (KeyRing.create, ("ada",)),
    (KeyRing.rotate, ("KEY",)),
    (KeyRing.revoke, ("KEY",)),
]


class Keys:
    def __init__(self) -> None:
        clock = ManualClock(start=1_700_000_000.0)
        self.database: Database = memory_database(clock)
        self.published = 0
        self.directory = Directory(self.database.records, clock, self._changed)
        self.ring = KeyRing(self.database.records, clock, self.directory, self._changed)
        self.directory.create("ada", "person", ["admin"])
        self.key_id = self.ring.create("ada")[1].key_id
        self.published = 0
        answers = Idempotency(self.database.records, clock)
        self.verbs = Verbs(self.directory, self.ring, keeper=answers)

    def _changed(self) -> None:
        assert not self.database.records._transaction._depth, "it is not written yet"  # type: ignore[attr-defined]
        self.published += 1

    def ask(self, verb, args, **once):
        given = tuple(self.key_id if one == "KEY" else one for one in args)
        return self.verbs.run(verb.__qualname__, given, once)

    def stored(self) -> list[str]:
        collections = ("api-keys", "principals")
        return [str(one.body) for name in collections for one in every_record(self.database.records, name)]


@pytest.mark.parametrize(("verb", "args"), CHANGES, ids=lambda one: getattr(one, "__qualname__", ""))
def test_each_is_made_once_published_when_written_and_told_without_a_secret(verb, args):
    keys = Keys()
    once = {ONCE: Once("k" * 64, "f")}
    first = keys.ask(verb, args, **once)
    after = keys.stored()
    again = keys.ask(verb, args, **once).answer
    assert keys.stored() == after
    assert keys.published == 1
    if isinstance(first, tuple):
        plaintext, record = first
        assert isinstance(record, KeyRecord)
        assert (plaintext != "", again) == (True, ("", record))
        everything = [str(one.body) for one in every_record(keys.database.records, "idempotency")] + after
        assert not any(plaintext in text for text in everything)
    else:
        assert again == first
