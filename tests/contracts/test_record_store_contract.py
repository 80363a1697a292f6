"""What every record store and the journal beside it must do: on SQLite, on PostgreSQL, and in dictionaries."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamb.clock import ManualClock
from streamb.errors import BadRequest, InvalidInput, StaleRevision, StorageFailed
from streamb.store.database import Database, memory_database, open_database
from streamb.store.records import MAX_LIMIT, Record, RecordStore, every_record
from tests.store import memory


class ContractFailure(Exception):
    """Raised by the tests inside a batch."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


@pytest.fixture(params=["dictionaries", "memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Database]:
    in_memory = {"dictionaries": memory.memory_database, "memory": memory_database}
    if request.param in in_memory:
        opened = in_memory[request.param](clock)
    else:
        fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
        opened = open_database(request.getfixturevalue(fixture), clock)
    yield opened
    opened.close()


@pytest.fixture
def records(database: Database) -> RecordStore:
    return database.records


def keys(records: RecordStore, **options) -> list[str]:
    return [record.key for record in records.list("c", **options).items]


def walk(records: RecordStore, *, limit: int, **options) -> Iterator[Record]:
    cursor = None
    while True:
        page = records.list("c", limit=limit, cursor=cursor, **options)
        assert len(page.items) <= limit
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


class TestRecords:
    def test_what_is_put_is_got(self, records: RecordStore):
        body = {"text": "naïve ☃ \x00 \U0001f600", "n": 2**53 + 1, "x": 0.1, "list": [1, None, True], "deep": {"a": {}}}
        put = records.put("c", "k", body)
        assert put == records.get("c", "k") == Record("c", "k", body, 1, 1000.0, 1000.0)

    def test_a_missing_record_is_none(self, records: RecordStore):
        assert records.get("c", "k") is None

    def test_put_replaces_whole_and_counts_revisions(self, records: RecordStore, clock: ManualClock):
        records.put("c", "k", {"a": 1, "b": 2})
        clock.advance(5)
        again = records.put("c", "k", {"a": 3})
        assert again == records.get("c", "k") == Record("c", "k", {"a": 3}, 2, 1000.0, 1005.0)

    def test_a_body_is_a_private_copy(self, records: RecordStore):
        body = {"list": [1]}
        put = records.put("c", "k", body)
        body["list"].append(2)
        put.body["list"].append(3)
        got = records.get("c", "k")
        assert got is not None
        assert got.body == {"list": [1]}

    @pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: "number as key"}, 2**70, "\ud800"])
    def test_a_value_that_would_not_come_back_is_refused(self, records: RecordStore, value: object):
        with pytest.raises(InvalidInput):
            records.put("c", "k", {"value": value, "nothing": None})
        assert records.get("c", "k") is None

    @pytest.mark.parametrize(
        ("collection", "key"), [("", "k"), ("c", ""), ("c", "a\x00b"), ("c", "\ud800"), ("c", "x" * 513)]
    )
    def test_a_name_that_a_database_could_not_hold_is_refused(self, records: RecordStore, collection: str, key: str):
        with pytest.raises(InvalidInput):
            records.put(collection, key, {})

    def test_a_prefix_and_a_stream_are_checked_too(self, database: Database):
        for call in (
            lambda: database.records.list("c", prefix="a\x00"),
            lambda: database.records.list("", prefix="a"),
            lambda: database.journal.read("\ud800"),
            lambda: database.journal.append("", {}),
        ):
            with pytest.raises(InvalidInput):
                call()

    def test_the_longest_key_of_the_widest_characters_fits(self, records: RecordStore):
        key = "".join(chr(0x1F300 + i % 700) for i in range(512))
        records.put("c" * 100, key, {})
        assert records.get("c" * 100, key) is not None

    def test_expected_zero_creates_once(self, records: RecordStore):
        records.put("c", "k", {"a": 1}, expected=0)
        with pytest.raises(StaleRevision) as caught:
            records.put("c", "k", {"a": 2}, expected=0)
        assert caught.value.details["revision"] == 1
        got = records.get("c", "k")
        assert got is not None
        assert got.body == {"a": 1}

    def test_expected_revision_must_hold(self, records: RecordStore):
        records.put("c", "k", {"a": 1})
        assert records.put("c", "k", {"a": 2}, expected=1).revision == 2
        with pytest.raises(StaleRevision) as caught:
            records.put("c", "k", {"a": 3}, expected=1)
        assert caught.value.details["revision"] == 2
        with pytest.raises(StaleRevision):
            records.put("c", "missing", {}, expected=1)

    def test_delete_says_whether_there_was_one(self, records: RecordStore):
        records.put("c", "k", {})
        assert records.delete("c", "k") is True
        assert records.delete("c", "k") is False
        assert records.get("c", "k") is None

    def test_collections_are_apart(self, records: RecordStore):
        records.put("c", "k", {"in": "c"})
        records.put("d", "k", {"in": "d"})
        records.delete("c", "k")
        got = records.get("d", "k")
        assert got is not None
        assert got.body == {"in": "d"}

    def test_of_many_writers_with_one_revision_one_wins(self, records: RecordStore):
        records.put("c", "k", {"by": -1})
        barrier = threading.Barrier(8)

        def write(number: int) -> bool:
            barrier.wait()
            try:
                records.put("c", "k", {"by": number}, expected=1)
            except StaleRevision:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = [number for number, success in enumerate(pool.map(write, range(8))) if success]
        got = records.get("c", "k")
        assert got is not None
        assert [got.body["by"]] == won

    def test_of_many_creators_one_wins(self, records: RecordStore):
        barrier = threading.Barrier(8)

        def create(number: int) -> bool:
            barrier.wait()
            try:
                records.put("c", "k", {"by": number}, expected=0)
            except StaleRevision:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(create, range(8))) == 1

    def test_no_increment_is_lost_between_threads(self, records: RecordStore):
        records.put("c", "n", {"n": 0})

        def increment(_: int) -> None:
            while True:
                got = records.get("c", "n")
                assert got is not None
                try:
                    records.put("c", "n", {"n": got.body["n"] + 1}, expected=got.revision)
                except StaleRevision:
                    continue
                return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increment, range(40)))
        got = records.get("c", "n")
        assert got is not None
        assert (got.body["n"], got.revision) == (40, 41)

    def test_a_closed_store_says_so(self, database: Database):
        database.close()
        database.close()
        with pytest.raises(StorageFailed, match="closed"):
            database.records.get("c", "k")


