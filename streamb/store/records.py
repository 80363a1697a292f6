"""Records: small JSON documents in named collections, changed by compare-and-swap, listed in stable pages.

This module holds what every record store agrees on: the protocol, the values, the checks. It knows nothing of SQL, and
nothing of what a collection means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson

from streamb.errors import InvalidInput, StaleRevision
from streamb.store.names import check_collection, check_prefix

T = TypeVar("T")

MAX_LIMIT: Final = 1000
"""The most items one page may hold."""


@dataclass(frozen=True, slots=True)
class Record:
    """One document.

    Attributes:
        body: JSON-ready values; a private copy, changing it changes nothing in the store.
        revision: 1 when created, one more with every put; a record deleted and made anew starts at 1 again.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch.
    """

    collection: str
    key: str
    body: dict[str, Any]
    revision: int
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor that asks for those after them (None: there are none)."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class RecordStore(Protocol):
    """Where entities are kept. Safe to use from many threads."""

    def get(self, collection: str, key: str) -> Record | None:
        """The record, or None."""
        ...

    def put(self, collection: str, key: str, body: dict[str, Any], *, expected: int | None = None) -> Record:
        """Write a record whole, and return it as it is now.

        Args:
            body: JSON-ready; NaN and infinities are refused (`InvalidInput`), not turned into null.
            expected: 0: it must not exist yet; n: it must be at revision n; None: whatever is there is replaced.

        Raises:
            StaleRevision: `expected` does not hold; `details["revision"]` is the one found (0: no record).
        """
        ...

    def delete(self, collection: str, key: str) -> bool:
        """Remove a record; False when there was none."""
        ...

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
        """A page of the records whose key starts with `prefix`.

        The order is by key (code points, ascending); `reverse`: by key, descending; `newest_first`: by creation,
        the youngest first. Pages are stable: a record that is there during the whole walk appears exactly once,
        whatever is written meanwhile.

        Raises:
            BadRequest: the cursor is broken, or belongs to another list.
            InvalidInput: the limit is not from 1 to 1000.
        """
        ...

    def batch(self) -> AbstractContextManager[None]:
        """All or nothing: what this thread writes inside takes effect together when the block ends, or not at all.

        Reads inside see the writes; other threads do not, until the end. Batches nest into the outermost one. Keep
        the block short, and never await in it: on SQLite it holds the one write lock. A read inside is no promise
        that a record stays as it is (PostgreSQL): pass the revision as `expected`.
        """
        ...

    def close(self) -> None:
        """Release everything; idempotent. Further use raises `StorageFailed`."""
        ...


def every_record(records: RecordStore, collection: str, *, prefix: str = "") -> Iterator[Record]:
    """All records of a collection by key, fetched page by page."""
    cursor: str | None = None
    while True:
        page = records.list(collection, prefix=prefix, limit=MAX_LIMIT, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


# --- checks that all implementations share ------------------------------------------------------------------------


def check_limit(limit: int) -> None:
    """Refuse (`InvalidInput`) a page size out of bounds."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"limit must be from 1 to {MAX_LIMIT}, not {limit}", limit=limit)


def encode_body(body: dict[str, Any]) -> str:
    """JSON text of a body; `InvalidInput` when a value would not come back as it went in."""
    try:
        encoded = orjson.dumps(body)
        if b"null" in encoded:  # orjson writes NaN as null without a word: have the strict encoder look again
            json.dumps(body, allow_nan=False, default=str)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a record's body must be plain JSON values: {error}") from error
    return encoded.decode()


def decode_body(text: str) -> dict[str, Any]:
    """The body that `encode_body` wrote."""
    body: dict[str, Any] = orjson.loads(text)
    return body


def list_name(collection: str, prefix: str, *, newest_first: bool, reverse: bool) -> str:
    """The name of a list, which its cursors carry, so that a cursor of one list is refused by another."""
    check_collection(collection)
    check_prefix(prefix)
    if newest_first and reverse:
        raise InvalidInput("choose one order: newest_first or reverse, not both")
    order = "newest" if newest_first else "reverse" if reverse else "key"
    return f"records/{collection}/{order}/{prefix}"


def stale(collection: str, key: str, *, expected: int, found: int) -> StaleRevision:
    """The error for a compare-and-swap that lost."""
    state = f"it is at revision {found}" if found else "it does not exist"
    wanted = f"to be at revision {expected}" if expected else "not to exist"
    return StaleRevision(
        f"{collection}/{key} was expected {wanted}, but {state}: read it again and retry",
        collection=collection,
        key=key,
        expected=expected,
        revision=found,
    )
