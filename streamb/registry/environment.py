"""The environment of a version: what is installed for its replicas alone."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from streamb.options import Strict

_MOST: Final = 100
_FILES: Final = re.compile(r"(-r|-c|-e|--requirement|--constraint|--editable)\b")


def _requirement(line: str) -> str:
    text = line.strip()
    if not text or not text.isprintable():
        raise ValueError("a requirement is one line of printable characters, such as 'xgboost==3.1.*'")
    if _FILES.match(text):
        raise ValueError(f"{text.split()[0]} names a file of one machine; list the requirements themselves")
    return text


Requirement = Annotated[str, Field(max_length=500), AfterValidator(_requirement)]


class VersionEnvironment(Strict):
    """What is installed for the replicas of one version alone, on top of what the platform has: by pip or by uv.

    Each entry is a line of a requirements file: a requirement, the path of a wheel that every machine has, or an option
    such as `--find-links FOLDER`.
    """

    pip: list[Requirement] = Field(default_factory=list, max_length=_MOST, description="Installed by pip.")
    uv: list[Requirement] = Field(default_factory=list, max_length=_MOST, description="Installed by uv.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.pip) == bool(self.uv):
            raise ValueError('give a list of requirements for either "pip" or "uv"')
        return self

    @property
    def requirements(self) -> dict[str, list[str]]:
        """The one list that was given, by the name of the tool."""
        return {"pip": self.pip} if self.pip else {"uv": self.uv}
