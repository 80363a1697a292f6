"""A study's trials as files for other programs: CSV with a column per parameter, and JSON with everything."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamb.errors import InvalidInput, StorageFailed
from streamb.hpo.study.study import OptimizationResult, Outcome, TrialResult

_COLUMNS = ("number", "status", "score", "seconds", "started_at", "node", "error")


def write_csv(trials: Sequence[TrialResult], path: Path) -> None:
    """One line per trial; parameters as `param.NAME`, fold scores as `fold.0`, `fold.1`, ... Empty where there is none.

    Raises:
        StorageFailed: the file cannot be written.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    folds = max([len(trial.fold_scores) for trial in trials], default=0)
    head = [*_COLUMNS, *(f"param.{name}" for name in names), *(f"fold.{k}" for k in range(folds))]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for trial in trials:
                plain = trial.to_json()
                scores = [*plain["fold_scores"], *[""] * (folds - len(trial.fold_scores))]
                values = [_cell(plain["parameters"].get(name, "")) for name in names]
                writer.writerow([*(_cell(plain[column]) for column in _COLUMNS), *values, *scores])
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror or error}") from error


def write_json(result: OptimizationResult, path: Path) -> None:
    """The result with all its trials.

    Raises:
        StorageFailed: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(result.to_json(), indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror or error}") from error


def read_trial(body: Mapping[str, Any]) -> TrialResult:
    """A trial from what `TrialResult.to_json` made of it.

    Raises:
        InvalidInput: it is not one.
    """
    try:
        return TrialResult(
            number=int(body["number"]),
            parameters=dict(body["parameters"]),
            score=None if body["score"] is None else float(body["score"]),
            fold_scores=tuple(float(score) for score in body["fold_scores"]),
            status=Outcome(body["status"]),
            seconds=float(body["seconds"]),
            started_at=float(body["started_at"]),
            error=str(body.get("error", "")),
            node=str(body.get("node", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"this is not a trial as streamb writes it: {error}") from error


def _cell(value: Any) -> Any:
    return "" if value is None else value if isinstance(value, str | int | float) else json.dumps(value, default=str)
