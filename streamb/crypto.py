"""Ed25519 signatures: the platform's own key signs the artifacts that may run code.

It signs digests of artifacts. It does not encrypt, and it has nothing to do with API keys.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from streamb.errors import ConfigError, StorageFailed

_SCHEME: Final = "ed25519"
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the key that made it.

    Attributes:
        key_id: `PublicKey.key_id` of the signer.
        value: the 64 bytes of an Ed25519 signature.
    """

    key_id: str
    value: bytes

    def to_json(self) -> dict[str, str]:
        """Return the JSON form, which `from_json` reads."""
        return {"scheme": _SCHEME, "key_id": self.key_id, "value": base64.b64encode(self.value).decode("ascii")}

    @classmethod
    def from_json(cls, body: object) -> Signature:
        """Read the JSON form; raises ValueError if `body` is not one."""
        if not isinstance(body, dict) or body.get("scheme") != _SCHEME or not isinstance(body.get("key_id"), str):
            raise ValueError(f"not an {_SCHEME} signature")
        try:
            value = base64.b64decode(body.get("value", ""), validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"the signature's value is not base64: {error}") from error
        if len(value) != _SIGNATURE_BYTES:
            raise ValueError(f"an {_SCHEME} signature has {_SIGNATURE_BYTES} bytes, this one has {len(value)}")
        return cls(body["key_id"], value)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key.

    Attributes:
        raw: the 32 bytes of an Ed25519 public key.
    """

    raw: bytes

    def __post_init__(self) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw)
        except ValueError as error:
            raise ConfigError(f"not an {_SCHEME} public key: {error}") from error

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits that name this key (the start of the SHA-256 of its bytes)."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, data: bytes, signature: Signature) -> bool:
        """Return True if this key made `signature` for exactly `data`."""
        if signature.key_id != self.key_id:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature.value, data)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key, which stays on this platform."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new random key, which is not stored."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """Return the key in the PEM file `path`; if there is no file, create it with a new key (mode 0600, atomically).

        Several processes may call this at once: all get the same key.

        Raises:
            ConfigError: the file exists and is not an Ed25519 private key.
            StorageFailed: it cannot be read or written.
        """
        try:
            if not path.exists():
                create_once(path, cls.generate().to_pem())
            pem = path.read_bytes()
        except OSError as error:
            raise StorageFailed(f"cannot read or create the signing key {path}: {error}") from error
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{path} is not an unencrypted PEM private key; restore it or remove it: {error}"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{path} holds a key of another kind than {_SCHEME}; restore it or remove it")
        return cls(private)

    def sign(self, data: bytes) -> Signature:
        """Return the signature of `data`, which `self.public.verify` accepts."""
        return Signature(self.public.key_id, self._private.sign(data))

    def to_pem(self) -> bytes:
        """Return the private key as PEM, unencrypted: treat it like a password."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_once(path: Path, content: bytes) -> None:
    """Create a file with its whole content, readable for its owner only; an existing file stays as it is.

    Several processes may call this at once for the same path: one of them creates the file.

    Args:
        path: the file; missing folders are created, readable for their owner only.
        content: the complete content.

    Raises:
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp creates it with mode 0600
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # link, unlike rename, never replaces the winner's file
            os.link(draft, path)
        folder = os.open(
            path.parent, os.O_RDONLY
        )  # its name must survive a power failure, too: artifacts are signed next
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)
