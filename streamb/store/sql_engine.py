"""Connections and transactions for SQLite and PostgreSQL, with the same behaviour.

A read is a single statement. A write is a transaction that takes its lock at the start (SQLite: BEGIN IMMEDIATE)
and waits a limited time for it. Reads and writes inside an open write of the same thread join it. Every failure of the
database is raised as StorageFailed (or StaleRevision, if the database aborted us in favour of another writer).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from streamb.errors import ConfigError, StaleRevision, StorageFailed, StreambError

_CONNECT_TIMEOUT_S: Final = 10
_SILENCE_S: Final = 60
"""How many seconds PostgreSQL may take to answer: our statements take milliseconds, so after that it is lost."""
_WAL_RETRY_S: Final = 0.05
_MAX_CONNECTIONS: Final = 20
_WRITE: Final = "streamb_write"
_LOCK_NOT_AVAILABLE: Final = "55P03"  # PostgreSQL: lock_timeout has passed
_LOST_RACES: Final = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock


def create_sql_engine(url: str, *, busy_timeout_s: float) -> Engine:
    """Return an engine for `sqlite:///path` or `postgresql://…`.

    Raises:
        ConfigError: the URL is of another kind or broken, or its driver is not installed.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, busy_timeout_s)
    return _postgresql_engine(parsed, busy_timeout_s)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError) as error:  # its text repeats the URL, which may hold a password
        raise ConfigError(
            "the database URL cannot be read: expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError("an SQLite database needs a file: sqlite:///PATH")
        return parsed
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(f"a {backend} database is not supported: use sqlite:///PATH or postgresql://USER@HOST/NAME")


def _sqlite_engine(url: URL, busy_timeout_s: float) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only its owner may read it: it holds digests of keys. SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageFailed(f"the database file {path} cannot be opened: {error.strerror}") from error
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        pool_size=_MAX_CONNECTIONS,
        max_overflow=-1,  # a file has no limit on connections; writers wait for its lock, not for a connection
    )
    return _with_explicit_begin(engine)


def create_memory_engine() -> Engine:
    """Return an engine for an SQLite database in memory: a single connection, which threads use in turn."""
    connect_args = {"check_same_thread": False}
    return _with_explicit_begin(
        create_engine("sqlite://", hide_parameters=True, connect_args=connect_args, poolclass=StaticPool)
    )


def _with_explicit_begin(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions: we execute BEGIN
        connection.execute("PRAGMA foreign_keys = ON")
        # In WAL mode, NORMAL loses nothing if the process dies, and stays consistent if the machine does.
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITE):
            # IMMEDIATE: a transaction that begins as a reader and then writes fails at once if another process wrote
            # in between; one that begins as a writer waits for its turn.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL, busy_timeout_s: float) -> Engine:
    limits = {
        "lock_timeout": int(busy_timeout_s * 1000),
        "statement_timeout": int((_SILENCE_S + busy_timeout_s) * 1000),
        # A writer that stops half-way (its machine froze) must not hold its locks for ever.
        "idle_in_transaction_session_timeout": _SILENCE_S * 1000,
    }
    try:
        return create_engine(
            url,
            hide_parameters=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": " ".join(f"-c {name}={milliseconds}" for name, milliseconds in limits.items()),
                # The kernel's own timeout for a server that has vanished is a quarter of an hour.
                "tcp_user_timeout": _SILENCE_S * 1000,
                "keepalives_idle": _SILENCE_S // 2,
                "keepalives_interval": _SILENCE_S // 6,
                "keepalives_count": 3,
            },
            pool_size=_MAX_CONNECTIONS,
            pool_timeout=busy_timeout_s,
            pool_pre_ping=True,  # the server may have been restarted since
        )
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigError("PostgreSQL needs its driver: pip install 'streamb[postgres]'") from error


@dataclass(slots=True)
class _Open:
    """A write in progress in one thread; `failure` is the database error after which it cannot be committed."""

    connection: Connection
    failure: StreambError | None = None


