"""The directory of principals: who the people and services of a platform are, and which roles they have."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

from streamb.asking import change, verb
from streamb.clock import Clock
from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.security.permissions import Role
from streamb.security.principals import Kind, PrincipalRecord
from streamb.store import Page, RecordStore, every_record, keep
from streamb.store.plain import from_plain, to_plain

PRINCIPALS: Final = "principals"
"""The collection in which principals are stored, by name."""

API_KEYS: Final = "api-keys"
"""The collection in which keys are stored, by key id: those of a principal go when it is removed."""

OPERATOR: Final = "operator"
"""The principal of the key in the state directory: an administrator that always exists."""

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}"
"""The form of a name, as a regular expression."""

NOT_A_NAME: Final = "cannot be the name of a principal: use 1 to 100 letters, digits and . _ @ + -"
"""What is said of a text that is none, after the text."""

_NAME: Final = re.compile(NAME, re.ASCII)
_RESERVED: Final = frozenset({"anonymous", "controller", "monitor", "system"})
"""Names under which the history tells what the platform itself did, or a caller without a key."""


class Directory:
    """The principals of one platform, stored in its record store.

    Args:
        records: the store.
        clock: the source of time.
        changed: called after every change; must return at once.
    """

    def __init__(self, records: RecordStore, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self._records = records
        self._clock = clock
        self._changed = changed

    @change
    def create(self, name: str, kind: str, roles: Collection[str]) -> PrincipalRecord:
        """Add a person or a service.

        Args:
            name: a unique name or email address; what the principal does is recorded under it.
            kind: "person" or "service".
            roles: names of roles; none: it may do nothing.

        Raises:
            InvalidInput: the name, the kind or a role is not valid.
            Conflict: there is a principal of that name.
        """
        if _NAME.fullmatch(name) is None or name.lower() in _RESERVED:
            known = ", ".join(sorted(_RESERVED))
            raise InvalidInput(f"a name has 1 to 100 letters, digits and . _ @ + -, and is none of {known}")
        if "@" in name and name != name.lower():
            raise InvalidInput(f"write the address as {name.lower()}: a login names its people in lower case")
        if "@" in name and name != name.lower():
            raise InvalidInput("write an email address in lower case, as it is when its owner signs in with a token")
        if kind not in (Kind.PERSON, Kind.SERVICE):
            raise InvalidInput(f"a principal is a person or a service, not {kind!r}")
        record = PrincipalRecord(name, Kind(kind), read_roles(roles), self._clock.now())
        with self._records.batch():
            for other in self.list():
                if other.name.casefold() == name.casefold():  # "Ada" must not approve what "ada" created
                    raise Conflict(f"there is a principal {other.name!r} already; give it a key, or change its roles")
            self._put(record)
        self._changed()
        return record

    def ensure(self, record: PrincipalRecord) -> None:
        """Store a principal as it is, unless it is stored already."""
        if self.find(record.name) != record:
            self._store(record)

    @change
    def set_roles(self, name: str, roles: Collection[str]) -> PrincipalRecord:
        """Change the roles of a principal, for all its keys at once.

        Raises:
            NotFound: there is no such principal.
            InvalidInput: a role is not valid.
            Conflict: it is the operator, whose key is in the state directory.
        """
        if name == OPERATOR:
            raise Conflict("the operator stays an administrator: whoever reads the state directory is one anyway")
        given = read_roles(roles)
        with self._records.batch():
            found = self.get(name)
            if found.kind is Kind.JOB:
                raise Conflict("a job has no roles: its key says what it may do")
            changed = PrincipalRecord(found.name, found.kind, given, found.created_at)
            self._put(changed)
        self._changed()
        return changed

    @verb
    def get(self, name: str) -> PrincipalRecord:
        """Return one principal.

        Raises:
            NotFound: there is no such principal.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"there is no principal {name!r}; create it first")
        return found

    def find(self, name: str) -> PrincipalRecord | None:
        """Return one principal; None if there is none of that name."""
        stored = self._records.get(PRINCIPALS, name)
        return None if stored is None else from_plain(PrincipalRecord, stored.body)

    @verb
    def list(self) -> tuple[PrincipalRecord, ...]:
        """Return all principals, ordered by name."""
        return tuple(from_plain(PrincipalRecord, one.body) for one in every_record(self._records, PRINCIPALS))

    @verb
    def page(self, limit: int, cursor: str | None) -> Page[PrincipalRecord]:
        """Return a page of the principals, ordered by name."""
        page = self._records.list(PRINCIPALS, limit=limit, cursor=cursor)
        return Page(tuple(from_plain(PrincipalRecord, one.body) for one in page.items), page.next_cursor)

    @change
    def remove(self, name: str) -> None:
        """Remove a principal and its keys: another one that gets the same name later has none of them.

        Raises:
            NotFound: there is no such principal.
            Conflict: it is the operator.
        """
        if name == OPERATOR:
            raise Conflict("the operator cannot be removed: its key is in the state directory")
        with self._records.batch():
            if not self._records.delete(PRINCIPALS, name):
                raise NotFound(f"there is no principal {name!r}")
            for key in [one.key for one in every_record(self._records, API_KEYS) if one.body.get("principal") == name]:
                self._records.delete(API_KEYS, key)
            keep(None)
        self._changed()

    def _store(self, record: PrincipalRecord) -> None:
        with self._records.batch():
            self._put(record)
        self._changed()  # after the batch: it takes other locks, and publishes what others may read at once

    def _put(self, record: PrincipalRecord) -> None:
        self._records.put(PRINCIPALS, record.name, to_plain(keep(record)))


def read_roles(names: Collection[str]) -> tuple[Role, ...]:
    """Return the roles with these names.

    Raises:
        InvalidInput: a name is no role.
    """
    unknown = sorted(set(names) - set(Role))
    if unknown:
        raise InvalidInput(f"roles are {', '.join(Role)}, not {', '.join(unknown)}")
    return tuple(one for one in Role if one in names)
