"""A search space as JSON can say it: kept beside a study, so that its pictures know the ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamb.errors import InvalidInput
from streamb.hpo.parameters import Condition, Fixed, Float, Integer, Ordinal
from streamb.hpo.space import Space
from streamb.hpo.study.study import plain_parameters


def describe(space: Space) -> dict[str, Any]:
    """Plain data; `Space.of` reads it back. Values that JSON does not know become text or lists.

    >>> describe(Space.of({"C": (0.1, 10.0, "log"), "kernel": ["rbf", "poly"]}))["C"]
    {'type': 'float', 'low': 0.1, 'high': 10.0, 'log': True}
    """
    parameters: tuple[Any, ...] = (*space.searched, *space.fixed)
    return {parameter.name: _described(parameter) for parameter in parameters}


def read_described(described: Mapping[str, Any] | None) -> Space | None:
    """The space of what `describe` made; None where there is none, or it cannot be read."""
    if not described:
        return None
    try:
        return Space.of(described)
    except InvalidInput:  # pictures then take their axes from the trials
        return None


def _described(parameter: Any) -> dict[str, Any]:
    told = _shape(parameter)
    if parameter.conditions:
        told["when"] = {one.parent: _plain(list(one.values)) for one in _conditions(parameter)}
    return told


def _shape(parameter: Any) -> dict[str, Any]:
    if isinstance(parameter, Fixed):
        return {"type": "fixed", "value": _plain(parameter.constant)}
    if isinstance(parameter, Float | Integer):
        kind = "float" if isinstance(parameter, Float) else "int"
        told: dict[str, Any] = {"type": kind, "low": parameter.low, "high": parameter.high}
        if parameter.log:
            told["log"] = True
        elif parameter.step not in (None, 1) or (isinstance(parameter, Float) and parameter.step is not None):
            told["step"] = parameter.step
        return told
    kind = "ordinal" if isinstance(parameter, Ordinal) else "categorical"
    return {"type": kind, "values": [_plain(value) for value in parameter.values]}


def _conditions(parameter: Any) -> tuple[Condition, ...]:
    return tuple(parameter.conditions)


def _plain(value: Any) -> Any:
    return plain_parameters({"value": value})["value"]
