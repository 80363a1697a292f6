"""Remembered answers: repeated for a day, forgotten afterwards, and never more than a day's worth of them kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from streamb.asking import ONCE, Once, Told, Verbs, change
from streamb.clock import ManualClock
from streamb.errors import Conflict, InvalidInput, NotFound, StorageFailed
from streamb.hashing import sha256_hex
from streamb.store import Idempotency, keep
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
    for number in range(4 * a_day):
        answers.remember("ab" + sha256_hex(str(number).encode())[2:], "f", 200, "{}")
        clock.advance(KEPT_S / a_day)
    kept = len(list(every_record(records, "idempotency")))
    assert a_day <= kept <= 1.2 * a_day


class Shelf:
    """Puts things into the store, and may be interrupted afterwards."""

    def __init__(self, records: RecordStore) -> None:
        self.records = records
        self.done: list[str] = []
        self.interrupted = False

    @change
    def put(self, name: str) -> tuple[str, Seen]:
        with self.records.batch():
            self.done.append(name)
            self.records.put("shelf", name, {})
            answer = keep((name, Seen(len(self.done), frozenset({"new"}))))
        if self.interrupted:
            raise KeyboardInterrupt
        return answer

    @change
    def look(self) -> int:
        return len(self.done)

    @change
    def refuse(self) -> None:
        with self.records.batch():
            keep(None)
            raise InvalidInput("no")


@dataclass(frozen=True)
class Seen:
    number: int
    tags: frozenset[str]


@pytest.fixture
def shelf(records: RecordStore) -> Shelf:
    return Shelf(records)


@pytest.fixture
def ask(clock: ManualClock, records: RecordStore, shelf: Shelf) -> Callable[..., object]:
    def ask(method: Callable[..., object], *args: object, once: Once | None = None) -> object:
        answers = Idempotency(records, clock)  # another Controller each time
        verbs = Verbs(shelf, answers, keeper=answers)
        answer = verbs.run(method.__qualname__, args, {} if once is None else {ONCE: once})
        return answer.answer if isinstance(answer, Told) else answer

    return ask


ORDER = Once("k" * 64, "f")


def test_a_change_whose_answer_was_lost_is_told_again_in_its_own_types(ask, shelf):
    shelf.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        ask(Shelf.put, "cup", once=ORDER)
    shelf.interrupted = False
    assert ask(Shelf.put, "cup", once=ORDER) == ("cup", Seen(1, frozenset({"new"})))
    assert shelf.done == ["cup"]
    assert ask(Shelf.put, "cup") == ("cup", Seen(2, frozenset({"new"})))  # without a name it is another change


def test_an_answer_that_the_change_does_not_keep_is_kept_after_it(ask, shelf):
    assert ask(Shelf.look, once=ORDER) == 0
    shelf.done.append("cup")
    assert ask(Shelf.look, once=ORDER) == 0


def test_several_changes_of_one_request_are_kept_side_by_side(ask, shelf):
    ask(Shelf.put, "cup", once=ORDER)
    assert ask(Shelf.look, once=ORDER) == 1
    shelf.done.append("plate")
    assert ask(Shelf.look, once=ORDER) == 1
    assert ask(Shelf.put, "cup", once=ORDER) == ("cup", Seen(1, frozenset({"new"})))


def test_what_is_undone_is_not_kept(ask, records):
    for _ in range(2):
        with pytest.raises(InvalidInput):
            ask(Shelf.refuse, once=ORDER)
    assert records.list("idempotency").items == ()


def test_the_key_of_another_request_is_refused(ask, shelf):
    ask(Shelf.put, "cup", once=ORDER)
    with pytest.raises(Conflict, match="different request"):
        ask(Shelf.put, "plate", once=Once(ORDER.key, "other"))
    assert shelf.done == ["cup"]


def test_a_day_later_the_key_is_free(ask, shelf, clock):
    ask(Shelf.put, "cup", once=ORDER)
    clock.advance(KEPT_S + 1)
    ask(Shelf.put, "plate", once=Once(ORDER.key, "other"))
    assert shelf.done == ["cup", "plate"]
    clock.advance(KEPT_S - 1)
    with pytest.raises(Conflict):
        ask(Shelf.put, "spoon", once=ORDER)


def test_of_two_at_the_same_time_one_is_refused(clock: ManualClock, records: RecordStore):
    answers = Idempotency(records, clock)
    began, go = threading.Event(), threading.Event()

    class Slow:
        @change
        def act(self) -> int:
            began.set()
            assert go.wait(60)
            return 1

    verbs = Verbs(Slow(), keeper=answers)
    name = Slow.act.__qualname__
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(verbs.run, name, (), {ONCE: ORDER})
        assert began.wait(60)
        with pytest.raises(Conflict, match="being worked on"):
            verbs.run(name, (), {ONCE: ORDER})
        go.set()
        assert first.result(60) == 1
    assert verbs.run(name, (), {ONCE: ORDER}) == Told(1)


def test_a_store_that_fails_after_the_change_does_not_make_it_fail(clock: ManualClock, records: RecordStore, caplog):
    class Full(Idempotency):
        def keep(self, once: Once, name: str, answer: object) -> None:
            raise StorageFailed("the disk is full")

    shelf = Shelf(records)
    verbs = Verbs(shelf, keeper=Full(records, clock))
    assert verbs.run("Shelf.look", (), {ONCE: ORDER}) == 0
    assert "its answer cannot be kept: the disk is full" in caplog.text


def test_where_nothing_keeps_answers_a_named_change_is_refused(shelf):
    with pytest.raises(NotFound, match="nothing keeps its answer"):
        Verbs(shelf).run("Shelf.look", (), {ONCE: ORDER})
