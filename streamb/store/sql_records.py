"""Records and the journal in a database: one table each, and statements that compare and swap in one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from streamb.clock import Clock
from streamb.store.cursor import decode_cursor, encode_cursor
from streamb.store.journal import Entry, journal_list_name, journal_page
from streamb.store.names import check_collection, check_key, check_stream
from streamb.store.records import (
    Page,
    Record,
    check_limit,
    decode_body,
    encode_body,
    list_name,
    stale,
)
from streamb.store.sql_engine import Transactions
from streamb.store.sql_tables import journal, records, streams

_AT: Final = (records.c.collection == bindparam("at_collection")) & (records.c.key == bindparam("at_key"))

_GET: Final = select(records.c.body, records.c.revision, records.c.created_at, records.c.updated_at).where(_AT)
_REVISION: Final = select(records.c.revision).where(_AT)
_DELETE: Final = delete(records).where(_AT)
_REPLACE: Final = (
    update(records)
    .where(_AT, records.c.revision == bindparam("expected"))
    .values(body=bindparam("body"), revision=records.c.revision + 1, updated_at=bindparam("updated_at"))
    .returning(records.c.revision, records.c.created_at)
)
_COLUMNS: Final = (
    records.c.key,
    records.c.body,
    records.c.revision,
    records.c.created_at,
    records.c.updated_at,
    records.c.ordinal,
)


class SqlRecords:
    """The record store in the table `records`."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        place = [records.c.collection, records.c.key]
        fresh = _insert_of(transactions)(records)
        self._create = fresh.on_conflict_do_nothing(index_elements=place).returning(
            records.c.revision, records.c.created_at
        )
        self._upsert = fresh.on_conflict_do_update(
            index_elements=place,
            set_={
                "body": fresh.excluded.body,
                "updated_at": fresh.excluded.updated_at,
                "revision": records.c.revision + 1,
            },
        ).returning(records.c.revision, records.c.created_at)

    def get(self, collection: str, key: str) -> Record | None:
        check_collection(collection)
        check_key(key)
        with self._transactions.reading() as connection:
            row = connection.execute(_GET, {"at_collection": collection, "at_key": key}).first()
        if row is None:
            return None
        body, revision, created_at, updated_at = row
        return Record(collection, key, decode_body(body), revision, created_at, updated_at)

    def put(self, collection: str, key: str, body: dict[str, Any], *, expected: int | None = None) -> Record:
        check_collection(collection)
        check_key(key)
        text, now = encode_body(body), self._clock.now()
        at = {"at_collection": collection, "at_key": key}
        with self._transactions.writing() as connection:
            if expected:
                changed = {"body": text, "updated_at": now, "expected": expected}
                row = connection.execute(_REPLACE, at | changed).first()
            else:
                created = {
                    "collection": collection,
                    "key": key,
                    "body": text,
                    "revision": 1,
                    "created_at": now,
                    "updated_at": now,
                }
                row = connection.execute(self._upsert if expected is None else self._create, created).first()
            if row is None:
                found: int = connection.execute(_REVISION, at).scalar() or 0
                raise stale(collection, key, expected=expected or 0, found=found)
        revision, created_at = row
        return Record(collection, key, decode_body(text), revision, created_at, now)

    def delete(self, collection: str, key: str) -> bool:
        check_collection(collection)
        check_key(key)
        with self._transactions.writing() as connection:
            result = connection.execute(_DELETE, {"at_collection": collection, "at_key": key})
            return bool(result.rowcount)

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
        query = select(*_COLUMNS).where(records.c.collection == collection, *_starting_with(prefix)).limit(limit + 1)
        if newest_first:
            query = query.order_by(records.c.ordinal.desc())
            if cursor is not None:
                query = query.where(records.c.ordinal < decode_cursor(name, cursor, int))
        else:
            query = query.order_by(records.c.key.desc() if reverse else records.c.key)
            if cursor is not None:
                last = decode_cursor(name, cursor, str)
                query = query.where(records.c.key < last if reverse else records.c.key > last)
        with self._transactions.reading() as connection:
            rows = connection.execute(query).all()
        page = rows[:limit]
        place = (page[-1].ordinal if newest_first else page[-1].key) if page else ""
        return Page(
            tuple(Record(collection, row[0], decode_body(row[1]), row[2], row[3], row[4]) for row in page),
            encode_cursor(name, place) if len(rows) > limit else None,
        )

    def batch(self) -> AbstractContextManager[None]:
        return self._batch()

    @contextmanager
    def _batch(self) -> Iterator[None]:
        with self._transactions.writing():
            yield

    def close(self) -> None:
        self._transactions.close()


class SqlJournal:
    """The journal in the table `journal`; a counter for each stream numbers its entries without gaps."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        begin = _insert_of(transactions)(streams)
        self._next_sequence = begin.on_conflict_do_update(
            index_elements=[streams.c.stream], set_={"last_sequence": streams.c.last_sequence + 1}
        ).returning(streams.c.last_sequence)

    def append(self, stream: str, body: dict[str, Any]) -> Entry:
        check_stream(stream)
        text, now = encode_body(body), self._clock.now()
        with self._transactions.writing() as connection:
            first = {"stream": stream, "last_sequence": 1}
            sequence = int(connection.execute(self._next_sequence, first).scalar_one())
            entry = {"stream": stream, "sequence": sequence, "at": now, "body": text}
            connection.execute(insert(journal), entry)
        return Entry(stream, sequence, now, decode_body(text))

    def read(
        self, stream: str, *, limit: int = 100, cursor: str | None = None, newest_first: bool = False
    ) -> Page[Entry]:
        check_stream(stream)
        check_limit(limit)
        name = journal_list_name(stream, newest_first=newest_first)
        sequence = journal.c.sequence
        query = select(sequence, journal.c.at, journal.c.body).where(journal.c.stream == stream).limit(limit + 1)
        query = query.order_by(sequence.desc() if newest_first else sequence)
        if cursor is not None:
            place = decode_cursor(name, cursor, int)
            query = query.where(sequence < place if newest_first else sequence > place)
        with self._transactions.reading() as connection:
            rows = connection.execute(query).all()
        return journal_page(name, [Entry(stream, row[0], row[1], decode_body(row[2])) for row in rows], limit)


def _insert_of(transactions: Transactions) -> Any:
    """Return the dialect's `INSERT` that supports `ON CONFLICT`."""
    return sqlite_insert if transactions.dialect == "sqlite" else postgresql_insert


def _starting_with(prefix: str) -> tuple[ColumnElement[bool], ...]:
    """Return conditions for keys that start with `prefix`, as a range, which can use the index (LIKE cannot)."""
    if not prefix:
        return ()
    above = _next_prefix(prefix)
    lower = records.c.key >= prefix
    return (lower,) if above is None else (lower, records.c.key < above)


def _next_prefix(prefix: str) -> str | None:
    """Return the least text greater than all texts that start with `prefix`; None if there is none.

    >>> _next_prefix("ab")
    'ac'
    """
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1]) + 1
        if 0xD800 <= code <= 0xDFFF:  # surrogates are not characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[: length - 1] + chr(code)
    return None