class TestListing:
    def test_by_key_in_code_points(self, records: RecordStore):
        unsorted = ["b", "B", "ä", "a", "_", "\U0001f600", "\uffee", "a-", "a.", "aa", "Z", "~"]
        for key in unsorted:
            records.put("c", key, {})
        assert keys(records) == sorted(unsorted)
        assert keys(records, reverse=True) == sorted(unsorted, reverse=True)

    def test_newest_first_is_by_creation_even_when_time_stands_still(self, records: RecordStore):
        for key in ("b", "c", "a"):
            records.put("c", key, {})
        records.put("c", "b", {"changed": True})
        assert keys(records, newest_first=True) == ["a", "c", "b"]

    def test_a_record_made_anew_is_new(self, records: RecordStore):
        for key in ("a", "b"):
            records.put("c", key, {})
        records.delete("c", "a")
        records.put("c", "a", {})
        assert keys(records, newest_first=True) == ["a", "b"]

    @pytest.mark.parametrize("order", [{}, {"reverse": True}, {"newest_first": True}])
    def test_prefix_is_literal(self, records: RecordStore, order: dict[str, bool]):
        for key in ("a", "a%", "a%b", "a_", "ab", "b", "a\U0010ffff", "a\ud7ff", "A%"):
            records.put("c", key, {})
        assert sorted(keys(records, prefix="a%", **order)) == ["a%", "a%b"]
        assert sorted(keys(records, prefix="a\U0010ffff", **order)) == ["a\U0010ffff"]
        assert sorted(keys(records, prefix="a\ud7ff", **order)) == ["a\ud7ff"]
        assert keys(records, prefix="zzz", **order) == []

    @pytest.mark.parametrize("order", [{}, {"reverse": True}, {"newest_first": True}])
    @pytest.mark.parametrize("count", [0, 1, 6, 7])
    def test_pages_together_are_the_list(self, records: RecordStore, order: dict[str, bool], count: int):
        for number in range(count):
            records.put("c", f"k{number}", {})
        whole = keys(records, **order)
        assert [record.key for record in walk(records, limit=3, **order)] == whole
        assert len(whole) == count

    def test_a_full_last_page_has_no_cursor(self, records: RecordStore):
        for number in range(3):
            records.put("c", f"k{number}", {})
        assert records.list("c", limit=3).next_cursor is None
        assert records.list("c", limit=2).next_cursor is not None

    @pytest.mark.parametrize("order", [{}, {"reverse": True}, {"newest_first": True}])
    def test_pages_are_stable_while_others_write(self, records: RecordStore, order: dict[str, bool]):
        original = [f"k{number:02}" for number in range(20)]
        for key in original:
            records.put("c", key, {})
        seen = []
        for step, record in enumerate(walk(records, limit=4, **order)):
            seen.append(record.key)
            if step >= 12:
                continue
            records.put("c", f"a{step:02}", {})
            records.put("c", f"k{step:02}-between", {})
            records.put("c", f"z{step:02}", {})
            records.put("c", record.key, {"changed": True})
        walked = [key for key in seen if key in original]
        assert sorted(walked) == original
        assert len(seen) == len(set(seen))

    def test_pages_go_on_when_the_last_one_was_deleted(self, records: RecordStore):
        for number in range(6):
            records.put("c", f"k{number}", {})
        page = records.list("c", limit=3)
        records.delete("c", "k2")
        rest = records.list("c", limit=3, cursor=page.next_cursor)
        assert [record.key for record in rest.items] == ["k3", "k4", "k5"]

    @pytest.mark.parametrize("cursor", ["", "x", "AAAA", "☃", "bnVsbA", "\ud800", "W10", "a" * 5000])
    def test_a_broken_cursor_is_a_bad_request(self, records: RecordStore, cursor: str):
        for options in ({}, {"newest_first": True}):
            with pytest.raises(BadRequest):
                records.list("c", cursor=cursor, **options)

    def test_a_cursor_of_another_list_is_a_bad_request(self, records: RecordStore):
        for number in range(3):
            records.put("c", f"k{number}", {})
        cursor = records.list("c", limit=1).next_cursor
        for collection, options in (
            ("d", {}),
            ("c", {"prefix": "k"}),
            ("c", {"newest_first": True}),
            ("c", {"reverse": True}),
        ):
            with pytest.raises(BadRequest):
                records.list(collection, cursor=cursor, **options)

    @pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
    def test_a_limit_out_of_bounds_is_refused(self, records: RecordStore, limit: int):
        with pytest.raises(InvalidInput):
            records.list("c", limit=limit)

    def test_two_orders_at_once_are_refused(self, records: RecordStore):
        with pytest.raises(InvalidInput):
            records.list("c", newest_first=True, reverse=True)

    def test_every_record_passes_page_ends(self, records: RecordStore):
        with records.batch():
            for number in range(MAX_LIMIT + 5):
                records.put("c", f"k{number:05}", {})
        assert [record.key for record in every_record(records, "c", prefix="k")] == [
            f"k{n:05}" for n in range(MAX_LIMIT + 5)
        ]


