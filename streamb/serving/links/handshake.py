"""The handshake between a gateway and a replica: a random number, the proof of a shared secret, a name.

The replica sends a nonce, the gateway answers HMAC-SHA256(secret, nonce), and the replica's welcome contains the
protocol version and its own name. Nothing that a gateway sends is read before its proof is right. Both sides derive the
secret from the platform key and the replica's name (`security.platform_key`): it is never sent. The link itself is not
encrypted.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from streamb.errors import Unavailable
from streamb.serving.links.frames import Kind, frame_header

RETRY_AFTER_S: Final = 1

_VERSION: Final = b"\x03"  # the protocol's version; a peer with another one is refused by the handshake


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """The address of a replica; to call it, one must know its secret as well.

    Attributes:
        host: its IP address.
        port: its TCP port.
        replica: the replica's name, which its welcome must contain.
    """

    host: str
    port: int
    replica: str


def prove(secret: bytes, nonce: bytes) -> bytes:
    """Return a gateway's proof for a replica's random number.

    >>> prove(b"secret", bytes(32)).hex()[:8]
    '92831b78'
    """
    return hmac.digest(secret, nonce, "sha256")


def is_proof(proof: bytes, secret: bytes, nonce: bytes) -> bool:
    """Return whether the proof for the random number is right, in constant time."""
    return hmac.compare_digest(proof, prove(secret, nonce))


def welcome(replica: str) -> bytes:
    """Return the frame that ends the handshake."""
    payload = _VERSION + replica.encode()
    return frame_header(0, Kind.WELCOME, len(payload)) + payload


def is_welcome(payload: bytes | bytearray, replica: str) -> bool:
    """Return whether the welcome comes from that replica, and from the same protocol version."""
    return payload == _VERSION + replica.encode()


def unavailable(replica: str, why: str) -> Unavailable:
    """Return the error with which a link says that a call can be tried elsewhere."""
    return Unavailable(f"replica {replica} {why}; send the request again", retry_after_s=RETRY_AFTER_S)
