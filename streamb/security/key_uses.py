"""When API keys were last used: noted in memory at each use, and stored to within a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from streamb.security.directory import API_KEYS
from streamb.security.key_records import KeyRecord
from streamb.store import RecordStore

KEY_USES: Final = "api-key-uses"
"""The collection in which the times of last uses are stored, by key id: apart, so that no use rewrites a key."""

_WRITTEN_EVERY_S: Final = 60.0


class KeyUses:
    """The last uses of the keys in a record store. Safe to use from many threads."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._noted: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, at: Mapping[str, float]) -> None:
        """Note when keys were used, by key id, in seconds since the epoch; never waits."""
        for key_id, when in at.items():
            if when > self._noted.get(key_id, 0.0):
                self._noted[key_id] = when

    def write(self) -> None:
        """Store what was noted; of keys that are gone it is forgotten."""
        for key_id, when in list(self._noted.items()):
            if when - self._written.get(key_id, 0.0) < _WRITTEN_EVERY_S:
                continue
            with self._records.batch():
                exists = self._records.get(API_KEYS, key_id) is not None
                if exists:
                    self._records.put(KEY_USES, key_id, {"at": when})
            if exists:
                self._written[key_id] = when
            else:
                self.forget(key_id)

    def forget(self, key_id: str) -> None:
        """Forget in memory when a key was used, because it is gone."""
        self._noted.pop(key_id, None)
        self._written.pop(key_id, None)

    def with_use(self, record: KeyRecord) -> KeyRecord:
        """Return a record with the time of its last use, as far as known."""
        stored = self._records.get(KEY_USES, record.key_id)
        at = max(self._noted.get(record.key_id, 0.0), float(stored.body["at"]) if stored is not None else 0.0)
        return replace(record, used_at=at or None)
