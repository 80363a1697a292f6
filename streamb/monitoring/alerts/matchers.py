"""Matchers: conditions on labels, as Alertmanager writes them: `model="iris"`, `severity!="low"`, `version=~"1.*"`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator

from streamb.errors import InvalidInput

_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WRITTEN: Final = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\"]*?))\s*", re.DOTALL
)
_ESCAPES: Final = {"\\n": "\n", "\\t": "\t"}
_MOST_PATTERN_CHARS: Final = 256
_MOST_CHOICES: Final = 3


class Operator(StrEnum):
    """How a label's value is compared; a regular expression must match the whole value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


_REGULAR: Final = frozenset({Operator.MATCHES, Operator.MATCHES_NOT})
_NEGATIVE: Final = frozenset({Operator.NOT_EQUAL, Operator.MATCHES_NOT})


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a missing label has the value "".

    Attributes:
        name: the label's name.
        operator: how the label's value is compared with `value`.
        value: a text, or a regular expression for `=~` and `!~`.

    Raises:
        InvalidInput: the name is not a valid label name, or the regular expression cannot be used.
    """

    name: str
    operator: Operator
    value: str
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.name):
            raise InvalidInput(
                f"{self.name!r} is not a label: use letters, digits and _, and do not begin with a digit"
            )
        if self.operator in _REGULAR:
            object.__setattr__(self, "_pattern", _compiled(self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels meet the condition."""
        found = labels.get(self.name, "")
        hit = found == self.value if self._pattern is None else self._pattern.fullmatch(found) is not None
        return hit != (self.operator in _NEGATIVE)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'{self.name}{self.operator}"{escaped}"'

    @classmethod
    def parse(cls, written: str) -> Matcher:
        """Return the matcher that a text describes; a value that contains no quotes may be written without quotes.

        >>> str(Matcher.parse("model = iris"))
        'model="iris"'

        Raises:
            InvalidInput: the text is not a matcher.
        """
        found = _WRITTEN.fullmatch(written)
        if found is None:
            raise InvalidInput(f'{written!r} is not a matcher: write LABEL="VALUE", with =, !=, =~ or !~ between')
        name, operator, quoted, bare = found.groups()
        value = bare if quoted is None else re.sub(r"\\.", _unescaped, quoted, flags=re.DOTALL)
        return cls(name, Operator(operator), value)

    @classmethod
    def read(cls, given: Any) -> Matcher:
        """Return a matcher from its text or from Alertmanager's API form: `{"name", "value", "isRegex", "isEqual"}`.

        Raises:
            InvalidInput: `given` is neither.
        """
        if isinstance(given, Matcher):
            return given
        if isinstance(given, str):
            return cls.parse(given)
        if isinstance(given, Mapping) and isinstance(given.get("name"), str) and isinstance(given.get("value"), str):
            regular, equal = given.get("isRegex", False), given.get("isEqual", True)
            operator = ("=~" if equal else "!~") if regular else ("=" if equal else "!=")
            return cls(given["name"], Operator(operator), given["value"])
        raise InvalidInput(f'{given!r} is not a matcher: write LABEL="VALUE", or {{"name": …, "value": …}}')


WrittenMatcher = Annotated[Matcher, PlainValidator(Matcher.read), PlainSerializer(str)]
"""A matcher that is stored as its text."""


def read_matchers(given: Any) -> tuple[Matcher, ...]:
    """Return the matchers in a list of matchers or texts; a single text counts as a list of one.

    Raises:
        InvalidInput: `given` is not a list, or an item is not a matcher.
    """
    if isinstance(given, str | Matcher):
        return (Matcher.read(given),)
    if not isinstance(given, Sequence):
        raise InvalidInput(f"matchers must be a list, not {given!r}")
    return tuple(Matcher.read(one) for one in given)


def matches_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether the labels meet every condition (true if there is no condition)."""
    return all(matcher.matches(labels) for matcher in matchers)


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found.group(), found.group()[1])


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile an expression that matches in bounded time: no repeated groups, and few places with a choice."""
    if len(pattern) > _MOST_PATTERN_CHARS:
        raise InvalidInput(f"a regular expression has at most {_MOST_PATTERN_CHARS} characters, not {len(pattern)}")
    # Python's engine backtracks: many choices one after the other could block all alerting for hours.
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "c", re.sub(r"\\.", "c", pattern, flags=re.DOTALL))
    bare = re.sub(r"([*+?}])[?+]", r"\1", bare.removeprefix("(?i)").replace("(?:", "("))
    if "(?" in bare or re.search(r"\)[*+{]", bare) or len(re.findall(r"[*+?{(]", bare)) > _MOST_CHOICES:
        raise InvalidInput(
            f"the regular expression {pattern!r} repeats a group, has a group with (? that is not (?:, or more than "
            f"{_MOST_CHOICES} repetitions, optional parts and groups together: matching could take forever; write "
            "alternatives a|b|c, or several matchers"
        )
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"the regular expression {pattern!r} cannot be read: {error}") from error
