"""The results of finished trials, one JSON line each, beside the optimizer's journal.

The line is on disk before the optimizer gets the result: a finished trial is never evaluated again, whenever the
process is killed. The first line identifies the study; the file of another study is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.hpo.study.files import read_trial
from streamb.hpo.study.study import TrialResult
from streamb.store.files import LineFile

JOURNAL_FILE: Final = "journal.jsonl"
FINISHED_FILE: Final = "finished.jsonl"


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished trial as it is kept in the file.

    Attributes:
        result: the trial's result, with its parameters as JSON values; the optimizer has the original ones.
        value: the value for the optimizer; None if the trial failed.
        variance: the variance of the value, if known.
    """

    result: TrialResult
    value: float | None
    variance: float | None


class Records:
    """The file of a study's finished trials.

    Attributes:
        kept: the trials that were in the file when it was opened.

    Args:
        path: the file.
        identity: what identifies the study, as JSON values.

    Raises:
        InvalidInput: the file is of another study, or damaged; the message says how.
        AlreadyRunning: another process writes to it. StorageFailed: the file cannot be read or written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._file = LineFile(path)
        try:
            self.kept = self._read(json.loads(json.dumps(identity)))
        except BaseException:
            self._file.close()
            raise

    def append(self, kept: Kept) -> None:
        """Append a finished trial; it is on disk when this returns."""
        self._file.append({**kept.result.to_json(), "value": kept.value, "variance": kept.variance})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, identity: dict[str, Any]) -> tuple[Kept, ...]:
        if not self._file.lines:
            self._file.append({"study": identity})
            return ()
        try:
            found = [json.loads(line) for line in self._file.lines]
            before = found[0]["study"]
            kept = tuple(Kept(read_trial(one), one["value"], one["variance"]) for one in found[1:])
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise InvalidInput(f"{self.path} is damaged: {error!r}; use another folder") from error
        differs = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
        if differs:
            shown = "; ".join(f"{name} was {before.get(name)!r}, is {identity.get(name)!r}" for name in differs)
            raise InvalidInput(f"{self.path.parent} holds another study ({shown}); use another folder")
        return kept
