"""The journal: what happened, in order, in named streams, append-only. And the journal that lives in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from streamb.clock import Clock
from streamb.store.cursor import decode_cursor, encode_cursor
from streamb.store.names import check_stream
from streamb.store.records import MemoryTransaction, Page, check_limit, decode_body, encode_body


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        sequence: 1, 2, 3, … within its stream, without gaps.
        at: seconds since the epoch.
        body: JSON-ready values; a private copy.
    """

    stream: str
    sequence: int
    at: float
    body: dict[str, Any]


class Journal(Protocol):
    """An append-only history. Safe to use from many threads; takes part in the batch of the records beside it."""

    def append(self, stream: str, body: dict[str, Any]) -> Entry:
        """Add an entry at the end of a stream (the first one begins the stream)."""
        ...

    def read(
        self, stream: str, *, limit: int = 100, cursor: str | None = None, newest_first: bool = False
    ) -> Page[Entry]:
        """A page of a stream, oldest entry first unless asked otherwise; an unknown stream is empty.

        Raises:
            BadRequest: the cursor is broken, or belongs to another list.
            InvalidInput: the limit is not from 1 to 1000.
        """
        ...


def journal_list_name(stream: str, *, newest_first: bool) -> str:
    """The name of a reading order, which its cursors carry."""
    return f"journal/{stream}/{'newest' if newest_first else 'oldest'}"


def journal_page(name: str, entries: list[Entry], limit: int) -> Page[Entry]:
    """The page out of up to `limit + 1` entries read in order: the one too many says that there is more."""
    page = tuple(entries[:limit])
    return Page(page, encode_cursor(name, page[-1].sequence) if len(entries) > limit else None)


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