class Transactions:
    """Reads and writes through one engine. Thread-safe; a transaction belongs to the thread that began it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # If all threads share one connection, a read in one thread would see and end another's open transaction.
        shared = isinstance(engine.pool, StaticPool)
        self._turn: AbstractContextManager[Any] = threading.RLock() if shared else nullcontext()
        self._write_engine = engine.execution_options(**{_WRITE: True})
        self._read_engine = engine
        if engine.dialect.name == "postgresql":
            self._read_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._local = threading.local()
        self._idle_readers: deque[Connection] = deque()
        self._closed = False

    @property
    def dialect(self) -> str:
        """The kind of database: `sqlite` or `postgresql`."""
        return self._engine.dialect.name

    def prepare(self, *, busy_timeout_s: float) -> None:
        """Switch an SQLite file permanently to WAL mode, where readers and the writer do not block each other."""
        if self.dialect != "sqlite":
            return
        for left in range(int(busy_timeout_s / _WAL_RETRY_S), -1, -1):
            try:
                with self._engine.connect() as connection:
                    mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
                break
            except DBAPIError as error:
                if not left or not _is_busy(error.orig):
                    raise _translated(error) from error
                time.sleep(_WAL_RETRY_S)  # this statement ignores the busy timeout
        if mode != "wal":
            raise StorageFailed(
                f"the file system of {self._engine.url.database} has no shared memory, which SQLite needs: "
                "put the database on a local disk"
            )

    def reading(self) -> AbstractContextManager[Connection]:
        """Yield a connection for one reading statement; inside an open write of this thread, that one's."""
        return self._joined_or(self._reader)

    def writing(self) -> AbstractContextManager[Connection]:
        """Yield a connection in a transaction, which is committed when the block ends and undone if it raises.

        Inside an open write of this thread, the block joins that transaction.
        """
        return self._joined_or(self._writer)

    @contextmanager
    def _joined_or(self, fresh: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """Yield the connection of this thread's open write, or else a new one."""
        open_write: _Open | None = getattr(self._local, "open", None)
        if open_write is None:
            if self._closed:
                raise StorageFailed("this database is closed")
            try:
                with self._turn, fresh() as connection:
                    yield connection
            except SQLAlchemyError as error:
                raise _translated(error) from error
            return
        # After an error the database may have ended the transaction, and would run later statements outside of it. So
        # one error makes the whole batch fail, even if the caller continues.
        if open_write.failure is not None:
            raise open_write.failure
        try:
            yield open_write.connection
        except SQLAlchemyError as error:
            open_write.failure = _translated(error)
            raise open_write.failure from error

    @contextmanager
    def _reader(self) -> Iterator[Connection]:
        """Yield a connection outside of any transaction, so that every statement sees the committed state of its time.

        Connections to an SQLite file are kept for the next reader: taking one from the pool costs more than a `get`.
        """
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = self._read_engine.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self.dialect == "sqlite" and len(self._idle_readers) < _MAX_CONNECTIONS and not self._closed:
            self._idle_readers.append(connection)
        else:
            connection.close()

    @contextmanager
    def _writer(self) -> Iterator[Connection]:
        with self._write_engine.begin() as connection:
            self._local.open = begun = _Open(connection)
            try:
                yield connection
                if begun.failure is not None:
                    raise begun.failure
            finally:
                self._local.open = None

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._closed = True
        while self._idle_readers:
            self._idle_readers.pop().close()
        self._engine.dispose()


def _translated(error: SQLAlchemyError) -> StreambError:
    if not isinstance(error, DBAPIError):
        return StorageFailed(f"the database cannot be used now: {type(error).__name__}: {error}")
    cause: Any = error.orig
    if getattr(cause, "sqlstate", None) in _LOST_RACES:
        return StaleRevision("another writer changed the same records at the same time: read them again and retry")
    reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return StorageFailed(f"the database failed: {reason}{_hint(cause)}")


def _hint(cause: Any) -> str:
    if _is_busy(cause):
        return " by another process for longer than we wait; try again, or find out who holds it"
    if getattr(cause, "sqlite_errorname", None) == "SQLITE_FULL":
        return "; free some space"
    if str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_IOERR"):
        return "; see whether the disk is full or broken"
    if getattr(cause, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
        return "; another session holds the lock for longer than we wait"
    return ""


def _is_busy(cause: object) -> bool:
    return str(getattr(cause, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
