"""The journal: append-only streams of events, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from streamb.store.cursor import encode_cursor
from streamb.store.records import Page


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in a stream.

    Attributes:
        sequence: 1, 2, 3, … within its stream, without gaps.
        at: seconds since the epoch.
        body: JSON values; a private copy.
    """

    stream: str
    sequence: int
    at: float
    body: dict[str, Any]


class Journal(Protocol):
    """An append-only history. Safe to use from many threads; included in the batches of its database's records."""

    def append(self, stream: str, body: dict[str, Any]) -> Entry:
        """Add an entry at the end of a stream (the first entry creates the stream)."""
        ...

    def read(
        self, stream: str, *, limit: int = 100, cursor: str | None = None, newest_first: bool = False
    ) -> Page[Entry]:
        """Return a page of a stream; an unknown stream is empty.

        Args:
            stream: the name of the stream.
            limit: the most entries in the page, 1 to 1000.
            cursor: `next_cursor` of the previous page; None for the first page.
            newest_first: order by the newest entry first; by default the oldest is first.

        Raises:
            BadRequest: the cursor is broken, or belongs to another list.
            InvalidInput: the limit is not within 1 to 1000.
        """
        ...


def journal_list_name(stream: str, *, newest_first: bool) -> str:
    """Return the name of a stream in one order, to which its cursors are bound."""
    return f"journal/{stream}/{'newest' if newest_first else 'oldest'}"


def journal_page(name: str, entries: list[Entry], limit: int) -> Page[Entry]:
    """Return a page of `limit` entries from up to `limit + 1` read in order; the extra one shows that more follow."""
    page = tuple(entries[:limit])
    return Page(page, encode_cursor(name, page[-1].sequence) if len(entries) > limit else None)
