"""Types that several routes share: names and references, pages, and the base classes of answers.

Times are seconds since the Unix epoch unless the name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamb.options import PLAIN_LINES, spoken
from streamb.registry.model import MODEL_ID, NOT_A_MODEL_ID
from streamb.store.records import Page
from streamb.text import shown

T = TypeVar("T", bound=BaseModel)
_NAME: Final = spoken(rf"^{MODEL_ID}$", NOT_A_MODEL_ID)
_REFERENCE: Final = spoken(
    r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}$",
    "is neither a version, like 1.4.0, nor an alias, like champion: use letters, digits, '.', '+', '_' and '-'",
)
IDENTIFIER: Final = spoken(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
    "cannot be an id: ids have 1 to 128 letters, digits, '.', '_' and '-', and start with a letter or digit",
)


def _storable_text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("text must not hold the character NUL")
    return text


def _plain_text(text: str) -> str:
    if shown(text) != text:
        raise ValueError("a name must not hold characters that control a terminal or the direction of writing")
    return text


Name = Annotated[str, Field(pattern=_NAME, description="Letters, digits, `.`, `_`, `-`; at most 100.")]
Reference = Annotated[str, Field(pattern=_REFERENCE, description="A semantic version, an alias, or `latest`.")]
LongText = Annotated[str, Field(max_length=5_000, pattern=PLAIN_LINES)]
Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_storable_text)]
TagName = Annotated[Key, AfterValidator(_plain_text)]
Number = Annotated[float, Field(allow_inf_nan=False)]
ModelId = Annotated[str, Path(pattern=_NAME, description="The model.")]
VersionReference = Annotated[str, Path(pattern=_REFERENCE, description="A version, an alias, or `latest`.")]
Id = Annotated[str, Path(pattern=IDENTIFIER)]
_CURSOR: Final = spoken(r"^[ -~]+$", "is no cursor: send `next_cursor` of the previous page as it was")
Limit = Annotated[int, Query(ge=1, le=500, description="The most items in the answer.")]
Cursor = Annotated[
    str | None, Query(max_length=500, pattern=_CURSOR, description="`next_cursor` of the previous page.")
]
OfModel = Annotated[Name | None, Query(description="Only those of this model.")]


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


FiniteOrNull = Annotated[float | None, AfterValidator(_finite)]
"""A number, or null for an infinity or NaN, which JSON cannot hold."""


class Answer(BaseModel):
    """The base class of all answers."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True, serialize_by_alias=True)


class OpenAnswer(Answer):
    """An answer that may have more fields than those declared."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _in_json(cls, value: Any) -> Any:
        """The Monitor's objects have a method `to_json`, which is used where there is one."""
        return value.to_json() if hasattr(value, "to_json") else value


class PageAnswer(BaseModel, Generic[T]):
    """One page of a list, and the cursor of the next page."""

    items: list[T]
    next_cursor: str | None = Field(default=None, description="Null on the last page.")


def page_of(answer: type[T], page: Page[Any], shown: Callable[[Any], bool] = lambda _: True) -> PageAnswer[T]:
    """Convert each item of `page` that may be `shown` to an `answer`; the page may be shorter for that."""
    return PageAnswer[answer](  # type: ignore[valid-type]  # a type made at run time
        items=[answer.model_validate(item) for item in page.items if shown(item)], next_cursor=page.next_cursor
    )


def comment_of(reason: str, named: str) -> str:
    """Return why something was done, with whom the caller named for it: a comment, which is no proof of who it was.

    >>> comment_of("looks good", "ada"), comment_of("", "ada"), comment_of("looks good", "")
    ('looks good (said: ada)', 'said: ada', 'looks good')
    """
    said = f"said: {named.strip()}" if named.strip() else ""
    return f"{reason} ({said})" if reason and said else reason or said
