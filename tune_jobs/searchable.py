"""The models that can be searched: scikit-learn's estimators by name, or any class by its import path."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import NotFound
from streamb.hpo.spaces import prefixed, space_for
from tune_jobs.arguments import WrongArgument
from tune_jobs.estimators import READS_SPARSE, estimator_named, imported
from tune_jobs.table import Task

STEP: Final = "estimator"
"""The pipeline's step that is searched; names of the pipeline's parameters begin with it."""

_PREFIX: Final = f"{STEP}__"


@dataclass(frozen=True, slots=True)
class Searchable:
    """An estimator and its search space.

    Attributes:
        estimator: the estimator, not fitted.
        space: the search space as plain data, with the estimator's own parameter names.
        dense: whether it accepts no sparse matrices.
    """

    estimator: Any
    space: dict[str, Any]
    dense: bool

    def space_of_pipeline(self) -> dict[str, Any]:
        """Return the space with the pipeline's parameter names, conditions included."""
        return prefixed(self.space, _PREFIX)


def own_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline's parameters under the estimator's own names."""
    return {name.removeprefix(_PREFIX): value for name, value in parameters.items()}


def find_searchable(model: str, task: Task, space_file: Path | None) -> Searchable:
    """Find an estimator by name or import path, with its search space from a file or from the catalog.

    Raises:
        WrongArgument: there is no such model or space, or it is not for this task.
    """
    estimator = _by_path(model) if ":" in model else estimator_named(model, task, option="model")
    space = read_space(space_file) if space_file is not None else _catalogued(model, estimator)
    return Searchable(estimator, space, dense=model not in READS_SPARSE)


def read_space(path: Path) -> dict[str, Any]:
    """Read a search space from a JSON file.

    Raises:
        WrongArgument: the file holds no JSON object.
    """
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongArgument.of("space", path, f"it cannot be read as JSON: {error}") from error
    if not isinstance(described, dict) or not described:
        raise WrongArgument.of("space", path, 'it holds no JSON object; write {"C": {"type": "float", …}}')
    return described


def _by_path(model: str) -> Any:
    found = imported(model, model, option="model")
    if inspect.isclass(found) or not hasattr(found, "get_params"):
        try:
            found = found()
        except TypeError as error:
            raise WrongArgument.of("model", model, f"it cannot be made without arguments: {error}") from error
    if not hasattr(found, "fit") or not hasattr(found, "set_params"):
        raise WrongArgument.of("model", model, "it has no fit and set_params, as scikit-learn's estimators have")
    return found


def _catalogued(model: str, estimator: Any) -> dict[str, Any]:
    try:
        return space_for(estimator)
    except NotFound as error:
        name = type(estimator).__name__
        raise WrongArgument.of("model", model, f"{name} has no search space here; give one with --space") from error
