"""Append-only files of JSON lines: a line is on disk when `append` returns; one that could not be written is not there.

A last line that a crash cut short is dropped when the file is opened: whoever wrote it had not been answered yet. What
a full disk left of a line is cut off again, so that the next line does not begin in the middle of it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamb.errors import AlreadyRunning, StorageFailed


class LineFile:
    """A file of lines with one writer at a time.

    Attributes:
        path: the file; its folder is made if there is none.
        lines: what was in it when it was opened.

    Raises:
        AlreadyRunning: another process writes to it.
        StorageFailed: the disk refused.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # no buffer: it would keep what could not be written, and add it to the next line
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise StorageFailed(f"{self.path} cannot be opened: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            *whole, _cut_short = self._file.readall().split(b"\n")
            self.lines: tuple[bytes, ...] = tuple(whole)
            self._end = sum(len(line) + 1 for line in whole)
            self._file.truncate(self._end)
        except BlockingIOError as error:
            self._file.close()
            raise AlreadyRunning(f"another process writes {self.path}; stop it or use another file") from error
        except OSError as error:
            self._file.close()
            raise StorageFailed(f"{self.path} cannot be read: {error}") from error

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            StorageFailed: the disk is full or gone; the file is as it was.
        """
        told = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            self._file.truncate(self._end)  # what an earlier failure could not take back
            rest = told
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise StorageFailed(f"{self.path} cannot be written: {error}") from error
        self._end += len(told)

    def close(self) -> None:
        """Let another process write."""
        self._file.close()
