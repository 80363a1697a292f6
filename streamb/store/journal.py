"""The journal: what happened, in order, in named streams, append-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from streamb.store.cursor import encode_cursor
from streamb.store.records import Page


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
