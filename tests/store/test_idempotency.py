"""Remembered answers: repeated for a day, forgotten afterwards, and never more than a day's worth of them kept."""

from __future__ import annotations

import pytest

from streamb.clock import ManualClock
from streamb.hashing import sha256_hex
from streamb.store import Idempotency
from streamb.store.idempotency import KEPT_S
from streamb.store.records import RecordStore, every_record
from tests.store.memory import memory_database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_700_000_000.0)


@pytest.fixture
def records(clock: ManualClock) -> RecordStore:
    return memory_database(clock).records


def test_an_answer_is_recalled_for_a_day_and_its_key_is_free_afterwards(clock: ManualClock, records: RecordStore):
    answers = Idempotency(records, clock)
    answers.remember("k" * 64, "first", 201, "{}")
    clock.advance(KEPT_S)
    recalled = answers.recall("k" * 64)
    assert recalled is not None
    assert (recalled.fingerprint, recalled.status, recalled.body) == ("first", 201, "{}")
    clock.advance(1)
    assert answers.recall("k" * 64) is None
    answers.remember("k" * 64, "second", 200, "[]")
    clock.advance(KEPT_S)
    recalled = answers.recall("k" * 64)
    assert recalled is not None
    assert recalled.fingerprint == "second"


def test_many_changes_a_day_do_not_pile_up(clock: ManualClock, records: RecordStore):
    """One 256th of what 150,000 changes a day leave: keys are digests, so the other parts look the same."""
    answers, a_day = Idempotency(records, clock), 600
    for change in range(4 * a_day):
        answers.remember("ab" + sha256_hex(str(change).encode())[2:], "f", 200, "{}")
        clock.advance(KEPT_S / a_day)
    kept = len(list(every_record(records, "idempotency")))
    assert a_day <= kept <= 1.2 * a_day
