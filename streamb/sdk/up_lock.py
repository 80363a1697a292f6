"""The lock that allows one platform per state directory; it is held from the start until the platform has stopped."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from streamb.clock import Clock
from streamb.errors import AlreadyRunning, StorageFailed
from streamb.sdk.discovery import read_platform_file
from streamb.store.files import is_locked, open_private, take_lock
from streamb.store.state_dir import claim_state_dir

LOCK_FILE: Final = "up.lock"
_POLL_S: Final = 0.1


class UpLock:
    """An advisory lock on `<state_dir>/up.lock`; the system lets go of it when the process ends, however it ends.

    The file stays: removing it would let two processes lock two files of the same name.

    Raises:
        AlreadyRunning: another process holds the lock; the message has its address, or its process id during a start.
        StorageFailed: the state directory cannot be written.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._file: BinaryIO | None = None

    def __enter__(self) -> UpLock:
        claim_state_dir(self._state_dir)
        with self._writing():
            file = open_private(self._state_dir / LOCK_FILE, "a+b")
        if not take_lock(file):
            file.close()
            raise self._taken()
        try:
            with self._writing():
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                file.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk refuses what is left to write once more
                file.close()
            raise
        self._file = file
        return self

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(
                f"the state directory {self._state_dir} cannot be written ({error.strerror}); choose another with "
                "--state-dir or ML_STATE_DIR"
            ) from error

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None

    def _taken(self) -> AlreadyRunning:
        info = read_platform_file(self._state_dir)
        if info is not None:
            return AlreadyRunning(
                f"a platform already runs on {self._state_dir}: {info.url} (process {info.pid}); "
                "use it, or stop it with `streamb down`",
                url=info.url,
                pid=info.pid,
            )
        pid = lock_holder(self._state_dir)
        return AlreadyRunning(f"a platform on {self._state_dir} is starting or stopping (process {pid})", pid=pid)


def lock_holder(state_dir: Path) -> int | None:
    """Return the id of the process that holds the lock on `state_dir`; None if it is free."""
    path = state_dir / LOCK_FILE
    try:
        return int(path.read_bytes() or b"0") or None if is_locked(path) else None
    except (OSError, ValueError):
        return None


def wait_until_free(state_dir: Path, clock: Clock, timeout_s: float) -> bool:
    """Wait until the lock is free.

    Args:
        state_dir: the state directory.
        clock: the source of time.
        timeout_s: maximum wait, in seconds.

    Returns:
        False if the lock is still held after `timeout_s`.
    """
    deadline = clock.monotonic() + timeout_s
    while lock_holder(state_dir) is not None:
        if clock.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
