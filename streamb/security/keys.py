"""API keys, and the principal (caller) that a key belongs to.

A key has the form `sb_<id>_<secret>`: the id names it (in lists, logs and events), the secret is 256 random bits. Only
the digest of a key is stored. People do not choose the secret, so one round of SHA-256 is enough.
There are no roles and permissions here: a principal either may administer the platform or may not.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import Final

from streamb.asking import verb
from streamb.clock import Clock, isoformat
from streamb.errors import NotFound, Unauthorized
from streamb.hashing import same_secret, sha256_hex
from streamb.store import RecordStore, every_record
from streamb.store.plain import from_plain, to_plain

API_KEYS: Final = "api-keys"
"""The collection in which keys are stored, by key id."""

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"sb_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key was checked.

    Attributes:
        name: the caller's name, for people: "operator", "ci".
        key_id: the id in its key.
        admin: whether it may do everything, including forced operations.
    """

    name: str
    key_id: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The stored facts of an API key; the key itself is never stored.

    Attributes:
        digest: SHA-256 of the whole key, 64 hexadecimal digits.
        created_at: ISO 8601, UTC; "" if the record was not stored yet.
    """

    key_id: str
    name: str
    digest: str
    admin: bool = False
    created_at: str = ""


def new_key(name: str, *, admin: bool = False) -> tuple[str, KeyRecord]:
    """Return a new API key: the plaintext, to be shown once, and the record to store.

    >>> plaintext, record = new_key("ci")
    >>> check(plaintext, record).name
    'ci'
    """
    key_id = secrets.token_hex(_ID_BYTES)
    plaintext = f"sb_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
    return plaintext, KeyRecord(key_id=key_id, name=name, digest=digest(plaintext), admin=admin)


def digest(plaintext: str) -> str:
    """Return the SHA-256 of a key (64 hexadecimal digits), which is stored and compared instead of the key."""
    return sha256_hex(plaintext.encode())


def parse(plaintext: str) -> str:
    """Return the id in a key.

    Raises:
        Unauthorized: the text is not a key. The message does not repeat it: it may be another secret.
    """
    match = _KEY.fullmatch(plaintext)
    if match is None:
        raise Unauthorized("this is not an API key of this platform; a key has the form sb_<id>_<secret>")
    return match.group(1)


def check(plaintext: str, record: KeyRecord) -> Principal | None:
    """Return the principal if `plaintext` is the key of `record`, otherwise None; takes the same time either way."""
    if _KEY.fullmatch(plaintext) is None or not same_secret(digest(plaintext), record.digest):
        return None
    return Principal(name=record.name, key_id=record.key_id, admin=record.admin)


class KeyRing:
    """The API keys of one platform, stored in its record store."""

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def create(self, name: str, *, admin: bool = False) -> tuple[str, KeyRecord]:
        """Create a key; return the plaintext, which is not stored anywhere, and the stored record."""
        plaintext, record = new_key(name, admin=admin)
        return plaintext, self._store(record)

    def adopt(self, plaintext: str, name: str, *, admin: bool = False) -> KeyRecord:
        """Make an existing key valid on this platform; a key that is already known stays unchanged.

        Raises:
            Unauthorized: `plaintext` does not have the form of a key.
        """
        key_id = parse(plaintext)
        known = self._records.get(API_KEYS, key_id)
        if known is not None and check(plaintext, from_plain(KeyRecord, known.body)):
            return from_plain(KeyRecord, known.body)
        return self._store(KeyRecord(key_id=key_id, name=name, digest=digest(plaintext), admin=admin))

    @verb
    def check(self, key: str) -> Principal | None:
        """Return the principal that `key` belongs to; None if it is not a valid key."""
        match = _KEY.fullmatch(key)
        stored = self._records.get(API_KEYS, match.group(1)) if match else None
        return check(key, from_plain(KeyRecord, stored.body)) if stored else None

    def list(self) -> tuple[KeyRecord, ...]:
        """Return the records of all valid keys, ordered by id."""
        return tuple(from_plain(KeyRecord, record.body) for record in every_record(self._records, API_KEYS))

    def digests(self) -> frozenset[str]:
        """Return the digests of all valid keys, for the gateways to compare with."""
        return frozenset(record.digest for record in self.list())

    def revoke(self, key_id: str) -> None:
        """Revoke a key: it is no longer valid.

        Raises:
            NotFound: there is no such key.
        """
        if not self._records.delete(API_KEYS, key_id):
            raise NotFound(f"no API key has the id {key_id}")

    def _store(self, record: KeyRecord) -> KeyRecord:
        stored = replace(record, created_at=isoformat(self._clock.now()))
        self._records.put(API_KEYS, record.key_id, to_plain(stored))
        return stored
