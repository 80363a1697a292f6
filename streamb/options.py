"""Groups of options, declared once: each with its type, range, unit, default and description.

Python, HTTP, the command line and the documentation's tables read the same declaration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from streamb.errors import InvalidInput
from streamb.text import OBEYED

LONGEST_WINDOW_MINUTES: Final = 1_440
_UNKNOWN: Final = "extra_forbidden"
_MISSING: Final = "missing"
_NO_MATCH: Final = "string_pattern_mismatch"
_MOST_SHOWN: Final = 120
_ABOUT: Final = ("default", "description", "title", "unit", "examples")
_SENTENCES: Final[dict[str, str]] = {}  # regular expression -> what is said in its place


def spoken(pattern: str, sentence: str) -> str:
    """Return a regular expression for a field, and let messages say the sentence in its place.

    Args:
        pattern: the regular expression.
        sentence: what is said of a value that does not match, as it goes on behind the value:
            "is not a semantic version: write …".
    """
    _SENTENCES[pattern] = sentence
    return pattern


def problem_of(found: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors, without a regular expression."""
    if found["type"] != _NO_MATCH:
        return str(found["msg"])
    sentence = _SENTENCES.get(found["ctx"]["pattern"], "holds characters that are not allowed here")
    value = f"{str(found['input'])[:_MOST_SHOWN]!r}" if "input" in found else "the value"  # it may be a secret
    return f"{value} {sentence}"


NO_NUL: Final = spoken(r"^[^\x00]*$", "holds the character NUL, which no text may have")
PLAIN: Final = spoken(
    rf"^[^{OBEYED}]*$",
    "holds a control character, or one that is invisible or turns the direction of writing, which no name may have",
)
PLAIN_LINES: Final = spoken(
    rf"^(?:[^{OBEYED}]|[\n\r\t])*$",
    "holds a control character, or one that is invisible or turns the direction of writing, which no text may have",
)

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=30 * 86_400, allow_inf_nan=False)]
WindowMinutes = Annotated[int, Field(ge=1, le=LONGEST_WINDOW_MINUTES)]
ShortText = Annotated[str, Field(max_length=200, pattern=PLAIN)]
SomeText = Annotated[str, Field(min_length=1, max_length=1_000, pattern=PLAIN_LINES)]


def option(description: str, *, default: Any = None, unit: str = "", **more: Any) -> Any:
    """Declare a field of `Options`.

    Args:
        description: one sentence.
        default: the value if the option is not given; `...` if it is required.
        unit: the unit of a number, in words: "milliseconds", "share".
        more: further arguments of pydantic's `Field`.
    """
    return Field(default, description=description, json_schema_extra={"unit": unit}, **more)


def checked_window(minutes: int) -> int:
    """Return `minutes` if it is a valid length of a window of traffic.

    Raises:
        InvalidInput: it is not within 1 to `LONGEST_WINDOW_MINUTES`.
    """
    if not 1 <= minutes <= LONGEST_WINDOW_MINUTES:
        raise InvalidInput(f"a window must be 1 to {LONGEST_WINDOW_MINUTES} minutes, not {minutes}")
    return minutes


class Strict(BaseModel):
    """An immutable document that accepts only declared fields, and converts no types.

    A field that is None (null in JSON) counts as not given: an optional one keeps its default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def canonical(self) -> str:
        """Return the content as JSON with sorted keys; equal content gives equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @model_validator(mode="before")
    @classmethod
    def _none_is_not_given(cls, given: Any) -> Any:
        return {name: one for name, one in given.items() if one is not None} if isinstance(given, Mapping) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        resolved = handler.resolve_ref_schema(schema)
        for name, one in resolved.get("properties", {}).items():
            kinds = one.get("anyOf", [])
            if name not in resolved.get("required", []) and {"type": "null"} not in kinds:
                about = {key: one.pop(key) for key in _ABOUT if key in one}
                resolved["properties"][name] = {**about, "anyOf": [*(kinds or [one]), {"type": "null"}]}
        return schema


class Options(Strict):
    """The base class of all groups of options."""

    called: ClassVar[str] = "options"
    """The name of the group in error messages."""

    @classmethod
    def read(cls, given: Mapping[str, Any] | Self, context: Any = None) -> Self:
        """Validate the options that a user gave; an instance of this class is returned unchanged.

        Args:
            given: options by name.
            context: passed on to the validators.

        Raises:
            InvalidInput: a name is unknown or a value is not allowed; `details["problems"]` lists them.
        """
        try:
            return cls.model_validate(given, context=context)
        except ValidationError as error:
            found = error.errors(include_url=False)
            problems = [cls._problem(one) for one in found]
        raise InvalidInput(f"{cls.called}: {'; '.join(problems)}", problems=problems)

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given, as JSON, even if equal to the default; `read` accepts the result."""
        return self.model_dump(mode="json", exclude_unset=True)

    def to_json(self) -> dict[str, Any]:
        """Return every option as JSON; `read` accepts the result."""
        return self.model_dump(mode="json")

    @classmethod
    def _problem(cls, found: Mapping[str, Any]) -> str:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"] if part != "[key]")
        place = "".join(parts).removeprefix(".")
        if found["type"] == _UNKNOWN:
            known = f"; there are {', '.join(sorted(cls.model_fields))}" if len(found["loc"]) == 1 else " here"
            return f"{place} is unknown{known}"
        if found["type"] == _MISSING:
            return f"{place} is missing"
        if found["type"] == _NO_MATCH:
            return f"{place}: {problem_of(found)}"
        words = re.sub(r"^\w+ should ", "must ", str(found["msg"]).removeprefix("Value error, "))
        words = re.sub(r" valid dictionary or instance of .*", "n object of names and values", words)
        return f"{place} {words}, not {found['input']!r:.200}".strip()
