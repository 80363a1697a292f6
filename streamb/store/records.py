"""Records: small JSON documents in named collections, changed by compare-and-swap, listed in stable pages.

This module holds what all record stores share: the protocol, the values and the checks. It does not depend on SQL or
on what a collection means.
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
"""The most items in one page."""


@dataclass(frozen=True, slots=True)
class Record:
    """One stored document.

    Attributes:
        body: JSON values; a private copy, changes to it do not affect the store.
        revision: 1 when created, one more with every put; a record that is deleted and created again starts at 1.
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
    """One page of a list, and the cursor of the next page (None on the last page)."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class RecordStore(Protocol):
    """A store of records. Safe to use from many threads."""

    def get(self, collection: str, key: str) -> Record | None:
        """Return the record, or None if there is none."""
        ...

    def put(self, collection: str, key: str, body: dict[str, Any], *, expected: int | None = None) -> Record:
        """Create or replace a record, and return it as it is now.

        Args:
            collection, key: the place of the record.
            body: JSON values; NaN and infinities raise InvalidInput instead of becoming null.
            expected: the revision that the record must have now; 0 if it must not exist; None for no condition.

        Raises:
            StaleRevision: the record has another revision; `details["revision"]` is the one found (0: no record).
        """
        ...

    def delete(self, collection: str, key: str) -> bool:
        """Remove a record; return False if there was none."""
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
        """Return a page of the records whose key starts with `prefix`.

        The order is by key (code points, ascending); with `reverse` by key, descending; with `newest_first` by time of
        creation, the newest first. Pages are stable: a record that exists while all pages are read appears exactly
        once, no matter what is written meanwhile.

        Args:
            collection: the name of the collection.
            prefix: the start of the keys; "" for all records.
            limit: the most records in the page, 1 to 1000.
            cursor: `next_cursor` of the previous page; None for the first page.
            newest_first, reverse: the order, see above; at most one of them.

        Raises:
            BadRequest: the cursor is broken, or belongs to another list.
            InvalidInput: the limit is not within 1 to 1000.
        """
        ...

    def batch(self) -> AbstractContextManager[None]:
        """Run a block as one transaction: all writes of this thread in it take effect at its end, or none does.

        Reads in the block see its writes; other threads see them only after its end. A nested batch joins the outermost
        one. Keep the block short, and never await in it: on SQLite it holds the only write lock. A record that was read
        in it may still be changed by others (PostgreSQL): pass its revision as `expected`.
        """
        ...

    def close(self) -> None:
        """Close the store; idempotent. Further use raises StorageFailed."""
        ...


def every_record(records: RecordStore, collection: str, *, prefix: str = "") -> Iterator[Record]:
    """Yield all records of a collection whose key starts with `prefix`, ordered by key, fetched page by page."""
    cursor: str | None = None
    while True:
        page = records.list(collection, prefix=prefix, limit=MAX_LIMIT, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


# --- checks that all implementations share ------------------------------------------------------------------------


def check_limit(limit: int) -> None:
    """Raise InvalidInput unless `limit` is within 1 to `MAX_LIMIT`."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"limit must be from 1 to {MAX_LIMIT}, not {limit}", limit=limit)


def encode_body(body: dict[str, Any]) -> str:
    """Return the JSON text of a body; raise InvalidInput if a value would be changed by it."""
    try:
        encoded = orjson.dumps(body)
        if b"null" in encoded:  # orjson silently writes NaN as null: check again with the strict encoder
            json.dumps(body, allow_nan=False, default=str)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a record's body must be plain JSON values: {error}") from error
    return encoded.decode()


def decode_body(text: str) -> dict[str, Any]:
    """Return the body that `encode_body` wrote."""
    body: dict[str, Any] = orjson.loads(text)
    return body


def list_name(collection: str, prefix: str, *, newest_first: bool, reverse: bool) -> str:
    """Return the name of a list (arguments as for `RecordStore.list`), to which its cursors are bound."""
    check_collection(collection)
    check_prefix(prefix)
    if newest_first and reverse:
        raise InvalidInput("choose one order: newest_first or reverse, not both")
    order = "newest" if newest_first else "reverse" if reverse else "key"
    return f"records/{collection}/{order}/{prefix}"


def stale(collection: str, key: str, *, expected: int, found: int) -> StaleRevision:
    """Return the error for a failed compare-and-swap: `found` (0: no record) is not the `expected` revision."""
    state = f"it is at revision {found}" if found else "it does not exist"
    wanted = f"to be at revision {expected}" if expected else "not to exist"
    return StaleRevision(
        f"{collection}/{key} was expected {wanted}, but {state}: read it again and retry",
        collection=collection,
        key=key,
        expected=expected,
        revision=found,
    )
