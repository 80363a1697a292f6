"""The answers to changes that had an `Idempotency-Key`, stored for 24 hours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from streamb.asking import verb
from streamb.clock import Clock
from streamb.store.records import RecordStore

KEPT_S: Final = 24 * 3600.0
"""How many seconds an answer can be repeated."""

_COLLECTION: Final = "idempotency"
_SWEEP: Final = 50


@dataclass(frozen=True, slots=True)
class Remembered:
    """A stored answer.

    Attributes:
        fingerprint: digest of the request, to distinguish its repetition from another request with the same key.
        status: the HTTP status of the answer.
        body: the answer's JSON text.
    """

    fingerprint: str
    status: int
    body: str


class Idempotency:
    """The stored answers by key. Each new answer also deletes a few old ones."""

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    @verb
    def recall(self, key: str) -> Remembered | None:
        """Return the answer stored under this key in the last 24 hours, or None."""
        record = self._records.get(_COLLECTION, key)
        if record is None or self._clock.now() - record.created_at > KEPT_S:
            return None
        return Remembered(**record.body)

    @verb
    def remember(self, key: str, fingerprint: str, status: int, body: str) -> None:
        """Store an answer.

        Args:
            key: the idempotency key, unique to the caller.
            fingerprint: digest of the request.
            status: the HTTP status of the answer.
            body: the answer's JSON text.
        """
        oldest_kept = self._clock.now() - KEPT_S
        # Keys are digests, so those with the same first digits are a random sample: in time every old answer is found.
        # Three digits make 4,096 groups; with 50 per sweep they cope with 200,000 answers a day.
        for record in self._records.list(_COLLECTION, prefix=key[:3], limit=_SWEEP).items:
            if record.created_at < oldest_kept:
                self._records.delete(_COLLECTION, record.key)
        # An expired key is created again, with a new time of creation.
        self._records.delete(_COLLECTION, key)
        self._records.put(_COLLECTION, key, asdict(Remembered(fingerprint, status, body)))
