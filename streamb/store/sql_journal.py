"""The journal over a database: a table of entries, and a counter per stream that makes them gapless."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from streamb.clock import Clock
from streamb.store.cursor import decode_cursor
from streamb.store.journal import Entry, journal_list_name, journal_page
from streamb.store.names import check_stream
from streamb.store.records import Page, check_limit, decode_body, encode_body
from streamb.store.sql_engine import Transactions
from streamb.store.sql_tables import journal, streams


class SqlJournal:
    """Entries in the table `journal`."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        begin = (sqlite_insert if transactions.dialect == "sqlite" else postgresql_insert)(streams)
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
