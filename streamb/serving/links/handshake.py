"""How a gateway and a replica get to know each other: a random number, the proof of a shared secret, a name.

The replica sends a nonce, the gateway answers HMAC-SHA256(secret, nonce), and the replica's welcome says the version of
what is spoken and its own name. Nothing that a gateway sends is looked at before its proof is right. The secret travels
with the address, over a channel that is trusted already; what follows is not encrypted.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from streamb.errors import Unavailable
from streamb.serving.links.frames import Kind, frame_header

SECRET_BYTES: Final = 32
RETRY_AFTER_S: Final = 1

_VERSION: Final = b"\x01"  # of the frames and what is in them; another one is refused when the link is made


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """Where a replica listens, and what proves that one may call it.

    Attributes:
        host: its IP address.
        port: its TCP port.
        secret: what both sides know; made anew whenever a replica starts.
        replica: its name, which it must answer with.
    """

    host: str
    port: int
    secret: bytes = field(repr=False)
    replica: str


def prove(secret: bytes, nonce: bytes) -> bytes:
    """What a gateway answers to a replica's random number.

    >>> prove(b"secret", bytes(32)).hex()[:8]
    '92831b78'
    """
    return hmac.digest(secret, nonce, "sha256")


def is_proof(proof: bytes, secret: bytes, nonce: bytes) -> bool:
    """Whether the answer to the random number is right; takes the same time whatever is wrong with it."""
    return hmac.compare_digest(proof, prove(secret, nonce))


def welcome(replica: str) -> bytes:
    """The frame that ends the handshake."""
    payload = _VERSION + replica.encode()
    return frame_header(0, Kind.WELCOME, len(payload)) + payload


def is_welcome(payload: bytes | bytearray, replica: str) -> bool:
    """Whether the welcome comes from that replica, and from a build that speaks as this one does."""
    return payload == _VERSION + replica.encode()


def unavailable(replica: str, why: str) -> Unavailable:
    """The one way in which a link says that a call can be tried elsewhere."""
    return Unavailable(f"replica {replica} {why}; send the request again", retry_after_s=RETRY_AFTER_S)