class TestBatch:
    def test_all(self, records: RecordStore):
        with records.batch():
            records.put("c", "a", {})
            records.put("c", "b", {})
            assert keys(records) == ["a", "b"]
        assert keys(records) == ["a", "b"]

    def test_or_nothing(self, database: Database):
        records = database.records
        records.put("c", "old", {"v": 1})
        records.put("c", "gone", {"v": 1})
        database.journal.append("s", {"n": 1})

        def fail_late() -> None:
            with records.batch():
                records.put("c", "new", {})
                records.put("c", "new", {"again": True})
                records.put("c", "old", {"v": 2})
                records.delete("c", "gone")
                database.journal.append("s", {"n": 2})
                database.journal.append("other", {"n": 1})
                raise ContractFailure

        with pytest.raises(ContractFailure):
            fail_late()
        assert {record.key: record.body for record in records.list("c").items} == {"old": {"v": 1}, "gone": {"v": 1}}
        assert [entry.body for entry in database.journal.read("s").items] == [{"n": 1}]
        assert database.journal.read("other").items == ()
        assert database.journal.append("s", {"n": 2}).sequence == 2

    def test_a_lost_swap_undoes_the_batch(self, records: RecordStore):
        records.put("c", "a", {})

        def lose() -> None:
            with records.batch():
                records.put("c", "b", {})
                records.put("c", "a", {}, expected=7)

        with pytest.raises(StaleRevision):
            lose()
        assert keys(records) == ["a"]

    def test_a_lost_swap_that_is_handled_does_not(self, records: RecordStore):
        records.put("c", "a", {})
        with records.batch():
            with pytest.raises(StaleRevision):
                records.put("c", "a", {}, expected=0)
            records.put("c", "b", {})
        assert keys(records) == ["a", "b"]

    def test_an_inner_batch_belongs_to_the_outer_one(self, records: RecordStore):

        def fail_after_the_inner_one() -> None:
            with records.batch():
                with records.batch():
                    records.put("c", "inner", {})
                raise ContractFailure

        with pytest.raises(ContractFailure):
            fail_after_the_inner_one()
        assert keys(records) == []

    def test_others_see_nothing_before_the_end(self, records: RecordStore):
        seen: list[list[str]] = []
        with ThreadPoolExecutor(1) as pool:
            with records.batch():
                records.put("c", "a", {})
                records.put("c", "b", {})
                peek = pool.submit(lambda: seen.append(keys(records)))
                threading.Event().wait(0.05)
            peek.result(timeout=10)
        assert seen in ([[]], [["a", "b"]])

    def test_after_a_failed_batch_all_goes_on(self, records: RecordStore):
        with pytest.raises(ContractFailure), records.batch():
            raise ContractFailure
        with records.batch():
            records.put("c", "a", {})
        assert keys(records) == ["a"]


