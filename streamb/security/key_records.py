"""API keys: their form, what is stored of them, and what each allows.

A key has the form `sb_<id>_<secret><checksum>`: the id names it (in lists, logs and events), the secret is 256 random
bits, and the checksum tells a mistyped key from a revoked one without a look into the store. Only the digest of a key
is stored. People do not choose the secret, so one round of SHA-256 is enough. A key has two secrets while it is
rotated: the new one, and the old one until its holders have changed over.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from streamb.errors import InvalidInput, Unauthorized
from streamb.hashing import same_secret, sha256_hex
from streamb.security.permissions import Permission
from streamb.security.principals import EVERY_MODEL, Kind, Principal, PrincipalRecord
from streamb.store.plain import from_plain

DAY_S: Final = 86_400.0

MODEL_PATTERN: Final = r"[A-Za-z0-9._*?\[\]!-]{1,128}"
"""The form of a pattern of model ids, as a regular expression."""

NOT_A_MODEL_PATTERN: Final = "is neither a model id nor a pattern of some, such as energy-*"
"""What is said of a text that is none, after the text."""

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"sb_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}([0-9a-f]{{8}})?", re.ASCII)


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
        from_file: whether it is the key in the state directory, which the platform adopts when it starts.
    """

    key_id: str
    principal: str
    secrets: tuple[Secret, ...]
    scopes: tuple[Permission, ...] | None = None
    models: tuple[str, ...] = EVERY_MODEL
    created_at: float = 0.0
    expires_at: float | None = None
    used_at: float | None = None
    from_file: bool = False

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


def principal_of(owner: PrincipalRecord, record: KeyRecord) -> Principal:
    """Return a principal with what one of its keys allows."""
    may = owner.permissions
    if record.scopes is not None:
        may = frozenset(record.scopes) if owner.kind is Kind.JOB else may & frozenset(record.scopes)
    narrowed = record.scopes is not None or record.models != EVERY_MODEL
    return Principal(owner.name, may, owner.kind, record.models, record.key_id, narrowed)


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


def read_key(body: Mapping[str, object]) -> KeyRecord:
    """Return a stored key; earlier releases stored only the operator's, with a name, one digest, and no scopes."""
    if "digest" in body:
        secret = {"digest": body["digest"]}
        body = {"key_id": body["key_id"], "principal": body["name"], "secrets": [secret], "from_file": True}
    return from_plain(KeyRecord, body)
