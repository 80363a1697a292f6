"""What was answered to changes that carried an `Idempotency-Key`, kept for a day."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from streamb.asking import verb
from streamb.clock import Clock
from streamb.store.records import RecordStore

KEPT_S: Final = 24 * 3600.0
"""How long an answer can be repeated."""

_COLLECTION: Final = "idempotency"
_SWEEP: Final = 50


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer that was given before.

    Attributes:
        fingerprint: digest of the request, to tell a repetition from a reuse of the key for something else.
        body: the answer's JSON text.
    """

    fingerprint: str
    status: int
    body: str


class Idempotency:
    """Answers by key. Old ones are dropped a few at a time whenever a new one comes."""

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    @verb
    def recall(self, key: str) -> Remembered | None:
        """The answer given under this key in the last 24 hours."""
        record = self._records.get(_COLLECTION, key)
        if record is None or self._clock.now() - record.created_at > KEPT_S:
            return None
        return Remembered(**record.body)

    @verb
    def remember(self, key: str, fingerprint: str, status: int, body: str) -> None:
        """Keep an answer."""
        oldest_kept = self._clock.now() - KEPT_S
        # Keys are digests: those beside this one are a fair sample, so in time every old answer is met. Three digits
        # make 4,096 neighbourhoods, which hold 200,000 answers a day within the reach of one sweep.
        for record in self._records.list(_COLLECTION, prefix=key[:3], limit=_SWEEP).items:
            if record.created_at < oldest_kept:
                self._records.delete(_COLLECTION, record.key)
        # A key that has expired starts anew, with a new time of creation.
        self._records.delete(_COLLECTION, key)
        self._records.put(_COLLECTION, key, asdict(Remembered(fingerprint, status, body)))
