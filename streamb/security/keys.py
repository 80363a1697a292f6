"""Who is calling: API keys, and the principal behind one.

A key reads `sb_<id>_<secret>`: the id names it (in lists, logs and events), the secret is 256 random bits. Only the
digest of a key is ever stored. The secret is not a password that people choose, so one round of SHA-256 is enough.
Roles and permissions are not here: a principal either may administer the platform or may not.
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
"""The collection that keys are kept in, by key id."""

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"sb_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key was checked.

    Attributes:
        name: what people call it: "operator", "ci".
        key_id: the id inside its key.
        admin: may do everything, including what is refused to others unless forced.
    """

    name: str
    key_id: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of an API key: never the key.

    Attributes:
        digest: SHA-256 of the whole key, 64 hexadecimal digits.
        created_at: ISO 8601, UTC; "" where it was never stored.
    """

    key_id: str
    name: str
    digest: str
    admin: bool = False
    created_at: str = ""


def new_key(name: str, *, admin: bool = False) -> tuple[str, KeyRecord]:
    """A fresh API key: the plaintext, to be shown once, and the record to store.

    >>> plaintext, record = new_key("ci")
    >>> check(plaintext, record).name
    'ci'
    """
    key_id = secrets.token_hex(_ID_BYTES)
    plaintext = f"sb_{key_id}_{secrets.token_hex(_SECRET_BYTES)}"
    return plaintext, KeyRecord(key_id=key_id, name=name, digest=digest(plaintext), admin=admin)


def digest(plaintext: str) -> str:
    """What is stored and compared instead of a key: its SHA-256, 64 hexadecimal digits."""
    return sha256_hex(plaintext.encode())


def parse(plaintext: str) -> str:
    """The id inside a key.

    Raises:
        Unauthorized: the text is not a key of ours. The message does not repeat it: it may be another secret.
    """
    match = _KEY.fullmatch(plaintext)
    if match is None:
        raise Unauthorized("this is not an API key of this platform; a key reads sb_<id>_<secret>")
    return match.group(1)


def check(plaintext: str, record: KeyRecord) -> Principal | None:
    """The principal behind `plaintext` if it is the key of `record`, else None; takes the same time either way."""
    if _KEY.fullmatch(plaintext) is None or not same_secret(digest(plaintext), record.digest):
        return None
    return Principal(name=record.name, key_id=record.key_id, admin=record.admin)


class KeyRing:
    """The API keys of one platform, kept in its record store."""

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def create(self, name: str, *, admin: bool = False) -> tuple[str, KeyRecord]:
        """A new key under `name`: the plaintext, which is not kept anywhere, and what was stored of it."""
        plaintext, record = new_key(name, admin=admin)
        return plaintext, self._store(record)

    def adopt(self, plaintext: str, name: str, *, admin: bool = False) -> KeyRecord:
        """Make a key that already exists valid here; one that is known already stays as it is.

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
        """The principal behind `key`; None for everything that is not a valid key."""
        match = _KEY.fullmatch(key)
        stored = self._records.get(API_KEYS, match.group(1)) if match else None
        return check(key, from_plain(KeyRecord, stored.body)) if stored else None

    def list(self) -> tuple[KeyRecord, ...]:
        """Every valid key's record, ordered by id."""
        return tuple(from_plain(KeyRecord, record.body) for record in every_record(self._records, API_KEYS))

    def digests(self) -> frozenset[str]:
        """The digests of all valid keys: what gateways compare with."""
        return frozenset(record.digest for record in self.list())

    def revoke(self, key_id: str) -> None:
        """End a key.

        Raises:
            NotFound: there is no such key.
        """
        if not self._records.delete(API_KEYS, key_id):
            raise NotFound(f"no API key has the id {key_id}")

    def _store(self, record: KeyRecord) -> KeyRecord:
        stored = replace(record, created_at=isoformat(self._clock.now()))
        self._records.put(API_KEYS, record.key_id, to_plain(stored))
        return stored
