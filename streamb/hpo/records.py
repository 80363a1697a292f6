"""What came of each trial, one JSON line per finished one, beside the optimizer's journal.

The line is on disk before the optimizer is told: a trial that finished is never evaluated again, whenever the process
is killed. The first line says which study it is; the file of another one is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import InvalidInput, StorageFailed
from streamb.hpo.study import Outcome, TrialResult

JOURNAL_FILE: Final = "journal.jsonl"
FINISHED_FILE: Final = "finished.jsonl"


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished trial as it is kept.

    Attributes:
        result: its parameters are plain here (as JSON knows them); the optimizer has the real ones.
        value: what the optimizer was told, or is to be told; None when it failed.
        variance: of the value, where known.
    """

    result: TrialResult
    value: float | None
    variance: float | None


class Records:
    """The file of a study's finished trials.

    Attributes:
        kept: what was in it when it was opened.

    Args:
        path: the file.
        identity: what makes the study what it is; JSON-ready.

    Raises:
        InvalidInput: the file is of another study, or damaged; says how.
        StorageFailed: the disk refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise StorageFailed(f"{path} cannot be opened: {error}") from error
        try:
            self.kept = self._read(json.loads(json.dumps(identity)))
        except BaseException:
            self._file.close()
            raise

    def append(self, kept: Kept) -> None:
        """Add a finished trial; it is on disk when this returns."""
        self._write({**kept.result.to_json(), "value": kept.value, "variance": kept.variance})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, identity: dict[str, Any]) -> tuple[Kept, ...]:
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        whole = sum(len(line) + 1 for line in lines[:-1])
        self._file.truncate(whole)  # a line that a crash cut short: its trial is evaluated again
        if not lines[:-1]:
            self._write({"study": identity})
            return ()
        try:
            found = [json.loads(line) for line in lines[:-1]]
            before = found[0]["study"]
            kept = tuple(_kept(one) for one in found[1:])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{self.path} is damaged: {error!r}; use another folder") from error
        differs = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
        if differs:
            shown = "; ".join(f"{name} was {before.get(name)!r}, is {identity.get(name)!r}" for name in differs)
            raise InvalidInput(f"{self.path.parent} holds another study ({shown}); use another folder")
        return kept

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageFailed(f"{self.path} cannot be written: {error}") from error


def _kept(line: dict[str, Any]) -> Kept:
    value, variance = line.pop("value"), line.pop("variance")
    line["fold_scores"], line["status"] = tuple(line["fold_scores"]), Outcome(line["status"])
    return Kept(TrialResult(**line), value, variance)
