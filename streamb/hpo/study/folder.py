"""Studies on disk: what was asked for, the state, the lock of the process that works on it, and requests to stop.

| file | holds |
| --- | --- |
| `journal.jsonl`, `finished.jsonl` | the progress that `running` keeps and resumes from |
| `study.json` | the study as it was asked for |
| `state.json` | running, completed, stopped or failed, and why |
| `lock` | held by the process that works on the study, and released by the kernel when that process dies |
| `stop` | exists while a stop is requested |
| `result.json`, `trials.csv`, `report.html` | the results |
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from streamb.clock import Clock, SystemClock
from streamb.errors import AlreadyRunning, Conflict, InvalidInput, NotFound, StorageFailed
from streamb.hpo.study.files import read_trial
from streamb.hpo.study.records import FINISHED_FILE
from streamb.hpo.study.study import OptimizationResult, TrialResult, best_of
from streamb.store.files import JsonFile, is_locked, replace_file, take_lock

FOLDER: Final = "studies"
RESULT_FILE: Final = "result.json"
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_LONGEST_NAME: Final = 64


class State(StrEnum):
    """The state of a study. Interrupted: its process died; `streamb tune resume` continues it."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StudyFolder:
    """The folder of one study.

    Attributes:
        path: the folder; need not exist for a study that is about to be created.
        study_id: the study's id, which is the folder's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study_id = path.name

    # --- what is there --------------------------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """Return the study as it was asked for.

        Raises:
            NotFound: there is no such study.
        """
        found = self._load("study.json")
        if found is None:
            raise NotFound(f"there is no study {self.study_id!r}; `streamb tune list` shows those there are")
        return found

    def trials(self) -> list[TrialResult]:
        """Return the finished trials by number, also while the study runs: an incomplete last line is ignored."""
        path = self.path / FINISHED_FILE
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
            return sorted((read_trial(json.loads(line)) for line in lines[1:]), key=lambda trial: trial.number)
        except FileNotFoundError:
            return []
        except (OSError, ValueError, InvalidInput) as error:
            raise StorageFailed(f"{path} cannot be read ({error}); restore it, or move it away") from error

    def result(self) -> dict[str, Any] | None:
        """Return the study's result; None while it has not ended."""
        return self._load(RESULT_FILE)

    def state(self) -> tuple[State, str]:
        """Return the study's state and the reason for it."""
        told = self._load("state.json") or {}
        state, reason = State(told.get("state", State.INTERRUPTED.value)), str(told.get("reason", ""))
        if is_locked(self.path / "lock"):
            return State.RUNNING, "asked to stop" if self.stop_requested else ""
        if state is State.RUNNING or state is State.INTERRUPTED:
            return State.INTERRUPTED, "its process ended without a word; `streamb tune resume` goes on"
        return state, reason

    def row(self) -> dict[str, Any]:
        """Return the study as one row of a listing, ready for JSON."""
        about, (state, reason) = self.about(), self.state()
        trials = self.trials()
        best = best_of(trials, about["direction"])
        found = self.result()
        return {
            "id": self.study_id,
            "state": state.value,
            "reason": reason,
            "model": about.get("model", ""),
            "data": about.get("data", ""),
            "objective": about["objective"],
            "direction": about["direction"],
            "trials": len(trials),
            "planned": about.get("n_trials"),
            "best_score": found["best_score"] if found else best.score if best else None,
            "best_number": found["best_number"] if found else best.number if best else None,
            "created_at": about.get("created_at"),
        }

    # --- what is changed ------------------------------------------------------------------------------------------

    def create(self, about: Mapping[str, Any]) -> None:
        """Create the folder.

        Raises:
            Conflict: the study already exists.
        """
        if (self.path / "study.json").exists():
            raise Conflict(f"there is already a study {self.study_id!r}; resume it, or choose another name")
        self._save("study.json", about)

    def amend(self, **changes: Any) -> None:
        """Change some of the study's settings, such as the number of trials."""
        self._save("study.json", {**self.about(), **changes})

    def mark(self, state: State, reason: str = "") -> None:
        """Write the study's state and the reason for it."""
        self._save("state.json", {"state": state.value, "reason": reason})

    def keep_result(self, result: OptimizationResult) -> None:
        """Write the study's result."""
        self._save(RESULT_FILE, result.to_json())

    def reopen(self) -> None:
        """Remove the result and any request to stop, before the study is continued."""
        for name in (RESULT_FILE, "stop"):
            (self.path / name).unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Ask the study to stop: after the trials that run now, or in the midst of them.

        Raises:
            NotFound: there is no such study. Conflict: it is not running.
        """
        self.about()
        state, _ = self.state()
        if state is not State.RUNNING:
            raise Conflict(f"study {self.study_id!r} is not running: it is {state.value}")
        (self.path / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        """Whether a stop is requested."""
        return (self.path / "stop").exists()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the lock: one process at a time works on a study.

        Raises:
            AlreadyRunning: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("wb") as file:
            if not take_lock(file):
                raise AlreadyRunning(f"another process works on study {self.study_id!r}; stop it first")
            yield

    def _load(self, name: str) -> dict[str, Any] | None:
        return JsonFile(self.path / name).load() or None

    def _save(self, name: str, body: Mapping[str, Any]) -> None:
        """Replace a file as a whole: after a crash either the old or the new content is there."""
        replace_file(self.path / name, json.dumps(body, indent=2, default=str).encode())


class Studies:
    """The studies of a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / FOLDER

    def get(self, study_id: str) -> StudyFolder:
        """Return the folder of a study by its id, whether or not the study exists.

        Raises:
            InvalidInput: the id is not allowed for a study.
        """
        wrong = not study_id or len(study_id) > _LONGEST_NAME or not {*study_id} <= _NAME or study_id[0] in ".-"
        if wrong:
            raise InvalidInput(
                f"{study_id!r} cannot name a study: at most {_LONGEST_NAME} lower-case letters, digits and - _ ."
            )
        return StudyFolder(self._root / study_id)

    def all(self) -> list[StudyFolder]:
        """Return all studies, newest first."""
        if not self._root.is_dir():
            return []
        found = [StudyFolder(path) for path in self._root.iterdir() if (path / "study.json").exists()]
        return sorted(found, key=lambda study: (-float(study.about().get("created_at") or 0.0), study.study_id))

    def new_id(self, model: str, clock: Clock | None = None) -> str:
        """Return an unused study id: the model's name, the day, and a number."""
        import datetime as dt

        now = (clock or SystemClock()).now()
        day = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y%m%d")
        name = "".join(letter if letter in _NAME else "-" for letter in model.lower()).strip("-._") or "study"
        stem = f"{name[:40]}-{day}"
        number = 1
        while (self._root / f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"
