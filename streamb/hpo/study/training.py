"""Models of any kind, made new for every fold with the parameters of a trial; and rows taken out of any table."""

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
    """Some rows of an array, a frame, a sparse matrix or a list."""
    if hasattr(table, "iloc"):
        return table.iloc[rows]
    if hasattr(table, "shape"):
        return table[rows]
    return [table[row] for row in rows]


def is_estimator(model: Any) -> bool:
    """Whether it has named parameters that can be read and set, as scikit-learn's estimators have."""
    return not inspect.isclass(model) and hasattr(model, "get_params") and hasattr(model, "set_params")


def build_model(model: Any, parameters: Mapping[str, Any]) -> Any:
    """A new, untrained model with these parameters."""
    if not is_estimator(model):
        return model(**parameters)
    from sklearn.base import clone

    # a parameter may be a model itself, shared by all trials: it must not carry what one of them learned to the next
    return clone(model).set_params(**{name: copy.deepcopy(value) for name, value in parameters.items()})


def random_parameters(model: Any, seed: int) -> dict[str, int]:
    """The `random_state` of a model and of its parts, where not set: chance must not decide between two trials."""
    if not is_estimator(model):
        return {}
    return {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if value is None and (name == _SEED or name.endswith(f"__{_SEED}"))
    }


def default_parameters(model: Any, names: Iterable[str]) -> dict[str, Any]:
    """What the model has for these names when nobody changes anything; names without a default are left out."""
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
    """All parameters that an estimator has itself, as the same text in every process; empty for what has none.

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
    return str(getattr(value, "__name__", type(value).__name__))  # an object's own text may hold its address


def first_parameters(model: Any, space: Space) -> dict[str, Any] | None:
    """The first trial of a space: the model's own defaults, with the space's for names that have none.

    None when the model has no default for any name: then the space's own defaults begin, if it declares any.
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
    """Refuse what cannot be searched, before any trial runs.

    Raises:
        InvalidInput: it cannot be trained, or has no parameter of such a name; says which there are.
    """
    if is_estimator(model):
        if not hasattr(model, "fit"):
            raise InvalidInput(f"{type(model).__name__} has no fit, so it cannot be trained")
        known = model.get_params(deep=True)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InvalidInput(_unknown(type(model).__name__, unknown, known), parameters=unknown)
        return
    if not callable(model):
        raise InvalidInput(
            f"a {type(model).__name__} has no get_params and set_params; give a scikit-learn estimator, a class, or a"
            " function that makes a model of the parameters"
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
    """Rows as they are; nested lists of numbers become an array, sparse matrices such as have rows."""
    if hasattr(data, "tocsr"):
        return data.tocsr()
    if isinstance(data, list | tuple) and data and not isinstance(data[0], str | Mapping):
        return np.asarray(data)
    return data
