"""API keys, and the ring that keeps them.

A key has the form `sb_<id>_<secret><checksum>`: the id names it (in lists, logs and events), the secret is 256 random
bits, and the checksum tells a mistyped key from a revoked one without a look into the store. Only the digest of a key
is stored. People do not choose the secret, so one round of SHA-256 is enough. A key has two secrets while it is
rotated: the new one, and the old one until its holders have changed over.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamb.asking import change, verb
from streamb.clock import Clock
from streamb.errors import Conflict, InvalidInput, NotFound, Unauthorized
from streamb.hashing import same_secret, sha256_hex
from streamb.security.directory import Directory
from streamb.security.permissions import Permission
from streamb.security.principals import EVERY_MODEL, Kind, Principal, PrincipalRecord
from streamb.store import RecordStore, every_record, keep
from streamb.store.plain import from_plain, to_plain

API_KEYS: Final = "api-keys"
"""The collection in which keys are stored, by key id."""

MOST_KEYS: Final = 10_000
"""How many keys a platform may have: gateways hold all of them in memory."""

DAY_S: Final = 86_400.0
ROTATION_GRACE_S: Final = 7 * DAY_S
"""By default the old secret of a rotated key is valid for so many seconds."""

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"sb_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}([0-9a-f]{{8}})?", re.ASCII)
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}", re.ASCII)
_USED_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a key.

    Attributes:
        digest: SHA-256 of the whole key, 64 hexadecimal digits.
        made_at: when it was made, in seconds since the epoch.
        until: seconds since the epoch from which it is refused; None: as long as its key is valid.
    """

    digest: str
    made_at: float = 0.0
    until: float | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The stored facts of an API key; the key itself is never stored.

    Attributes:
        key_id: the id in the key.
        principal: the name of the principal that it belongs to.
        secrets: its secrets, the newest first; two while it is rotated.
        scopes: what it allows at most; None: whatever its principal may do.
        models: patterns of the model ids that it is good for, as in a shell.
        created_at: seconds since the epoch.
        expires_at: seconds since the epoch from which it is refused; None: it does not expire.
        used_at: when it was last used, to within a minute, in seconds since the epoch; None: never, as far as known.
    """

    key_id: str
    principal: str
    secrets: tuple[Secret, ...]
    scopes: tuple[Permission, ...] | None = None
    models: tuple[str, ...] = EVERY_MODEL
    created_at: float = 0.0
    expires_at: float | None = None
    used_at: float | None = None

    @property
    def made_at(self) -> float:
        """When the newest secret was made, in seconds since the epoch."""
        return self.secrets[0].made_at

    def valid_secrets(self, now: float) -> tuple[Secret, ...]:
        """Return the secrets that are accepted at a time."""
        if self.expires_at is not None and now >= self.expires_at:
            return ()
        return tuple(one for one in self.secrets if one.until is None or now < one.until)

    def due_for_rotation(self, now: float, days: float) -> bool:
        """Return whether its newest secret is older than `days`."""
        return now - self.made_at >= days * DAY_S


def new_plaintext(key_id: str = "") -> str:
    """Return a new key in plain text, to be shown once.

    Args:
        key_id: the id of a key that is rotated; "" for a new key.
    """
    start = f"sb_{key_id or secrets.token_hex(_ID_BYTES)}_{secrets.token_hex(_SECRET_BYTES)}"
    return start + _checksum(start)


def digest(plaintext: str) -> str:
    """Return the SHA-256 of a key (64 hexadecimal digits), which is stored and compared instead of the key."""
    return sha256_hex(plaintext.encode("utf-8", "surrogatepass"))


def parse(plaintext: str) -> str:
    """Return the id in a key. Keys of earlier releases have no checksum.

    Raises:
        Unauthorized: the text is not a key. The message does not repeat it: it may be another secret.
    """
    match = _KEY.fullmatch(plaintext)
    if match is None:
        raise Unauthorized("this is not an API key of this platform; a key has the form sb_<id>_<secret>")
    if match.group(2) and match.group(2) != _checksum(plaintext[:-8]):
        raise Unauthorized(f"the API key {match.group(1)} was mistyped or cut: its checksum is wrong; copy it again")
    return match.group(1)


def check(plaintext: str, record: KeyRecord, now: float) -> bool:
    """Return whether `plaintext` is a valid secret of a key."""
    given = digest(plaintext)
    return any(same_secret(given, one.digest) for one in record.valid_secrets(now))


class KeyRing:
    """The API keys of one platform, stored in its record store.

    Args:
        records: the store.
        clock: the source of time.
        directory: the principals that keys belong to.
        changed: called after every change of what keys allow; must return at once.
    """

    def __init__(
        self, records: RecordStore, clock: Clock, directory: Directory, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._records = records
        self._clock = clock
        self._directory = directory
        self._changed = changed

    @change
    def create(
        self,
        principal: str,
        scopes: Collection[str] | None = None,
        models: Sequence[str] = EVERY_MODEL,
        expires_at: float | None = None,
    ) -> tuple[str, KeyRecord]:
        """Create a key; return its plain text, which is not stored anywhere, and the stored record.

        Args:
            principal: the name of the person or service that it belongs to.
            scopes: names of the permissions that it allows at most; None: whatever its principal may do.
            models: patterns of the model ids that it is good for, as in a shell.
            expires_at: seconds since the epoch from which it is refused; None: it does not expire.

        Raises:
            NotFound: there is no such principal.
            InvalidInput: a scope or a pattern is not valid, or it has expired already.
            Conflict: there are too many keys.
        """
        self._directory.get(principal)
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidInput("a key cannot expire in the past")
        if not models or not all(_PATTERN.fullmatch(one) for one in models):
            raise InvalidInput("models must be model ids or patterns such as energy-*, at least one")
        if len(self.list()) >= MOST_KEYS:
            raise Conflict(f"there are {MOST_KEYS} keys, which is the limit; revoke those that nobody uses")
        plaintext = new_plaintext()
        record = KeyRecord(
            parse(plaintext),
            principal,
            (Secret(digest(plaintext), now),),
            None if scopes is None else read_scopes(scopes),
            tuple(models),
            now,
            expires_at,
        )
        self._store(record, ("", record))
        return plaintext, record

    def adopt(self, plaintext: str, principal: str) -> KeyRecord:
        """Make an existing key of a principal valid on this platform; a key that is already known stays unchanged.

        Raises:
            Unauthorized: `plaintext` does not have the form of a key.
        """
        key_id, now = parse(plaintext), self._clock.now()
        known = self._get(key_id)
        if known is not None and check(plaintext, known, now):
            return known
        record = KeyRecord(key_id, principal, (Secret(digest(plaintext), now),), created_at=now)
        self._store(record)
        return record

    @verb
    def check(self, key: str) -> Principal | None:
        """Return the principal that `key` belongs to, with what this key allows; None if it is not a valid key.

        Raises:
            Unauthorized: it is no key at all, or mistyped.
        """
        record, now = self._get(parse(key)), self._clock.now()
        if record is None or not check(key, record, now):
            return None
        owner = self._directory.find(record.principal)
        if owner is None:
            return None
        self._used({record.key_id: now})
        return principal_of(owner, record)

    @verb
    def list(self) -> tuple[KeyRecord, ...]:
        """Return the records of all keys, ordered by id."""
        return tuple(_read(record.body) for record in every_record(self._records, API_KEYS))

    def allowed(self) -> Mapping[str, tuple[KeyRecord, Principal, Secret]]:
        """Return what each valid secret allows, by its digest, for the gateways to compare with."""
        now, found = self._clock.now(), {}
        owners = {owner.name: owner for owner in self._directory.list()}
        for record in self.list():
            if (owner := owners.get(record.principal)) is not None:
                for secret in record.valid_secrets(now):
                    found[secret.digest] = (record, principal_of(owner, record), secret)
        return found

    @change
    def revoke(self, key_id: str) -> None:
        """Revoke a key: it is no longer valid.

        Raises:
            NotFound: there is no such key.
        """
        with self._records.batch():
            if not self._records.delete(API_KEYS, key_id):
                raise NotFound(f"no API key has the id {key_id}")
            keep(None)
        self._changed()

    @change
    def rotate(self, key_id: str, grace_s: float = ROTATION_GRACE_S) -> tuple[str, KeyRecord]:
        """Give a key a new secret; return its plain text, which is not stored anywhere, and the stored record.

        Args:
            key_id: the id of the key, which stays.
            grace_s: for so many seconds the present secret is valid as well; 0: it is refused at once.

        Raises:
            NotFound: there is no such key.
        """
        record = self._get(key_id)
        if record is None:
            raise NotFound(f"no API key has the id {key_id}")
        now, plaintext = self._clock.now(), new_plaintext(key_id)
        old = tuple(replace(one, until=now + grace_s) for one in record.valid_secrets(now)[:1] if grace_s > 0)
        rotated = replace(record, secrets=(Secret(digest(plaintext), now), *old))
        self._store(rotated, ("", rotated))
        return plaintext, rotated

    def used(self, at: Mapping[str, float]) -> None:
        """Note when keys were last used, by key id, in seconds since the epoch; stored to within a minute."""
        self._used(at)

    def _used(self, at: Mapping[str, float]) -> None:
        for key_id, when in at.items():
            record = self._get(key_id)
            if record is not None and when - (record.used_at or 0.0) >= _USED_EVERY_S:
                self._records.put(API_KEYS, key_id, to_plain(replace(record, used_at=when)))

    def _get(self, key_id: str) -> KeyRecord | None:
        stored = self._records.get(API_KEYS, key_id)
        return None if stored is None else _read(stored.body)

    def _store(self, record: KeyRecord, kept: tuple[str, KeyRecord] | None = None) -> None:
        """Store a key; `kept` is the answer that a repetition of the change is told, without the secret."""
        with self._records.batch():
            self._records.put(API_KEYS, record.key_id, to_plain(record))
            if kept is not None:
                keep(kept)
        self._changed()


def principal_of(owner: PrincipalRecord, record: KeyRecord) -> Principal:
    """Return a principal with what one of its keys allows."""
    may = owner.permissions
    if record.scopes is not None:
        may = frozenset(record.scopes) if owner.kind is Kind.JOB else may & frozenset(record.scopes)
    return Principal(owner.name, may, owner.kind, record.models, record.key_id)


def read_scopes(names: Collection[str]) -> tuple[Permission, ...]:
    """Return the permissions with these names.

    Raises:
        InvalidInput: a name is no permission, or there is none.
    """
    unknown = sorted(set(names) - set(Permission))
    if unknown or not names:
        raise InvalidInput(
            f"scopes must be some of {', '.join(Permission)}" + (f", not {', '.join(unknown)}" if unknown else "")
        )
    return tuple(one for one in Permission if one in names)


def _checksum(start: str) -> str:
    return f"{zlib.crc32(start.encode()):08x}"


def _read(body: Mapping[str, object]) -> KeyRecord:
    """Return a stored key; those of earlier releases had a name, one digest, and no scopes."""
    if "digest" in body:
        body = {"key_id": body["key_id"], "principal": body["name"], "secrets": [{"digest": body["digest"]}]}
    return from_plain(KeyRecord, body)
