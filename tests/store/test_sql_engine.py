"""Faults that databases really have: locks held by others, full disks, killed writers, killed connections."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from streamb.clock import SystemClock
from streamb.errors import StaleRevision, StorageFailed
from streamb.store import sql_engine
from streamb.store.database import Database, open_database
from streamb.store.sql_engine import Transactions, create_sql_engine

HOLD_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.close()
"""

WRITE_FOR_EVER = """
import sys
from streamb.clock import SystemClock
from streamb.store.database import open_database
database = open_database(sys.argv[1], SystemClock())
number = 0
while True:
    number += 1
    with database.records.batch():
        database.records.put("left", f"{number:06}", {"pad": "x" * 2000})
        database.journal.append("s", {"n": number})
        database.records.put("right", f"{number:06}", {"pad": "x" * 2000})
    print(number, flush=True)
"""

FILL_THE_DISK = """
import resource, signal, sys
from streamb.clock import SystemClock
from streamb.errors import StorageFailed
from streamb.store.database import open_database
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead of killing us
database = open_database(sys.argv[1], SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
number = 0
try:
    while True:
        with database.records.batch():
            database.records.put("left", f"{number:06}", {"pad": "x" * 5000})
            try:
                database.records.put("right", f"{number:06}", {"pad": "x" * 5000})
            except StorageFailed:
                pass  # a caller that goes on regardless must not commit half
        number += 1
except StorageFailed as error:
    print(number, error)
"""


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


