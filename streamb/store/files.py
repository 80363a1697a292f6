"""Files that survive a crash: replaced as a whole, appended line by line, and locked by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from streamb.errors import AlreadyRunning, StorageFailed

OWNER_ONLY: Final = 0o700
"""Permissions of a folder that only its owner may enter."""
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""The permissions of everybody but the owner."""
_LOCK_PAUSES_S: Final = (0.02, 0.02, 0.02)
"""Pauses between attempts to take a lock: `is_locked` in another process holds it for an instant."""


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file as a whole; the new content and its name are on the disk when this returns.

    Args:
        path: the file; its folder is created if it does not exist.
        content: the complete new content.
        mode: permissions of the new file, less the process's umask; 0o600 for a file that only its owner may read.

    Raises:
        StorageFailed: it could not be written; the old file is unchanged.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)  # one that a crash left may have other permissions
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise StorageFailed(f"{path} cannot be written: {error.strerror or error}") from error


def private_folder(folder: Path) -> bool:
    """Create a folder that only its owner may enter (mode 0700, whatever the umask), or close an existing one.

    Args:
        folder: the folder; missing parents are created with the usual permissions.

    Returns:
        False if others may still enter it: it belongs to another user, or its file system has no permissions.

    Raises:
        OSError: it cannot be created, or is a file.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=OWNER_ONLY, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) != OWNER_ONLY:
        with suppress(PermissionError):
            folder.chmod(OWNER_ONLY)
    return not folder.stat().st_mode & OTHERS


def close_to_others(folder: Path) -> None:
    """Make the files in a folder, but not those in its subfolders, readable for their owner only.

    A file that belongs to another user keeps its permissions. A folder that does not exist is left out.
    """
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError, PermissionError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_mode & OTHERS:
                    path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)


def open_private(path: Path, mode: str) -> BinaryIO:
    """Open a file that only its owner may read (mode 0600, whatever the umask); an existing one is closed to others.

    Args:
        path: the file; its folder must exist.
        mode: as `open` takes it, for bytes: "wb", "ab", "a+b".

    Raises:
        OSError: it cannot be opened.
    """
    file = open(  # noqa: SIM115 - the caller closes it
        path, mode, opener=lambda name, flags: os.open(name, flags, 0o600)
    )
    if os.fstat(file.fileno()).st_mode & OTHERS:
        os.fchmod(file.fileno(), 0o600)
    return cast("BinaryIO", file)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `folder` when the block ends; on an error it is removed.

    Args:
        folder: the final place; must not exist yet, or be empty. Missing parent folders are created.

    Raises:
        StorageFailed: `folder` is not empty, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StorageFailed(f"{folder} is not empty; choose a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield draft
        if folder.exists():
            folder.rmdir()
        draft.chmod(0o755)
        draft.replace(folder)
    except OSError as error:
        raise StorageFailed(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk: without this a crash may lose a file that was created or renamed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed or the process ends; return False if another process holds the lock."""
    for pause_s in (*_LOCK_PAUSES_S, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if pause_s is not None:
                time.sleep(pause_s)
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Return True if a process holds the lock on a file; False if there is no such file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class JsonFile:
    """A file with one JSON object, which is read and replaced as a whole.

    Args:
        path: the file; its folder is created when it is first saved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Any]:
        """Return the object; empty if nothing was saved yet.

        Raises:
            StorageFailed: the file cannot be read, or holds no JSON object.
        """
        try:
            body = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StorageFailed(f"{self._path} cannot be read ({error}); restore it, or move it away") from error
        if not isinstance(body, dict):
            raise StorageFailed(f"{self._path} holds no JSON object; restore it, or move it away")
        return body

    def save(self, body: Mapping[str, Any]) -> None:
        """Replace the object.

        Raises:
            StorageFailed: it could not be written; the old object is kept.
        """
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        replace_file(self._path, text.encode())


class LineFile:
    """A file of JSON lines with one writer at a time. A line is on disk when `append` returns, or not in the file.

    A last line that a crash cut short is dropped when the file is opened: its `append` had not returned yet.
    A partial line that a full disk left is removed again, so that the next line does not begin in the middle of it.

    Attributes:
        path: the file; its folder is created if it does not exist.
        lines: the complete lines that were in the file when it was opened.

    Raises:
        AlreadyRunning: another process writes to it.
        StorageFailed: the file cannot be opened or read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # no buffer: it would keep bytes that could not be written, and add them to the next line
            self._file = self.path.open("a+b", buffering=0)
            locked = take_lock(self._file)
        except OSError as error:
            raise StorageFailed(f"{self.path} cannot be opened: {error}") from error
        if not locked:
            self._file.close()
            raise AlreadyRunning(f"another process writes {self.path}; stop it or use another file")
        try:
            sync_folder(self.path.parent)
            self._file.seek(0)
            *whole, _cut_short = self._file.readall().split(b"\n")
            self.lines: tuple[bytes, ...] = tuple(whole)
            self._end = sum(len(line) + 1 for line in whole)
            self._file.truncate(self._end)
        except OSError as error:
            self._file.close()
            raise StorageFailed(f"{self.path} cannot be read: {error}") from error

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            StorageFailed: the disk is full or unavailable; the file is unchanged.
        """
        told = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            self._file.truncate(self._end)  # remove what an earlier failure could not remove
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
        """Close the file, so that another process can write."""
        self._file.close()
