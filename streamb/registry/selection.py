"""Pages of the records that a filter accepts, and the filters that people write: conditions on tags and metrics."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.store import Page, Record, RecordStore

Condition = Callable[[Mapping[str, Any]], bool]

_READ_AHEAD: Final = 100
"""How many records are read at a time while a filter needs more."""
_COMPARED: Final = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}
_METRIC: Final = re.compile(
    r"\s*([^<>=\s](?:.*?[^<>=\s])?)\s*(>=|<=|>|<|=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII
)


def selected(
    records: RecordStore,
    keep: Callable[[Record], bool],
    collection: str,
    prefix: str,
    limit: int,
    cursor: str | None,
    *,
    reverse: bool = False,
) -> Page[Record]:
    """Return a page of the records that `keep` accepts; the page is full unless the list ends.

    Args:
        records: the store to read from.
        keep: decides for one record.
        collection, prefix, cursor, reverse: as for `RecordStore.list`.
        limit: the most records in the page.
    """
    found: list[Record] = []
    size = limit
    while True:
        page = records.list(collection, prefix=prefix, limit=size, cursor=cursor, reverse=reverse)
        kept = [place for place, record in enumerate(page.items) if keep(record)]
        room = limit - len(found)
        if len(kept) > room:  # read again up to the last record that fits, so that the cursor points behind it
            size = kept[room - 1] + 1
            page = records.list(collection, prefix=prefix, limit=size, cursor=cursor, reverse=reverse)
        found += filter(keep, page.items)
        cursor, size = page.next_cursor, max(limit, _READ_AHEAD)
        if cursor is None or len(found) >= limit:
            return Page(tuple(found), cursor)


def tag_condition(text: str) -> Condition:
    """Turn `key` or `key=value` into a condition on the body of a version.

    >>> tag_condition("team=ml")({"tags": {"team": "ml"}}), tag_condition("team")({"tags": {}})
    (True, False)
    """
    key, equals, value = text.partition("=")
    if not key:
        raise InvalidInput(f"the tag {text[:100]!r} cannot be read: write KEY or KEY=VALUE")
    return lambda body: body["tags"].get(key) == value if equals else key in body["tags"]


def metric_condition(text: str) -> Condition:
    """Turn `name>=number` into a condition on the body of a version; one without the metric does not satisfy it.

    >>> metric_condition("accuracy >= 0.9")({"metrics": {"accuracy": 0.95}})
    True
    """
    found = _METRIC.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"the metric {text[:100]!r} cannot be read: write NAME, one of {' '.join(_COMPARED)}, and a number, "
            "such as accuracy>=0.9"
        )
    name, compared, number = found[1], _COMPARED[found[2]], float(found[3])
    return lambda body: name in body["metrics"] and compared(body["metrics"][name], number)
