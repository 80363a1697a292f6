"""A profile: the counts of a table as one vector of integers. Profiles merge by addition, in any order."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactCorrupt, InvalidInput

_MAGIC: Final = b"SBP1"
_DIGEST: Final = 8
MOST_COUNTERS: Final = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The counters of some rows.

    Attributes:
        baseline_id: the baseline in whose bins they count.
        counters: shape (counters,), int64; the first one counts rows.
    """

    baseline_id: str
    counters: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """The number of rows that were counted."""
        return int(self.counters[0])

    def plus(self, other: Profile) -> Profile:
        """Return the profile of both tables together.

        Raises:
            InvalidInput: they belong to different baselines.
        """
        self._check(other)
        return Profile(self.baseline_id, self.counters + other.counters)

    __add__ = plus

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return self.baseline_id == other.baseline_id and bool(np.array_equal(self.counters, other.counters))

    def __hash__(self) -> int:
        return hash((self.baseline_id, self.counters.tobytes()))

    def to_bytes(self) -> bytes:
        """Return the profile as bytes, for `from_bytes`."""
        return seal(_MAGIC, {"baseline_id": self.baseline_id, "counters": pack_counters(self.counters)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Return the profile from the result of `to_bytes`.

        Raises:
            ArtifactCorrupt: the bytes are damaged, or are not a profile.
        """
        body = unseal(_MAGIC, data, "profile")
        try:
            return cls(str(body["baseline_id"]), unpack_counters(body["counters"]))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise ArtifactCorrupt(f"this is not a profile: {error!r}") from error

    def _check(self, other: Profile) -> None:
        if self.baseline_id != other.baseline_id or self.counters.shape != other.counters.shape:
            raise InvalidInput(
                f"profiles of different baselines ({self.baseline_id[:12]}, {other.baseline_id[:12]}) do not add up; "
                "fold both tables with the same baseline"
            )


def pack_counters(counters: NDArray[np.int64]) -> bytes:
    """Return counters as compressed bytes: all lowest bytes, then all second ones, …, since most are small."""
    planes = np.ascontiguousarray(counters.astype("<i8").view(np.uint8).reshape(-1, 8).T)
    return zlib.compress(planes.tobytes(), 6)


def unpack_counters(data: bytes) -> NDArray[np.int64]:
    """Return the counters from `pack_counters`; ValueError or zlib.error if the bytes are damaged or too long."""
    inflater = zlib.decompressobj()
    raw = inflater.decompress(data, 8 * MOST_COUNTERS)
    if inflater.unconsumed_tail or not inflater.eof or len(raw) % 8 or not raw:
        raise ValueError("not a vector of counters")
    planes = np.frombuffer(raw, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(planes.T).view("<i8").ravel().astype(np.int64)


def seal(magic: bytes, body: dict[str, Any]) -> bytes:
    """Return the bytes of `magic` and a body, followed by a digest of both that reveals damage."""
    packed: bytes = magic + msgpack.packb(body)
    return packed + hashlib.sha256(packed).digest()[:_DIGEST]


def unseal(magic: bytes, data: bytes, what: str) -> dict[str, Any]:
    """Return the body from the result of `seal`.

    Args:
        magic: the bytes that the data must begin with.
        data: the sealed bytes.
        what: the kind of data, for error messages.

    Raises:
        ArtifactCorrupt: the bytes are damaged, or are not of this kind.
    """
    packed, digest = data[:-_DIGEST], data[-_DIGEST:]
    if not packed.startswith(magic):
        raise ArtifactCorrupt(f"these bytes are not a {what}: they do not begin with {magic.decode()}")
    if hashlib.sha256(packed).digest()[:_DIGEST] != digest:
        raise ArtifactCorrupt(f"the bytes of this {what} are damaged or cut off; fetch or make it again")
    try:
        body = msgpack.unpackb(packed[len(magic) :])
    except ValueError as error:
        raise ArtifactCorrupt(f"the bytes of this {what} cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise ArtifactCorrupt(f"the bytes of this {what} hold something else")
    return body
