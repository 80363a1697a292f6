"""A database of records and journal, which share their batches; opens one by URL, or creates one in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamb.clock import Clock
from streamb.store.journal import Journal
from streamb.store.records import RecordStore

BUSY_TIMEOUT_S: Final = 15.0
"""How many seconds a write waits for another writer before it fails."""


@dataclass(frozen=True, slots=True)
class Database:
    """Records and a journal in one database: `records.batch()` covers both."""

    records: RecordStore
    journal: Journal

    def close(self) -> None:
        """Release connections; idempotent."""
        self.records.close()


def open_database(url: str, clock: Clock, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Database:
    """Open `sqlite:///PATH` (created if missing) or `postgresql://USER:PASSWORD@HOST/NAME`, and migrate it.

    Args:
        url: the URL of the database.
        clock: gives the time stamps of records and entries.
        busy_timeout_s: how long a write waits for another process that is writing.

    Raises:
        ConfigError: the URL is not one of these, or the driver is not installed.
        DatabaseTooNew: a newer streamb has migrated it.
        StorageFailed: it cannot be reached, opened or locked.
    """
    # SQLAlchemy takes a quarter of a second to import, and most processes that use pages never open a database.
    from streamb.store.sql_engine import Transactions, create_sql_engine
    from streamb.store.sql_migrate import migrate
    from streamb.store.sql_records import SqlJournal, SqlRecords

    transactions = Transactions(create_sql_engine(url, busy_timeout_s=busy_timeout_s))
    try:
        transactions.prepare(busy_timeout_s=busy_timeout_s)
        migrate(transactions)
    except BaseException:
        transactions.close()
        raise
    return Database(SqlRecords(transactions, clock), SqlJournal(transactions, clock))


def memory_database(clock: Clock) -> Database:
    """Return a database in the process's memory: SQLite, so it behaves like one in a file."""
    from streamb.store.sql_engine import Transactions, create_memory_engine
    from streamb.store.sql_records import SqlJournal, SqlRecords
    from streamb.store.sql_tables import metadata

    transactions = Transactions(create_memory_engine())
    with transactions.writing() as connection:
        metadata.create_all(connection)
    return Database(SqlRecords(transactions, clock), SqlJournal(transactions, clock))
