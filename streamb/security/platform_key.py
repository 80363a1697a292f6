"""The platform key: a secret that the platform's processes read from the state directory, so that Ray never carries it.

Whatever an actor returns or receives, any Ray client can ask for. The processes of one platform therefore share 32
random bytes in a file that only their user may read, and derive from it what they need among themselves: the secret of
each link between a gateway and a replica, the one that proves the edge, and the key that seals secrets which do pass
through Ray.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from streamb.crypto import create_once
from streamb.errors import ConfigError, StorageFailed
from streamb.store.state_dir import KEYS

_FILE: Final = "platform.key"
_BYTES: Final = 32


class PlatformKey:
    """The shared secret of one platform's processes. Pickling it is refused.

    Args:
        secret: 32 random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._sealer = AESSIV(self._derive("seal", "sha512"))

    @classmethod
    def create(cls, state_dir: Path) -> PlatformKey:
        """Return the key of a state directory; it is created if there is none yet. Several processes may do so at once.

        Raises:
            StorageFailed: the file cannot be created or read.
            ConfigError: the file does not hold a key.
        """
        path = _path(state_dir)
        try:
            if not path.exists():
                create_once(path, secrets.token_bytes(_BYTES))
        except OSError as error:
            raise StorageFailed(f"cannot create the platform key {path}: {error}") from error
        return cls.load(state_dir)

    @classmethod
    def load(cls, state_dir: Path) -> PlatformKey:
        """Return the key of a state directory on which a platform was started.

        Raises:
            StorageFailed: there is no key file, or it cannot be read.
            ConfigError: the file does not hold a key.
        """
        path = _path(state_dir)
        try:
            secret = path.read_bytes()
        except OSError as error:
            raise StorageFailed(
                f"the platform key {path} cannot be read ({error.strerror}); the state directory must be at the same "
                "path on every node, on a shared file system"
            ) from error
        if len(secret) != _BYTES:
            raise ConfigError(f"{path} does not hold a platform key of {_BYTES} bytes; remove it and start again")
        return cls(secret)

    def link_secret(self, replica: str) -> bytes:
        """Return the secret (32 bytes) of the links to one replica.

        Args:
            replica: the replica's name, which no other replica ever has.
        """
        return self._derive(f"link {replica}", "sha256")

    @property
    def edge_secret(self) -> str:
        """The secret (64 hexadecimal digits) by which gateways and consoles know that the edge sent a request."""
        return self._derive("edge", "sha256").hex()

    def seal(self, secret: bytes) -> bytes:
        """Return `secret` encrypted and authenticated (AES-SIV, RFC 5297); equal secrets give equal results."""
        return self._sealer.encrypt(secret, None) if secret else b""

    def open(self, sealed: bytes) -> bytes:
        """Return what `seal` was given.

        Raises:
            ConfigError: it was sealed with another key, or changed.
        """
        try:
            return self._sealer.decrypt(sealed, None) if sealed else b""
        except InvalidTag:
            raise ConfigError(
                "a secret was sealed with another platform key; this process and the Controller must use the same "
                "state directory"
            ) from None

    def _derive(self, purpose: str, digest: str) -> bytes:
        return hmac.digest(self._secret, purpose.encode(), digest)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a platform key must not leave its process; load it from the state directory")


def _path(state_dir: Path) -> Path:
    return state_dir / KEYS / _FILE
