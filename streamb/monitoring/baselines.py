"""The baselines of all versions, numbered 1, 2, 3… per version: bytes in the artifact store, the list in a file."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from streamb.asking import verb
from streamb.clock import Clock, isoformat
from streamb.errors import NotFound, StreambError
from streamb.monitoring.profiles.baseline import Baseline
from streamb.store import BlobStore
from streamb.store.files import JsonFile
from streamb.store.plain import from_plain, to_plain

RETRY_S: Final = 30.0
"""After so many seconds, a baseline that could not be read from the artifact store is tried again."""
_log = logging.getLogger(__name__)

Origin = Literal["upload", "live"]


@dataclass(frozen=True, slots=True)
class BaselineRecord:
    """One baseline of one model version, as listed.

    Attributes:
        number: 1, 2, 3… per version; the highest is in force.
        baseline_id: digest of its content.
        blob: digest of its bytes in the artifact store.
        rows: the number of rows that it was made from.
        columns: names of the features, then of the outputs.
        author: who set it.
        origin: "upload" (from a table or training data) or "live" (from a window of live traffic).
        created_at: seconds since the epoch.
        learning: whether only its bins are known so far, and its rows are still being counted.
    """

    model_id: str
    version: str
    number: int
    baseline_id: str
    blob: str
    rows: int
    columns: tuple[str, ...]
    author: str
    origin: Origin
    created_at: float
    learning: bool = False

    def to_answer(self, *, active: bool) -> dict[str, Any]:
        """Return the record as a JSON object; `active` is whether it is in force."""
        return {**to_plain(self), "at": isoformat(self.created_at), "active": active}


class Baselines:
    """All baselines, and the one in force for each version. Safe to use from several threads.

    Args:
        file: the file with the list.
        blobs: the artifact store.
        clock: for the times of records and retries.
    """

    def __init__(self, file: Path, blobs: BlobStore, clock: Clock) -> None:
        self._file = JsonFile(file)
        self._blobs = blobs
        self._clock = clock
        self._lock = threading.RLock()
        self._records = [from_plain(BaselineRecord, body) for body in self._file.load().get("baselines", [])]
        self._in_force = _in_force(self._records)
        self._loaded: dict[str, Baseline] = {}
        self._retry_at: dict[str, float] = {}

    def add(
        self, model_id: str, version: str, baseline: Baseline, *, author: str, origin: Origin, learning: bool = False
    ) -> BaselineRecord:
        """Put a baseline in force under the next number; the one already in force keeps its number.

        Args:
            model_id: the model's name.
            version: the version that the baseline is for.
            baseline: the baseline.
            author: who sets it.
            origin: "upload" or "live".
            learning: whether only its bins are known so far.

        Raises:
            StorageFailed: it could not be stored; the earlier one is still in force.
        """
        with self._lock:
            current = self.active_record(model_id, version)
            if current is not None and current.baseline_id == baseline.baseline_id:
                return current
            record = BaselineRecord(
                model_id=model_id,
                version=version,
                number=current.number + 1 if current is not None else 1,
                baseline_id=baseline.baseline_id,
                blob=self._store(baseline),
                rows=baseline.profile.rows,
                columns=tuple(column.name for column in baseline.columns),
                author=author,
                origin=origin,
                created_at=self._clock.now(),
                learning=learning,
            )
            self._save([*self._records, record])
            self._loaded[record.blob] = baseline
            return record

    def active(self, model_id: str, version: str) -> Baseline | None:
        """Return the baseline in force; None if there is none, or the artifact store cannot provide it now."""
        with self._lock:
            record = self.active_record(model_id, version)
            if record is None:
                return None
            found = self._loaded.get(record.blob)
            if found is None and self._clock.monotonic() >= self._retry_at.get(record.blob, 0.0):
                found = self._load(record)
            return found

    def active_record(self, model_id: str, version: str) -> BaselineRecord | None:
        """Return the record of the baseline in force; None if there is none."""
        with self._lock:
            return self._in_force.get((model_id, version))

    def hold(self, live: Collection[tuple[str, str]], most: int) -> set[tuple[str, str]]:
        """Keep in memory the `most` newest baselines and those of the `live` versions, and release the others.

        Returns:
            The versions whose baselines are kept.
        """
        with self._lock:
            wanted = {key for key in live if key in self._in_force}
            wanted.update(list(self._in_force)[-most:])
            if len(self._loaded) > len(wanted):
                blobs = {self._in_force[key].blob for key in wanted}
                self._loaded = {blob: found for blob, found in self._loaded.items() if blob in blobs}
            return wanted

    def versions(self) -> set[tuple[str, str]]:
        """Return every model version that has a baseline."""
        with self._lock:
            return set(self._in_force)

    @verb
    def listed(self, model_id: str, version: str | None = None) -> list[dict[str, Any]]:
        """Return the baselines of a model, or of one version of it, the newest first."""
        with self._lock:
            mine = [one for one in self._records if one.model_id == model_id and version in (None, one.version)]
            active = set(self._in_force.values())
        return [
            one.to_answer(active=one in active) for one in sorted(mine, key=lambda one: (-one.created_at, -one.number))
        ]

    def need(self, model_id: str, version: str) -> Baseline:
        """Return the baseline in force.

        Raises:
            NotFound: there is none, or it cannot be read now.
        """
        found = self.active(model_id, version)
        if found is None:
            record = self.active_record(model_id, version)
            raise NotFound(
                f"{model_id} {version} has no baseline: give it one (POST /api/monitoring/baseline, or "
                "`streamb monitor baseline`)"
                if record is None
                else f"baseline {record.number} of {model_id} {version} cannot be read from the artifact store now; "
                "try again, or give it a new one",
                model_id=model_id,
                version=version,
            )
        return found

    def _store(self, baseline: Baseline) -> str:
        with tempfile.TemporaryDirectory(prefix="streamb-baseline-") as scratch:
            path = Path(scratch) / "baseline"
            path.write_bytes(baseline.to_bytes())
            return self._blobs.put_file(path).digest

    def _load(self, record: BaselineRecord) -> Baseline | None:
        try:
            with tempfile.TemporaryDirectory(prefix="streamb-baseline-") as scratch:
                path = Path(scratch) / "baseline"
                self._blobs.get_file(record.blob, path)
                found = self._loaded[record.blob] = Baseline.from_bytes(path.read_bytes())
        except StreambError as error:
            self._retry_at[record.blob] = self._clock.monotonic() + RETRY_S
            _log.warning(
                "baseline %s of %s %s cannot be read: %s", record.number, record.model_id, record.version, error
            )
            return None
        return found

    def _save(self, records: Sequence[BaselineRecord]) -> None:
        self._file.save({"baselines": [to_plain(one) for one in records]})
        self._records, self._in_force = list(records), _in_force(records)
        wanted = {one.blob for one in self._in_force.values()}
        self._loaded = {blob: found for blob, found in self._loaded.items() if blob in wanted}


def _in_force(records: Sequence[BaselineRecord]) -> dict[tuple[str, str], BaselineRecord]:
    """The newest of each version, in the order in which they came, as the records are."""
    found: dict[tuple[str, str], BaselineRecord] = {}
    for one in records:
        key = (one.model_id, one.version)
        found.pop(key, None)  # so that the version moves to the end
        found[key] = one
    return found
