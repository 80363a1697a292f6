"""Principals: the people, services and jobs that keys, tokens and sessions belong to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from streamb.security.permissions import ROLES, Permission, Role

EVERY_MODEL: Final = ("*",)
"""The patterns of a key that is good for every model."""


ANONYMOUS: Final = "anonymous"
"""The name under which is recorded what a caller without a key does; no principal can have it."""


JOB_NAMES: Final = "job:"
"""How the names of jobs begin; those of people and services have no colon, but for those of an issuer."""


class Kind(StrEnum):
    """What a principal is."""

    PERSON = "person"
    SERVICE = "service"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who has proven who it is.

    Attributes:
        name: the name of the person, service or job; unique on the platform. What it does is recorded under this name,
            whichever of its keys it used.
        permissions: what it may do with the key, token or session that it used.
        kind: what it is.
        models: patterns of the model ids that it may do it with, as in a shell.
        key_id: the id of the API key that it used; "" if it used none.
        narrowed: whether that key allows less than its owner may do; it then does so even where nobody looks at roles.
    """

    name: str
    permissions: frozenset[Permission]
    kind: Kind = Kind.SERVICE
    models: tuple[str, ...] = EVERY_MODEL
    key_id: str = ""
    narrowed: bool = False

    @property
    def admin(self) -> bool:
        """Whether it may do everything, including forced operations."""
        return Permission.ADMIN in self.permissions

    def may(self, needed: Collection[Permission]) -> bool:
        """Return whether it has one of these permissions; True if none is needed."""
        return not needed or not self.permissions.isdisjoint(needed)

    @property
    def every_model(self) -> bool:
        """Whether what it may do is not limited to some models."""
        return "*" in self.models

    def covers(self, model_id: str) -> bool:
        """Return whether a model is one of those that it may do something with."""
        return any(fnmatchcase(model_id, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """The stored facts of a principal.

    Attributes:
        name: its unique name.
        kind: what it is.
        roles: its roles; all its keys have at most what they allow. A job has none: its key says what it may do.
        created_at: seconds since the epoch.
    """

    name: str
    kind: Kind
    roles: tuple[Role, ...] = ()
    created_at: float = 0.0

    @property
    def permissions(self) -> frozenset[Permission]:
        """What its roles allow."""
        return frozenset().union(*(ROLES[role] for role in self.roles))
