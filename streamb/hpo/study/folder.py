"""The folders of studies: what was asked, where it is, who works on it, and the wish that it stops.

| file | holds |
| --- | --- |
| `journal.jsonl`, `finished.jsonl` | what `running` keeps, and goes on from |
| `study.json` | what the study is, as it was asked for |
| `state.json` | running, completed, stopped or failed, and why |
| `lock` | held by the process that works on it, and freed by the kernel when that dies |
| `stop` | there while somebody wants it to stop |
| `result.json`, `trials.csv`, `report.html` | what it found |
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
    """Where a study is. Interrupted: its process died; `resume` goes on."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StudyFolder:
    """The folder of one study.

    Attributes:
        path: it; need not exist for a study that is about to be made.
        study_id: its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study_id = path.name

    # --- what is there --------------------------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            NotFound: there is no such study.
        """
        found = self._load("study.json")
        if found is None:
            raise NotFound(f"there is no study {self.study_id!r}; `streamb tune list` shows those there are")
        return found

    def trials(self) -> list[TrialResult]:
        """Finished trials by number, also while it runs: a line that is being written, or was cut, is left out."""
        path = self.path / FINISHED_FILE
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
            return sorted((read_trial(json.loads(line)) for line in lines[1:]), key=lambda trial: trial.number)
        except FileNotFoundError:
            return []
        except (OSError, ValueError, InvalidInput) as error:
            raise StorageFailed(f"{path} cannot be read ({error}); restore it, or move it away") from error

    def result(self) -> dict[str, Any] | None:
        """What it found; None while it has not ended."""
        return self._load(RESULT_FILE)

    def state(self) -> tuple[State, str]:
        """Where it is, and why."""
        told = self._load("state.json") or {}
        state, reason = State(told.get("state", State.INTERRUPTED.value)), str(told.get("reason", ""))
        if is_locked(self.path / "lock"):
            return State.RUNNING, "asked to stop" if self.stop_requested else ""
        if state is State.RUNNING or state is State.INTERRUPTED:
            return State.INTERRUPTED, "its process ended without a word; `streamb tune resume` goes on"
        return state, reason

    def row(self) -> dict[str, Any]:
        """The study on one line, JSON-ready."""
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
        """Make the folder.

        Raises:
            Conflict: there is such a study already.
        """
        if (self.path / "study.json").exists():
            raise Conflict(f"there is a study {self.study_id!r} already; resume it, or choose another name")
        self._save("study.json", about)

    def amend(self, **changes: Any) -> None:
        """Change some of what was asked for, such as how many trials."""
        self._save("study.json", {**self.about(), **changes})

    def mark(self, state: State, reason: str = "") -> None:
        """Say where it is."""
        self._save("state.json", {"state": state.value, "reason": reason})

    def keep_result(self, result: OptimizationResult) -> None:
        """Keep what it found."""
        self._save(RESULT_FILE, result.to_json())

    def reopen(self) -> None:
        """Before it goes on: no result yet, and nobody wants it to stop."""
        for name in (RESULT_FILE, "stop"):
            (self.path / name).unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Have it stop soon: after the trials that run now, or in the midst of them.

        Raises:
            NotFound: there is no such study. Conflict: it does not run.
        """
        self.about()
        state, _ = self.state()
        if state is not State.RUNNING:
            raise Conflict(f"study {self.study_id!r} does not run: it is {state.value}")
        (self.path / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody wants it to stop."""
        return (self.path / "stop").exists()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold the lock: one process at a time works on a study.

        Raises:
            AlreadyRunning: another one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("wb") as file:
            if not take_lock(file):
                raise AlreadyRunning(f"another process works on study {self.study_id!r}; stop it first")
            yield

    def _load(self, name: str) -> dict[str, Any] | None:
        return JsonFile(self.path / name).load() or None

    def _save(self, name: str, body: Mapping[str, Any]) -> None:
        """Replace a file whole: a crash leaves the earlier one or the new one."""
        replace_file(self.path / name, json.dumps(body, indent=2, default=str).encode())


class Studies:
    """The studies of a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / FOLDER

    def get(self, study_id: str) -> StudyFolder:
        """A study by its id, whether or not there is one yet.

        Raises:
            InvalidInput: no id that a study can have.
        """
        wrong = not study_id or len(study_id) > _LONGEST_NAME or not {*study_id} <= _NAME or study_id[0] in ".-"
        if wrong:
            raise InvalidInput(
                f"{study_id!r} cannot name a study: at most {_LONGEST_NAME} lower-case letters, digits and - _ ."
            )
        return StudyFolder(self._root / study_id)

    def all(self) -> list[StudyFolder]:
        """Those there are, the newest first."""
        if not self._root.is_dir():
            return []
        found = [StudyFolder(path) for path in self._root.iterdir() if (path / "study.json").exists()]
        return sorted(found, key=lambda study: (-float(study.about().get("created_at") or 0.0), study.study_id))

    def new_id(self, model: str, clock: Clock | None = None) -> str:
        """An id that no study has: the model's name, the day, and a number."""
        import datetime as dt

        now = (clock or SystemClock()).now()
        day = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y%m%d")
        name = "".join(letter if letter in _NAME else "-" for letter in model.lower()).strip("-._") or "study"
        stem = f"{name[:40]}-{day}"
        number = 1
        while (self._root / f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"
