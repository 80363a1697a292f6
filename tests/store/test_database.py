"""Opening a database: what it becomes, what is refused, and what happens when many open it at once."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from streamb.clock import ManualClock
from streamb.errors import ConfigError, DatabaseTooNew, StorageFailed
from streamb.store.database import open_database
from streamb.store.sql_engine import create_sql_engine
from streamb.store.sql_migrate import alembic_config
from streamb.store.sql_tables import SCHEMA_REVISION, metadata

OPEN_AND_WRITE = """
import sys
from streamb.clock import SystemClock
from streamb.store.database import open_database
database = open_database(sys.argv[1], SystemClock())
sys.stdin.read(1)
database.records.put("c", sys.argv[2], {}, expected=0)
database.close()
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nobody has migrated yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/streamb.db"
    new_postgres_url: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return new_postgres_url()


def test_the_migrations_make_the_tables_that_the_code_expects(empty_url: str, clock: ManualClock):
    open_database(empty_url, clock).close()
    engine = create_sql_engine(empty_url, busy_timeout_s=15)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_reopened_database_has_what_was_written(empty_url: str, clock: ManualClock):
    first = open_database(empty_url, clock)
    first.records.put("c", "k", {"a": 1})
    first.journal.append("s", {"b": 2})
    first.close()
    second = open_database(empty_url, clock)
    record = second.records.get("c", "k")
    assert record is not None
    assert record.body == {"a": 1}
    assert second.journal.append("s", {}).sequence == 2
    second.close()


def test_the_migrations_can_be_undone(empty_url: str, clock: ManualClock):
    open_database(empty_url, clock).close()
    engine = create_sql_engine(empty_url, busy_timeout_s=15)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with engine.connect() as connection:
        assert {d[0] for d in compare_metadata(MigrationContext.configure(connection), metadata)} >= {"add_table"}
    engine.dispose()
    open_database(empty_url, clock).close()


def test_the_code_knows_the_newest_migration():
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [SCHEMA_REVISION]


def test_a_database_of_a_newer_streamb_is_refused_and_left_alone(empty_url: str, clock: ManualClock):
    open_database(empty_url, clock).close()
    engine = create_sql_engine(empty_url, busy_timeout_s=15)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999") as caught:
        open_database(empty_url, clock)
    assert caught.value.details == {"found": "9999", "known": SCHEMA_REVISION}
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
    engine.dispose()


def test_processes_may_open_a_new_database_at_the_same_time(empty_url: str, clock: ManualClock):
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_WRITE, empty_url, f"k{number}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(3)
    ]
    for opener in openers:
        _, errors = opener.communicate(b"\n", timeout=60)
        assert opener.returncode == 0, errors.decode()
    database = open_database(empty_url, clock)
    assert [record.key for record in database.records.list("c").items] == ["k0", "k1", "k2"]
    database.close()


class TestSqliteFile:
    def test_it_is_set_up_for_many_readers_and_a_patient_writer(self, sqlite_url: str, clock: ManualClock):
        database = open_database(sqlite_url, clock)
        with database.records._transactions.writing() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
            }
        database.close()
        assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 15_000, "synchronous": 1}

    def test_only_the_owner_can_read_it(self, tmp_path: Path, clock: ManualClock):
        database = open_database(f"sqlite:///{tmp_path}/streamb.db", clock)
        database.records.put("c", "k", {})
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("streamb.db*")}
        database.close()
        assert modes == {"streamb.db": 0o600, "streamb.db-wal": 0o600, "streamb.db-shm": 0o600}

    def test_after_close_one_file_remains(self, tmp_path: Path, clock: ManualClock):
        database = open_database(f"sqlite:///{tmp_path}/streamb.db", clock)
        database.records.put("c", "k", {})
        database.records.get("c", "k")
        database.close()
        assert [path.name for path in tmp_path.iterdir()] == ["streamb.db"]

    def test_a_file_that_is_no_database(self, tmp_path: Path, clock: ManualClock):
        (tmp_path / "streamb.db").write_bytes(b"something else entirely" * 100)
        with pytest.raises(StorageFailed, match="not a database"):
            open_database(f"sqlite:///{tmp_path}/streamb.db", clock)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path, clock: ManualClock):
        (tmp_path / "file").touch()
        with pytest.raises(StorageFailed, match=r"streamb\.db"):
            open_database(f"sqlite:///{tmp_path}/file/streamb.db", clock)

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT * FROM records WHERE collection = 'c' AND key = 'k'",
            "SELECT * FROM records WHERE collection = 'c' AND key > 'k' ORDER BY key LIMIT 100",
            "SELECT * FROM records WHERE collection = 'c' AND key >= 'k' AND key < 'l' ORDER BY key DESC LIMIT 100",
            "SELECT * FROM records WHERE collection = 'c' AND ordinal < 9 ORDER BY ordinal DESC LIMIT 100",
            "SELECT * FROM journal WHERE stream = 's' AND sequence > 9 ORDER BY sequence LIMIT 100",
        ],
    )
    def test_every_query_is_served_by_an_index(self, sqlite_url: str, query: str):
        connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
        connection.close()
        assert "USING" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


class TestUrls:
    @pytest.mark.parametrize("url", ["", "nonsense", "mysql://root:secret@host/db", "sqlite://", "sqlite:///:memory:"])
    def test_what_cannot_be_opened_is_refused(self, url: str, clock: ManualClock):
        with pytest.raises(ConfigError) as caught:
            open_database(url, clock)
        assert "secret" not in str(caught.value)

    def test_a_broken_url_does_not_give_its_password_away(self, clock: ManualClock):
        with pytest.raises(ConfigError) as caught:
            open_database("postgresql://me:secret@host:port/db", clock)
        assert "secret" not in str(caught.value)

    def test_an_unreachable_server(self, tmp_path: Path, clock: ManualClock):
        with pytest.raises(StorageFailed) as caught:
            open_database(f"postgresql://me:secret@/db?host={tmp_path}", clock)
        assert "secret" not in str(caught.value)

    def test_the_old_name_of_postgresql_works(self, clock: ManualClock, postgres_url: str):
        open_database(postgres_url.replace("postgresql://", "postgres://"), clock).close()
