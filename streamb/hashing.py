"""Digests of content, and the fixed place of a unit on the line from 0 to 10,000."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BASIS_POINTS: Final = 10_000
"""The whole of a model's traffic: shares are ten-thousandths."""

_CHUNK_BYTES: Final = 1 << 20


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits.

    >>> sha256_hex(b"")[:12]
    'e3b0c44298fc'
    """
    return hashlib.sha256(content).hexdigest()


def sha256_chunks(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of bytes that arrive in pieces, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces of 1 MiB, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return sha256_chunks(iter(lambda: file.read(_CHUNK_BYTES), b""))


def same_secret(left: str, right: str) -> bool:
    """Return whether two secrets are equal, in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def bucket(unit: str, salt: str) -> int:
    """Return the place of `unit`, 0 to 9,999: fixed for a salt, uniform over units, independent between salts.

    It is the first 64 bits of BLAKE2b keyed by the salt, scaled by multiplication (bias below 2**-50).

    >>> bucket("user-1", "rollout-7") == bucket("user-1", "rollout-7")
    True
    >>> 0 <= bucket("user-1", "rollout-8") < 10_000
    True
    """
    digest = hashlib.blake2b(unit.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest) * BASIS_POINTS >> 64