class TestJournal:
    def test_entries_come_back_in_order(self, database: Database, clock: ManualClock):
        first = database.journal.append("s", {"n": 1})
        clock.advance(1)
        second = database.journal.append("s", {"n": 2})
        assert (first.sequence, first.at, second.sequence, second.at) == (1, 1000.0, 2, 1001.0)
        assert database.journal.read("s").items == (first, second)
        assert database.journal.read("s", newest_first=True).items == (second, first)

    def test_an_unknown_stream_is_empty(self, database: Database):
        assert database.journal.read("nobody").items == ()

    @pytest.mark.parametrize("newest_first", [False, True])
    def test_pages_are_stable_while_others_append(self, database: Database, newest_first: bool):
        for number in range(7):
            database.journal.append("s", {"n": number})
        seen, cursor = [], None
        while True:
            page = database.journal.read("s", limit=3, cursor=cursor, newest_first=newest_first)
            seen += [entry.sequence for entry in page.items]
            cursor = page.next_cursor
            if len(seen) < 7:
                database.journal.append("s", {})
            if cursor is None:
                break
        assert sorted(seen)[:7] == [1, 2, 3, 4, 5, 6, 7]
        assert seen == sorted(seen, reverse=newest_first)
        assert len(seen) == len(set(seen))

    def test_a_broken_cursor_is_a_bad_request(self, database: Database):
        for number in range(3):
            database.journal.append("s", {"n": number})
        cursor = database.journal.read("s", limit=1).next_cursor
        with pytest.raises(BadRequest):
            database.journal.read("s", cursor="x")
        with pytest.raises(BadRequest):
            database.journal.read("s", cursor=cursor, newest_first=True)

    def test_appended_from_many_threads_there_is_no_gap(self, database: Database):
        with ThreadPoolExecutor(8) as pool:
            sequences = list(pool.map(lambda n: database.journal.append("s", {"n": n}).sequence, range(80)))
        assert sorted(sequences) == list(range(1, 81))
        entries = database.journal.read("s", limit=100).items
        assert [entry.sequence for entry in entries] == list(range(1, 81))
        assert sorted(entry.body["n"] for entry in entries) == list(range(80))

    def test_nan_is_refused(self, database: Database):
        with pytest.raises(InvalidInput):
            database.journal.append("s", {"n": math.nan})
