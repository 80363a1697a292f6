"""Semantic versions (semver.org, 2.0.0): strict parsing, and a text key by which a database can sort them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streamb.errors import InvalidInput

MAX_VERSION_CHARS: Final = 100
NOT_A_VERSION: Final = "is not a semantic version: write MAJOR.MINOR.PATCH, like 1.4.0 or 2.0.0-rc.1"

_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PRE: Final = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"(?P<core>{_NUMBER}\.{_NUMBER}\.{_NUMBER})"
    rf"(?:-(?P<prerelease>{_PRE}(?:\.{_PRE})*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version.

    >>> Semver.parse("1.10.0").sort_key > Semver.parse("1.9.9").sort_key > Semver.parse("1.9.9-rc.1").sort_key
    True
    """

    core: tuple[str, str, str]
    prerelease: tuple[str, ...] = ()
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Semver:
        """Parse a version.

        Raises:
            InvalidInput: it is no semantic version (2.0.0), or longer than 100 characters.
        """
        match = _SEMVER.fullmatch(text) if len(text) <= MAX_VERSION_CHARS else None
        if match is None:
            raise InvalidInput(
                f"{text[:120]!r} {NOT_A_VERSION}",
                version=text[:120],
            )
        major, minor, patch = match["core"].split(".")
        prerelease = tuple(match["prerelease"].split(".")) if match["prerelease"] else ()
        return cls((major, minor, patch), prerelease, match["build"] or "")

    @property
    def is_release(self) -> bool:
        """False for pre-releases such as 1.0.0-rc.1."""
        return not self.prerelease

    @property
    def sort_key(self) -> str:
        """Text whose order by code point is the order of versions (item 11 of the specification).

        Each version has one key: build metadata, which the specification leaves unordered, decides last. A number is
        preceded by its length, so that longer is greater; a separator is less than every character that it
        separates; `~`, which follows every letter, puts a release after its pre-releases.
        """
        core = "".join(map(_number_key, self.core))
        fields = "!".join(f"0{_number_key(i)}" if i.isdecimal() else f"1{i}" for i in self.prerelease)
        return core + (f"-{fields}" if fields else "~") + (f" {self.build}" if self.build else "")


def _number_key(digits: str) -> str:
    return f"{len(digits):02}{digits}"