@contextmanager
def opened(url: str, **options) -> Iterator[Database]:
    database = open_database(url, SystemClock(), **options)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def locked_by_another_process(url: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of writers until the end, or until what this gives is called."""
    command = [sys.executable, "-c", HOLD_WRITE_LOCK, path_of(url)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"

        def release() -> None:
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()

        try:
            yield release
        finally:
            holder.kill()


def waits_until(release: Callable[[], None], seconds: float, work: Callable[[], object]) -> None:
    """The work is not done for so long, and is once the lock is released."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            with pytest.raises(TimeoutError):
                working.result(seconds)
        finally:
            release()
        working.result(30)


class TestLockedSqlite:
    @pytest.mark.parametrize("seconds", [0.4, pytest.param(5.5, marks=pytest.mark.fault)])
    def test_a_write_waits_for_another_process(self, sqlite_url: str, seconds: float):
        with opened(sqlite_url) as database, locked_by_another_process(sqlite_url) as release:
            waits_until(release, seconds, lambda: database.records.put("c", "k", {"written": True}))
            record = database.records.get("c", "k")
            assert record is not None
            assert record.body == {"written": True}

    def test_a_read_does_not_wait(self, sqlite_url: str):
        with opened(sqlite_url) as database:
            database.records.put("c", "k", {})
            with locked_by_another_process(sqlite_url):
                assert database.records.get("c", "k") is not None
                assert len(database.records.list("c").items) == 1

    def test_beyond_the_timeout_a_write_fails_and_the_next_one_works(self, sqlite_url: str):
        with opened(sqlite_url, busy_timeout_s=0.2) as database:
            with (
                locked_by_another_process(sqlite_url),
                pytest.raises(StorageFailed, match="locked by another process"),
            ):
                database.records.put("c", "k", {})
            assert database.records.get("c", "k") is None
            database.records.put("c", "k", {})

    def test_opening_waits_too(self, sqlite_url: str):
        def work() -> None:
            with opened(sqlite_url) as database:
                database.records.put("c", "k", {})

        with locked_by_another_process(sqlite_url) as release:
            waits_until(release, 0.4, work)


class TestThreads:
    def test_threads_that_come_and_go_leave_no_connection_behind(self, sqlite_url: str):
        with opened(sqlite_url) as database:
            for _ in range(60):
                thread = threading.Thread(target=database.records.get, args=("c", "k"))
                thread.start()
                thread.join()
            assert database.records._transactions._engine.pool.checkedout() == 1

    def test_more_threads_than_connections_all_write(self, sqlite_url: str):
        with opened(sqlite_url) as database, ThreadPoolExecutor(48) as pool:
            list(pool.map(lambda n: database.records.put("c", f"{n:03}", {}), range(96)))
            assert len(list(pool.map(lambda n: database.records.get("c", f"{n:03}"), range(96)))) == 96


@pytest.mark.fault
def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_batch(sqlite_url: str):
    acknowledged = 0
    for _ in range(3):
        command = [sys.executable, "-c", WRITE_FOR_EVER, sqlite_url]
        before = acknowledged
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(40):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout:  # what it said before the signal reached it
                if line.endswith("\n"):
                    acknowledged = int(line)
        with opened(sqlite_url) as database:
            sides = [
                {record.key for record in database.records.list(side, limit=1000).items} for side in ("left", "right")
            ]
            assert sides[0] == sides[1]
            assert {f"{number:06}" for number in range(1, acknowledged + 1)} <= sides[0]
        acknowledged = max(before, acknowledged)
    connection = sqlite3.connect(path_of(sqlite_url))
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_full_disk_fails_the_batch_whole(sqlite_url: str):
    command = [sys.executable, "-c", FILL_THE_DISK, sqlite_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.match(r"(\d+) the database failed: .*disk is full", done.stdout)
    assert found is not None, done.stdout + done.stderr
    written = int(found[1])
    assert written > 3
    with opened(sqlite_url) as database:
        for side in ("left", "right"):
            assert len(database.records.list(side, limit=1000).items) == written
        database.records.put("c", "k", {})


class TestPostgres:
    def test_a_lock_beyond_the_timeout_fails(self, postgres_url: str):
        with opened(postgres_url, busy_timeout_s=0.2) as database:
            database.records.put("c", "k", {"v": 1})
            with psycopg.connect(postgres_url) as other:
                other.execute("UPDATE records SET revision = revision")
                with pytest.raises(StorageFailed, match="lock"):
                    database.records.put("c", "k", {"v": 2})
                other.rollback()
            assert database.records.put("c", "k", {"v": 3}).revision == 2

    def test_of_two_batches_that_wait_for_each_other_one_is_told_to_retry(self, postgres_url: str):
        with opened(postgres_url) as database:
            for key in "ab":
                database.records.put("c", key, {})
            barrier = threading.Barrier(2)

            def write(keys: str) -> bool:
                try:
                    with database.records.batch():
                        database.records.put("c", keys[0], {"by": keys})
                        barrier.wait(timeout=10)
                        database.records.put("c", keys[1], {"by": keys})
                except StaleRevision:
                    return False
                return True

            with ThreadPoolExecutor(2) as pool:
                assert sorted(pool.map(write, ["ab", "ba"])) == [False, True]

    def test_a_restarted_server_is_found_again(self, postgres_url: str):
        with opened(postgres_url) as database:
            database.records.put("c", "k", {})
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            assert database.records.get("c", "k") is not None
            database.records.put("c", "k", {})

    def test_a_writer_that_stops_half_way_does_not_hold_its_locks_for_ever(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ):
        def freeze_meanwhile(frozen: Database, other: Database) -> None:
            with frozen.records.batch():
                frozen.records.put("models", "a", {"by": "frozen"})
                other.records.put("models", "a", {"by": "other"})  # waits for the row until the server lets go of it
                frozen.records.put("models", "a", {"by": "frozen"})

        monkeypatch.setattr(sql_engine, "_SILENCE_S", 1)
        with opened(postgres_url) as frozen, opened(postgres_url) as other:
            with pytest.raises(StorageFailed):
                freeze_meanwhile(frozen, other)
            record = other.records.get("models", "a")
            assert record is not None
            assert record.body == {"by": "other"}

    def test_a_statement_that_takes_too_long_is_ended(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(sql_engine, "_SILENCE_S", 1)
        transactions = Transactions(create_sql_engine(postgres_url, busy_timeout_s=0.1))
        with pytest.raises(StorageFailed, match="statement timeout"), transactions.reading() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(30)")
        transactions.close()

    def test_a_connection_that_dies_in_a_batch_undoes_it(self, postgres_url: str):
        def write_and_lose_the_connection(database: Database) -> None:
            with database.records.batch():
                database.records.put("c", "a", {})
                with psycopg.connect(postgres_url, autocommit=True) as other:
                    other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                database.records.put("c", "b", {})

        with opened(postgres_url) as database:
            with pytest.raises(StorageFailed):
                write_and_lose_the_connection(database)
            assert database.records.list("c").items == ()


def test_errors_do_not_show_what_was_written(sqlite_url: str):
    with opened(sqlite_url, busy_timeout_s=0.1) as database, locked_by_another_process(sqlite_url):
        with pytest.raises(StorageFailed) as caught:
            database.records.put("keys", "k", {"secret": "hunter2"})
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_a_doomed_batch_says_so_at_every_later_step(sqlite_url: str, tmp_path: Path):
    connection = sqlite3.connect(path_of(sqlite_url))
    connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON journal BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    connection.commit()
    connection.close()

    def go_on_regardless(database: Database) -> None:
        with database.records.batch():
            database.records.put("c", "before", {})
            for _ in range(2):
                with pytest.raises(StorageFailed):
                    database.journal.append("s", {})
            with pytest.raises(StorageFailed):
                database.records.put("c", "after", {})

    with opened(sqlite_url) as database:
        with pytest.raises(StorageFailed):
            go_on_regardless(database)
        assert database.records.list("c").items == ()
