"""The registered model: a name with its description, tags, aliases and versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from streamb.errors import InvalidInput

LATEST: Final = "latest"
"""The reserved reference to the highest version; no alias can take it."""

MOST_TAGS: Final = 100
"""The most tags of a model, or of a version."""

MOST_ALIASES: Final = 100
"""The most aliases of a model; every gateway knows all of them."""

MODEL_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
ALIAS: Final = r"[A-Za-z][A-Za-z0-9._-]{0,99}"
NOT_A_MODEL_ID: Final = (
    "cannot be a model id: use 1 to 100 letters, digits, '.', '_' and '-', starting with a letter or digit"
)
NOT_AN_ALIAS: Final = "cannot be an alias: use 1 to 100 letters, digits, '.', '_' and '-', starting with a letter"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model in the registry.

    Attributes:
        name: a name for people; the id if none was given.
        created_at: seconds since the epoch.
        updated_at: seconds since the epoch; changes of aliases, tags and the latest version update it as well.
        aliases: alias -> version, such as champion -> 1.4.0.
        latest_version: the highest release by semantic versioning, or the highest pre-release if there is no release;
            None while there is no version.
    """

    model_id: str
    name: str
    description: str
    owner: str
    created_at: float
    updated_at: float
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    latest_version: str | None = None

    @property
    def names(self) -> dict[str, str]:
        """The versions that can be named otherwise than by their number: by each alias, and by "latest"."""
        return dict(self.aliases) if self.latest_version is None else {**self.aliases, LATEST: self.latest_version}


def check_model_id(model_id: str) -> None:
    """Raise InvalidInput unless `model_id` is a valid id of a model."""
    if not re.fullmatch(MODEL_ID, model_id):
        raise InvalidInput(f"{model_id[:120]!r} {NOT_A_MODEL_ID}")


def check_alias(alias: str) -> None:
    """Raise InvalidInput unless `alias` is valid; it starts with a letter, so it never looks like a version."""
    if alias.lower() == LATEST:
        raise InvalidInput(f"{LATEST!r} always means the highest version and cannot be set: choose another alias")
    if not re.fullmatch(ALIAS, alias):
        raise InvalidInput(f"{alias[:120]!r} {NOT_AN_ALIAS}")


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags as a dict; raise InvalidInput if one is not text, or if there are too many."""
    if len(tags) > MOST_TAGS:
        raise InvalidInput(f"there may be {MOST_TAGS} tags, and these would be {len(tags)}; remove some first")
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key:
            raise InvalidInput(f"names and values of tags must be text; the tag {key!r} is {value!r}")
    return dict(tags)
