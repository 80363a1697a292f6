"""Writes and reads a study's files: its trials as CSV and JSON, its space as JSON for its charts."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamb.errors import InvalidInput, StorageFailed
from streamb.hpo.parameters import Fixed, Float, Ordinal, Parameter
from streamb.hpo.space import Space
from streamb.hpo.study.study import OptimizationResult, TrialResult, plain_value
from streamb.store.plain import from_plain

_COLUMNS = ("number", "status", "score", "seconds", "started_at", "node", "error")


def write_csv(trials: Sequence[TrialResult], path: Path) -> None:
    """Write one line per trial: parameters as `param.NAME`, fold scores as `fold.0`, `fold.1`, ...; missing ones empty.

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
    """Write the result with all its trials as JSON.

    Raises:
        StorageFailed: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(result.to_json(), indent=2, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror or error}") from error


def read_trial(body: Mapping[str, Any]) -> TrialResult:
    """Read a trial that `TrialResult.to_json` wrote.

    Raises:
        InvalidInput: the data is not a trial.
    """
    try:
        return from_plain(TrialResult, body)
    except ValueError as error:
        raise InvalidInput(f"this is not a trial written by streamb: {error}") from error


def describe(space: Space) -> dict[str, Any]:
    """Return the space as plain data that `Space.of` reads. Values that JSON does not have become strings or lists.

    >>> describe(Space.of({"C": (0.1, 10.0, "log"), "kernel": ["rbf", "poly"]}))["C"]
    {'type': 'float', 'low': 0.1, 'high': 10.0, 'log': True}
    """
    parameters: tuple[Parameter | Fixed, ...] = (*space.searched, *space.fixed)
    return {parameter.name: _described(parameter) for parameter in parameters}


def read_described(described: Mapping[str, Any] | None) -> Space | None:
    """Read a space that `describe` wrote; None if there is none, or it cannot be read."""
    if not described:
        return None
    try:
        return Space.of(described)
    except InvalidInput:  # charts then take their axes from the trials
        return None


def _cell(value: Any) -> Any:
    return "" if value is None else value if isinstance(value, str | int | float) else json.dumps(value, default=str)


def _described(parameter: Parameter | Fixed) -> dict[str, Any]:
    told = _shape(parameter)
    if parameter.conditions:
        told["when"] = {one.parent: plain_value(list(one.values)) for one in parameter.conditions}
    return told


def _shape(parameter: Any) -> dict[str, Any]:
    if isinstance(parameter, Fixed):
        return {"type": "fixed", "value": plain_value(parameter.constant)}
    if isinstance(parameter, Ordinal):
        kind = "categorical" if parameter.categorical else "ordinal"
        return {"type": kind, "values": [plain_value(value) for value in parameter.values]}
    kind, least = ("float", None) if isinstance(parameter, Float) else ("int", 1)
    told: dict[str, Any] = {"type": kind, "low": parameter.low, "high": parameter.high}
    if parameter.log:
        told["log"] = True
    elif parameter.step != least:
        told["step"] = parameter.step
    return told
