"""A JSON document in a file of its own: read whole, replaced whole, on the disk before `save` returns."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from streamb.errors import StorageFailed


class JsonFile:
    """One object in one file, which a crash at any moment leaves as it was or as it should be.

    Args:
        path: of the file; its folder is made when it is first saved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Any]:
        """The object; empty while nothing was saved.

        Raises:
            StorageFailed: the file cannot be read, or holds something else.
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

    def save(self, body: dict[str, Any]) -> None:
        """Replace the object.

        Raises:
            StorageFailed: it could not be written; the earlier one is still there.
        """
        draft = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(body, file, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise StorageFailed(f"{self._path} could not be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
