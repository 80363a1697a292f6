"""Builds models with the parameters of a trial, and takes rows out of any kind of table."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from streamb.errors import InvalidInput
from streamb.hpo.parameters import Fixed, Parameter, holds
from streamb.hpo.space import Space

_SEED = "random_state"


def take(table: Any, rows: Any) -> Any:
    """Return the given rows of an array, a frame, a sparse matrix or a list."""
    if hasattr(table, "iloc"):
        return table.iloc[rows]
    if hasattr(table, "shape"):
        return table[rows]
    return [table[row] for row in rows]


def is_estimator(model: Any) -> bool:
    """Return whether the model has parameters that can be read and set by name, like scikit-learn's estimators."""
    return not inspect.isclass(model) and hasattr(model, "get_params") and hasattr(model, "set_params")


def build_model(model: Any, parameters: Mapping[str, Any]) -> Any:
    """Return a new, untrained model with these parameters."""
    if not is_estimator(model):
        return model(**parameters)
    from sklearn.base import clone

    # a parameter may be a model itself, shared by all trials: what it learns in one must not reach the next
    return clone(model).set_params(**{name: copy.deepcopy(value) for name, value in parameters.items()})


def random_parameters(model: Any, seed: int) -> dict[str, int]:
    """Return a `random_state` for the model and its parts that have none, so that trials differ only by parameters."""
    if not is_estimator(model):
        return {}
    return {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if value is None and (name == _SEED or name.endswith(f"__{_SEED}"))
    }


def default_parameters(model: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the model's default values for these names; names without a default are left out."""
    if is_estimator(model):
        known = model.get_params(deep=True)
        return {name: known[name] for name in names if name in known}
    try:
        signature = inspect.signature(model)
    except (TypeError, ValueError):
        return {}
    defaults = {name: one.default for name, one in signature.parameters.items()}
    return {
        name: defaults[name]
        for name in names
        if defaults.get(name, inspect.Parameter.empty) is not inspect.Parameter.empty
    }


def own_parameters(model: Any) -> dict[str, Any]:
    """Return all of an estimator's own parameters as text that is the same in every process; empty for other models.

    >>> from sklearn.linear_model import Ridge
    >>> own_parameters(Ridge(alpha=2.0))["alpha"]
    '2.0'
    """
    return {name: _text(value) for name, value in model.get_params(deep=True).items()} if is_estimator(model) else {}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    if isinstance(value, str | bool | int | float | type(None) | np.generic):
        return repr(value)
    return str(getattr(value, "__name__", type(value).__name__))  # `repr` of an object may contain its address


def first_parameters(model: Any, space: Space) -> dict[str, Any] | None:
    """Return the parameters of the first trial: the model's own defaults, else the space's.

    None if the model has no default for any name: then the space's own defaults come first, if it declares any.
    """
    own = default_parameters(model, space.names)
    if not own:
        return None
    values: dict[str, Any] = {fixed.name: fixed.constant for fixed in space.fixed if not fixed.conditions}
    others = space.defaults()
    parameters: list[Parameter | Fixed] = [*space.searched, *(fixed for fixed in space.fixed if fixed.conditions)]
    for parameter in parameters:
        if all(one.parent in values and holds(one, values[one.parent]) for one in parameter.conditions):
            known = getattr(parameter, "constant", own.get(parameter.name, others.get(parameter.name)))
            values[parameter.name] = known
    return values


def check_model(model: Any, names: Iterable[str]) -> None:
    """Check that the model can be searched over these parameters, before any trial runs.

    Raises:
        InvalidInput: it cannot be trained, or has no parameter of such a name; the message lists those it has.
    """
    if is_estimator(model):
        if not hasattr(model, "fit"):
            raise InvalidInput(f"{type(model).__name__} has no fit method, so it cannot be trained")
        known = model.get_params(deep=True)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InvalidInput(_unknown(type(model).__name__, unknown, known), parameters=unknown)
        return
    if not callable(model):
        raise InvalidInput(
            f"a {type(model).__name__} has no get_params and set_params; give a scikit-learn estimator, a class, or a"
            " function that makes a model from the parameters"
        )
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise InvalidInput(_unknown(getattr(model, "__name__", "the model"), unknown, parameters), parameters=unknown)


def _unknown(model: str, unknown: list[str], known: Iterable[str]) -> str:
    inner = {name: [one for one in known if one.endswith(f"__{name}")] for name in unknown}
    meant = [f"{name} is {found[0]} here" for name, found in inner.items() if found]
    listed = ", ".join(sorted(name for name in known if "__" not in name))
    return (
        f"{model} has no parameter {', '.join(unknown)}"
        + (f" ({'; '.join(meant)})" if meant else "")
        + f"; it has: {listed}"
    )


def as_rows(data: Any) -> Any:
    """Return rows that can be indexed: nested lists of numbers become an array, sparse matrices CSR; others stay."""
    if hasattr(data, "tocsr"):
        return data.tocsr()
    if isinstance(data, list | tuple) and data and not isinstance(data[0], str | Mapping):
        return np.asarray(data)
    return data
