"""A database of dictionaries, for tests that write a lot: the contract tests hold it against the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

from streamb.clock import Clock
from streamb.errors import StorageFailed
from streamb.store.cursor import decode_cursor, encode_cursor
from streamb.store.database import Database
from streamb.store.journal import Entry, journal_list_name, journal_page
from streamb.store.names import check_collection, check_key, check_stream
from streamb.store.records import Page, Record, check_limit, decode_body, encode_body, list_name, stale


def memory_database(clock: Clock) -> Database:
    """A database that is quick to make and to ask."""
    transaction = MemoryTransaction()
    return Database(MemoryRecords(clock, transaction), MemoryJournal(clock, transaction))


class MemoryTransaction:
    """The lock and the undo log that memory stores share, so that one batch covers records and journal."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._depth = 0
        self._undo: list[Callable[[], object]] = []

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Call `undo` (no arguments) should the running batch fail; outside a batch nothing is kept."""
        if self._depth:
            self._undo.append(undo)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All or nothing; nests."""
        with self.lock:
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    for undo in reversed(self._undo):
                        undo()
                raise
            finally:
                self._depth -= 1
                if not self._depth:
                    self._undo.clear()


@dataclass(frozen=True, slots=True)
class _Stored:
    text: str
    revision: int
    created_at: float
    updated_at: float
    ordinal: int


class MemoryRecords:
    """A record store that forgets everything when the process ends: for tests and for trying things out."""

    def __init__(self, clock: Clock, transaction: MemoryTransaction | None = None) -> None:
        self._clock = clock
        self._transaction = transaction or MemoryTransaction()
        self._collections: dict[str, dict[str, _Stored]] = {}
        self._ordinal = 0
        self._closed = False

    def get(self, collection: str, key: str) -> Record | None:
        check_collection(collection)
        check_key(key)
        with self._transaction.lock:
            stored = self._collection(collection).get(key)
        return None if stored is None else _record(collection, key, stored)

    def put(self, collection: str, key: str, body: dict[str, Any], *, expected: int | None = None) -> Record:
        check_collection(collection)
        check_key(key)
        text, now = encode_body(body), self._clock.now()
        with self._transaction.lock:
            old = self._collection(collection).get(key)
            found = old.revision if old else 0
            if expected is not None and expected != found:
                raise stale(collection, key, expected=expected, found=found)
            if old is None:
                self._ordinal += 1
            stored = _Stored(
                text=text,
                revision=found + 1,
                created_at=old.created_at if old else now,
                updated_at=now,
                ordinal=old.ordinal if old else self._ordinal,
            )
            self._set(collection, key, stored)
        return _record(collection, key, stored)

    def delete(self, collection: str, key: str) -> bool:
        check_collection(collection)
        check_key(key)
        with self._transaction.lock:
            if key not in self._collection(collection):
                return False
            self._set(collection, key, None)
            return True

    def list(
        self,
        collection: str,
        *,
        prefix: str = "",
        limit: int = 100,
        cursor: str | None = None,
        newest_first: bool = False,
        reverse: bool = False,
    ) -> Page[Record]:
        check_limit(limit)
        name = list_name(collection, prefix, newest_first=newest_first, reverse=reverse)
        with self._transaction.lock:
            found = [(key, stored) for key, stored in self._collection(collection).items() if key.startswith(prefix)]
        if newest_first:
            if cursor is not None:
                before = decode_cursor(name, cursor, int)
                found = [item for item in found if item[1].ordinal < before]
            found.sort(key=lambda item: item[1].ordinal, reverse=True)
        else:
            if cursor is not None:
                last = decode_cursor(name, cursor, str)
                found = [item for item in found if (item[0] < last if reverse else item[0] > last)]
            found.sort(reverse=reverse, key=lambda item: item[0])
        page = found[:limit]
        place: str | int = (page[-1][1].ordinal if newest_first else page[-1][0]) if page else ""
        return Page(
            tuple(_record(collection, key, stored) for key, stored in page),
            encode_cursor(name, place) if len(found) > limit else None,
        )

    def batch(self) -> AbstractContextManager[None]:
        return self._transaction.batch()

    def close(self) -> None:
        self._closed = True

    def _collection(self, name: str) -> dict[str, _Stored]:
        if self._closed:
            raise StorageFailed("this store is closed")
        return self._collections.setdefault(name, {})

    def _set(self, collection: str, key: str, stored: _Stored | None) -> None:
        entries = self._collections[collection]
        old = entries.get(key)
        self._transaction.on_rollback(lambda: _restore(entries, key, old))
        _restore(entries, key, stored)


def _restore(entries: dict[str, _Stored], key: str, stored: _Stored | None) -> None:
    if stored is None:
        entries.pop(key, None)
    else:
        entries[key] = stored


def _record(collection: str, key: str, stored: _Stored) -> Record:
    body = decode_body(stored.text)
    return Record(collection, key, body, stored.revision, stored.created_at, stored.updated_at)


class MemoryJournal:
    """A journal that forgets everything when the process ends.

    Args:
        transaction: the one of the `MemoryRecords` whose batches this journal takes part in.
    """

    def __init__(self, clock: Clock, transaction: MemoryTransaction | None = None) -> None:
        self._clock = clock
        self._transaction = transaction or MemoryTransaction()
        self._streams: dict[str, list[tuple[float, str]]] = {}

    def append(self, stream: str, body: dict[str, Any]) -> Entry:
        check_stream(stream)
        text, now = encode_body(body), self._clock.now()
        with self._transaction.lock:
            entries = self._streams.setdefault(stream, [])
            entries.append((now, text))
            self._transaction.on_rollback(entries.pop)
            return Entry(stream, len(entries), now, decode_body(text))

    def read(
        self, stream: str, *, limit: int = 100, cursor: str | None = None, newest_first: bool = False
    ) -> Page[Entry]:
        check_stream(stream)
        check_limit(limit)
        name = journal_list_name(stream, newest_first=newest_first)
        with self._transaction.lock:
            entries = list(self._streams.get(stream, ()))
        found = [Entry(stream, number, at, decode_body(text)) for number, (at, text) in enumerate(entries, start=1)]
        if newest_first:
            found.reverse()
        if cursor is not None:
            place = decode_cursor(name, cursor, int)
            found = [e for e in found if (e.sequence < place if newest_first else e.sequence > place)]
        return journal_page(name, found, limit)
