"""A durable log: records are acknowledged only when they are on disk; a snapshot file, and segments of later records.

A folder holds `snapshot-N` and `segment-N`, `segment-N+1`, …; a snapshot contains everything from the segments before
its number. Records go to the newest segment; records that wait at the same time are written and synced together (group
commit). A process never appends to another process's segment: a half-written record that a crash left at its end stays
there and is not read. The previous generation of snapshot and segments is kept, in case the newest file is damaged.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from streamb.errors import StorageFailed
from streamb.store.files import replace_file, sync_folder

LINGER_S: Final = 0.02
"""How many seconds the writer waits for further records before it syncs: 100 pushes a second take some 40 syncs."""
RETRY_S: Final = 1.0
"""How many seconds after a failed write the next attempt follows."""
WAIT_S: Final = 10.0
COMPACT_BYTES: Final = 8 << 20
"""Segments smaller than this, in bytes, need no snapshot."""

_HEAD: Final = struct.Struct("<II")
"""Length and CRC-32 of a record, in front of it."""
_MAGIC: Final = b"SBM1"
_NAME: Final = re.compile(r"(snapshot|segment)-(\d{10})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """The content of a folder.

    Attributes:
        snapshot: the newest snapshot; None if there is none.
        records: all later records, in order; some may be contained in the snapshot already.
    """

    snapshot: bytes | None
    records: Iterator[bytes]


class DurableLog:
    """A log of records in a folder of its own. Safe to use from several threads; by one process at a time.

    Args:
        folder: the folder; created if it does not exist.
        linger_s: how long the writer waits for further records; None for `LINGER_S`.

    Raises:
        StorageFailed: the folder cannot be created or read.
    """

    def __init__(self, folder: Path, *, linger_s: float | None = None) -> None:
        self._folder = folder
        self._linger_s = LINGER_S if linger_s is None else linger_s
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._number = max((number for _, number in self._files()), default=0) + 1
        except OSError as error:
            raise StorageFailed(f"{folder} cannot be used: {error.strerror or error}") from error
        self._changed = threading.Condition()
        self._pending: list[tuple[int, bytes]] = []
        self._appended = 0
        self._synced = 0
        self._failure: OSError | None = None
        self._file: BinaryIO | None = None
        self._file_number = 0
        self._since_snapshot = sum(path.stat().st_size for path, _ in self._files("segment"))
        self._snapshot_bytes = 0
        self._closing = False
        self.syncs = 0
        self._writer = threading.Thread(target=self._keep_writing, name="monitor-log", daemon=True)
        self._writer.start()

    # --- reading ------------------------------------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """Return all acknowledged records of earlier processes, and perhaps more. Call it before anything else."""
        newest, snapshot = self._newest_snapshot()
        segments = [(path, number) for path, number in self._files("segment") if newest <= number < self._number]
        return Recovered(snapshot, (record for path, _ in segments for record in _records(path)))

    def _newest_snapshot(self) -> tuple[int, bytes | None]:
        for path, number in reversed(self._files("snapshot")):
            found = list(_records(path))
            if len(found) == 1:
                self._snapshot_bytes = len(found[0])
                return number, found[0]
            _log.error("%s is damaged; using the previous snapshot", path)
        return 0, None

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, record: bytes) -> int:
        """Add a record, to be written soon, and return its ticket for `wait`. Does not wait for the disk."""
        with self._changed:
            self._appended += 1
            self._pending.append((self._number, record))
            self._since_snapshot += len(record) + _HEAD.size
            self._changed.notify_all()
            return self._appended

    @property
    def last(self) -> int:
        """The ticket of the newest record."""
        with self._changed:
            return self._appended

    def wait(self, ticket: int, timeout_s: float = WAIT_S) -> None:
        """Wait until the record with this ticket is on disk, at most `timeout_s` seconds.

        Raises:
            StorageFailed: it is not on disk yet: the disk is full or slow. The writer keeps trying by itself.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: self._synced >= ticket or self._failure is not None, timeout_s)
            if self._synced >= ticket:
                return
            why = self._failure.strerror or str(self._failure) if done and self._failure else "the disk is too slow"
            raise StorageFailed(f"{self._folder} cannot be written: {why}", retry_after_s=RETRY_S)

    @property
    def outgrown(self) -> bool:
        """True if a snapshot is due: the segments are larger than the present snapshot and `COMPACT_BYTES`."""
        with self._changed:
            return self._since_snapshot > max(COMPACT_BYTES, self._snapshot_bytes)

    def rotate(self) -> int:
        """Begin a new segment, and return the number under which to save a snapshot of all records so far."""
        with self._changed:
            self._number += 1
            self._since_snapshot = 0
            return self._number

    def save_snapshot(self, number: int, snapshot: bytes) -> None:
        """Save a snapshot, and delete the files that the previous snapshot replaced.

        Raises:
            StorageFailed: it could not be written. Nothing is lost: the segments are kept.
        """
        try:
            replace_file(self._folder / f"snapshot-{number:010}", framed(snapshot))
            self._snapshot_bytes = len(snapshot)
            kept = [before for _, before in self._files("snapshot") if before < number]
            for path, before in self._files():
                if before < max(kept, default=0):
                    path.unlink(missing_ok=True)
        except (OSError, StorageFailed) as error:
            with self._changed:  # the size of the segments still counts towards the next attempt
                self._since_snapshot += COMPACT_BYTES
            raise StorageFailed(f"{self._folder}: no snapshot was saved: {error}") from error

    def close(self) -> None:
        """Write the remaining records, and stop the writer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(WAIT_S)
        if self._file is not None:
            self._file.close()
            self._file = None

    # --- the writer ---------------------------------------------------------------------------------------------------

    def _keep_writing(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._pending) or self._closing)
                if not self._pending:
                    return
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, self._linger_s)
                batch, self._pending = self._pending, []
            self._commit(batch)

    def _commit(self, batch: list[tuple[int, bytes]]) -> None:
        try:
            self._write(batch)
        except OSError as error:
            _log.error("%s cannot be written (%s); trying again", self._folder, error)
            with self._changed:
                # After a failed sync, the state of this segment on disk is unknown: the records go to a new segment.
                # Records that reached the old segment exist twice, which readers must tolerate.
                self._number += 1
                self._pending = [(self._number, record) for _, record in batch + self._pending]
                self._failure = error
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closing, RETRY_S)
                if self._closing:
                    self._pending = []
            return
        with self._changed:
            self._synced += len(batch)
            self._failure = None
            self._changed.notify_all()

    def _write(self, batch: list[tuple[int, bytes]]) -> None:
        for number in dict.fromkeys(number for number, _ in batch):
            file = self._segment(number)
            file.write(b"".join(framed(record) for to, record in batch if to == number))
            file.flush()
            os.fsync(file.fileno())
            self.syncs += 1

    def _segment(self, number: int) -> BinaryIO:
        if self._file is None or self._file_number != number:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._file = (self._folder / f"segment-{number:010}").open("ab")
            self._file_number = number
            sync_folder(self._folder)
        return self._file

    def _files(self, kind: str = "") -> list[tuple[Path, int]]:
        """Return the snapshots, the segments or both, with their numbers, ascending."""
        found = [(path, match) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        mine = [(path, int(match[2])) for path, match in found if kind in ("", match[1])]
        return sorted(mine, key=lambda one: one[1])


def framed(record: bytes) -> bytes:
    """Return a record with its length and checksum in front."""
    return _HEAD.pack(len(record), zlib.crc32(record)) + record


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file, up to the first one that is cut off or damaged."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 1)
            record = file.read(length)
            if len(record) < length or zlib.crc32(record) != checksum:
                _log.warning(
                    "%s ends with %s bytes that are no valid record; they are ignored", path, len(head) + length
                )
                return
            yield record
