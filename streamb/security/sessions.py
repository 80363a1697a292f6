"""Sessions: a person signs in once with a key or a token, and a browser then proves it with a cookie.

The Controller stores the SHA-256 of each session's secret, so that every Console knows it; the secret itself is in the
cookie only. A session is never worth more than what opened it: it ends when the key is revoked, rotated away or
expired, and loses what the principal or its groups lose.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamb.asking import verb
from streamb.clock import Clock
from streamb.errors import Forbidden, NotFound, Unauthorized
from streamb.hashing import sha256_hex
from streamb.security.directory import Directory
from streamb.security.key_records import digest, parse, principal_of
from streamb.security.keys import KeyRing
from streamb.security.oidc import Person, principal_of_groups
from streamb.security.principals import Kind, Principal
from streamb.store import RecordStore, every_record
from streamb.store.plain import from_plain, to_plain

SESSIONS: Final = "sessions"
"""The collection in which sessions are stored, by `place_of` their secret."""

MOST_SESSIONS: Final = 20
"""How many sessions one principal may have; one more ends the oldest."""

_SWEEP_S: Final = 3_600.0
_OWNER_CHARS: Final = 32
_SECRET: Final = re.compile(rf"[0-9a-f]{{{_OWNER_CHARS}}}\.[0-9a-f]{{64}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """The stored facts of a session.

    Attributes:
        principal: the name of the principal that signed in.
        opened_at: seconds since the epoch.
        until: seconds since the epoch from which it is refused.
        key_id: the key that opened it; "" if a token did.
        secret: the SHA-256 of that key; "" if a token did.
        issuer: the issuer of the token; "" if a key opened it.
        groups: the groups of the token that had a role.
    """

    principal: str
    opened_at: float
    until: float
    key_id: str = ""
    secret: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()


def new_secret(principal: str) -> str:
    """Return the secret of a new session, for the cookie of a principal of this name."""
    return f"{sha256_hex(principal.encode())[:_OWNER_CHARS]}.{secrets.token_hex(32)}"


def is_secret(text: str) -> bool:
    """Return whether a text has the form of a session's secret."""
    return _SECRET.fullmatch(text) is not None


def place_of(secret: str) -> str:
    """Return the key under which a session is stored: nobody can tell the secret from it."""
    return f"{secret[:_OWNER_CHARS]}.{sha256_hex(secret.encode())}"


def csrf_token(secret: str) -> str:
    """Return what a page of the Console must repeat with each change: only the Console can tell it from the cookie."""
    return sha256_hex(f"csrf\n{secret}".encode())


class Sessions:
    """The sessions of one platform, stored in its record store.

    Args:
        records: the store.
        clock: the source of time.
        keys, directory: the keys and principals of the platform.
        lasts_s: how long a session lasts, in seconds.
        issuer: the issuer whose tokens may open sessions; None if there is none.
        roles: the roles of each group, by name.
    """

    def __init__(
        self,
        records: RecordStore,
        clock: Clock,
        keys: KeyRing,
        directory: Directory,
        *,
        lasts_s: float,
        issuer: str | None = None,
        roles: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._keys = keys
        self._directory = directory
        self._lasts_s = lasts_s
        self._issuer = issuer
        self._roles = roles or {}
        self._swept_at = 0.0

    @verb
    def open_with_key(self, place: str, key: str) -> Session:
        """Open a session for the principal of a key.

        Args:
            place: `place_of` the new secret.
            key: the key.

        Raises:
            Unauthorized: the key is not valid.
            Forbidden: it is the key of a job.
        """
        now = self._clock.now()
        session = Session("", now, now + self._lasts_s, parse(key), digest(key))
        principal = self._of_key(session)
        if principal is None:
            raise Unauthorized(
                "this API key is not valid here; it may have been revoked, or belong to another platform"
            )
        if principal.kind is Kind.JOB:
            raise Forbidden("jobs have no sessions: send the key with each request")
        return self._open(place, Session(principal.name, now, session.until, session.key_id, session.secret))

    @verb
    def open_for(self, place: str, person: Person) -> Session:
        """Open a session for a person whose token was checked.

        Args:
            place: `place_of` the new secret.
            person: whom the token named.
        """
        now = self._clock.now()
        until = now + self._lasts_s
        return self._open(place, Session(person.name, now, until, issuer=person.issuer, groups=person.groups))

    @verb
    def check(self, place: str) -> Principal | None:
        """Return whose session is stored in a place, with what it allows now; None if there is none any more."""
        stored = self._records.get(SESSIONS, place)
        if stored is None:
            return None
        session = from_plain(Session, stored.body)
        if self._clock.now() >= session.until:
            return None
        if session.key_id:
            return self._of_key(session)
        if not session.issuer or session.issuer != self._issuer:
            return None
        return principal_of_groups(session.principal, session.groups, self._roles)

    @verb
    def close(self, place: str) -> None:
        """End a session; nothing happens if there is none."""
        self._records.delete(SESSIONS, place)

    def _of_key(self, session: Session) -> Principal | None:
        try:
            record = self._keys.get(session.key_id)
        except NotFound:
            return None
        valid = any(one.digest == session.secret for one in record.valid_secrets(self._clock.now()))
        owner = self._directory.find(record.principal) if valid else None
        return None if owner is None else principal_of(owner, record)

    def _open(self, place: str, session: Session) -> Session:
        self._sweep()
        with self._records.batch():
            own = list(every_record(self._records, SESSIONS, prefix=f"{place[:_OWNER_CHARS]}."))
            own.sort(key=lambda record: record.created_at)
            for oldest in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
                self._records.delete(SESSIONS, oldest.key)
            self._records.put(SESSIONS, place, to_plain(session), expected=0)
        return session

    def _sweep(self) -> None:
        """Forget the sessions that have ended, at most once an hour."""
        now = self._clock.now()
        if now - self._swept_at < _SWEEP_S:
            return
        self._swept_at = now
        for record in list(every_record(self._records, SESSIONS)):
            if now >= from_plain(Session, record.body).until:
                self._records.delete(SESSIONS, record.key)
