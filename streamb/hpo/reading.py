"""Reads search spaces from plain data: how a dict, list, tuple or bare value describes a parameter.

| written | means |
| --- | --- |
| `{"type": "float", "low": 1e-3, "high": 10.0, "log": True}` | a real number; also `step`, `default` |
| `{"type": "int", "low": 1, "high": 64, "log": True}` | a whole number; `step` |
| `{"type": "categorical", "values": ["rbf", "poly"]}` or `["rbf", "poly"]` | one of these, without order |
| `{"type": "ordinal", "values": [16, 64, 256]}` | one of these, in this order |
| `{"type": "bool"}` | True or False |
| `{"type": "fixed", "value": 7}`, or a bare value | given to every trial, not searched |
| `(0.1, 0.9)`, `(1, 10)`, `(1e-4, 1.0, "log")` | a range: whole numbers when both ends are |
| `"when": {"kernel": ["poly", "rbf"]}` in any dict | active only while `kernel` is and has one of these values |

Anything else is rejected with the parameter's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from streamb.errors import InvalidInput
from streamb.hpo.parameters import Categorical, Condition, Fixed, Float, Integer, Ordinal, Parameter

_COMMON: Final = {"type", "default", "when"}
_BARE: Final = (str, bool, int, float, type(None), np.integer, np.floating)
_MOST: Final = 2**53
"""Above this, not every whole number has its own floating-point value."""


def read_parameters(described: Mapping[str, Any]) -> list[Parameter | Fixed]:
    """Read parameters from plain data, in the order in which they are written.

    Raises:
        InvalidInput: a description is invalid; the message names the parameter and what would be right.

    >>> read_parameters({"depth": (1, 10)})[0].levels
    10
    """
    if not isinstance(described, Mapping):
        raise InvalidInput(f"a search space is a dict of parameters by name, not {type(described).__name__}")
    if not described:
        raise InvalidInput("the search space is empty; name at least one parameter")
    return [_read(name, what) for name, what in described.items()]


def _read(name: Any, what: Any) -> Parameter | Fixed:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"parameter names must be strings, not {name!r}")
    if isinstance(what, Mapping):
        return _from_mapping(name, what)
    if isinstance(what, list):
        return _listed(Categorical, name, {"values": what})
    if isinstance(what, tuple):
        return _from_tuple(name, what)
    if isinstance(what, _BARE):
        return Fixed(name, what)
    raise _refusal(
        name, f"{type(what).__name__} does not describe a parameter; give a dict with a type, a list or a tuple"
    )


def _from_mapping(name: str, what: Mapping[str, Any]) -> Parameter | Fixed:
    kind = what.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _refusal(name, f"type {kind!r} is not known; use one of {', '.join(sorted(_KINDS))}")
    read, allowed = _KINDS[kind]
    unknown = sorted(str(key) for key in what if key not in allowed | _COMMON)
    if unknown:
        raise _refusal(
            name,
            f"{', '.join(unknown)} is not known for type {kind!r}; allowed: {', '.join(sorted(allowed | _COMMON))}",
        )
    default = what.get("default")
    parameter = read(name, what, default=default, conditions=_conditions(name, what.get("when")))
    if default is not None and not isinstance(parameter, Fixed) and not parameter.contains(default):
        raise _refusal(name, f"the default {default!r} is not one of its values")
    return parameter


def _from_tuple(name: str, what: tuple[Any, ...]) -> Parameter:
    log = len(what) == 3 and what[2] == "log"
    if len(what) != 2 and not log:
        raise _refusal(name, f"a tuple is (low, high) or (low, high, 'log'), not {what!r}; use a list for categories")
    described = {"low": what[0], "high": what[1], "log": log}
    whole = all(isinstance(end, int | np.integer) and not isinstance(end, bool) for end in what[:2])
    return _integer(name, described) if whole else _float(name, described)


def _float(name: str, what: Mapping[str, Any], **common: Any) -> Float:
    low, high = _number(name, what, "low"), _number(name, what, "high")
    log, step = _flag(name, what), what.get("step")
    _check_range(name, low, high, log=log)
    if step is not None:
        step = _number(name, what, "step")
        if step <= 0 or step > high - low:
            raise _refusal(name, f"step {step!r} must be positive and at most high - low")
        if log:
            raise _refusal(name, "log and step exclude each other; list the values as type 'ordinal' instead")
    return Float(name, low, high, log, step, **common)


def _integer(name: str, what: Mapping[str, Any], **common: Any) -> Integer:
    low, high, step = _whole(name, what, "low"), _whole(name, what, "high"), 1
    log = _flag(name, what)
    _check_range(name, low, high, log=log)
    if what.get("step") is not None:
        step = _whole(name, what, "step")
        if step <= 0:
            raise _refusal(name, f"step {step!r} must be positive")
        if log and step != 1:
            raise _refusal(name, "log and step exclude each other; list the values as type 'ordinal' instead")
    return Integer(name, low, high, log, step, **common)


def _listed(kind: type[Ordinal], name: str, what: Mapping[str, Any], **common: Any) -> Ordinal:
    return kind(name, _values(name, what), **common)


def _bool(name: str, what: Mapping[str, Any], **common: Any) -> Ordinal:  # noqa: ARG001 - as the other readers
    return Categorical(name, (False, True), **common)


def _fixed(name: str, what: Mapping[str, Any], *, conditions: tuple[Condition, ...], **_: Any) -> Fixed:
    if "value" not in what:
        raise _refusal(name, "a fixed parameter needs a 'value'")
    return Fixed(name, what["value"], conditions)


_RANGE: Final = {"low", "high", "log", "step"}
_LISTED: Final = {"values", "choices"}
_KINDS: Final[dict[str, tuple[Callable[..., Parameter | Fixed], set[str]]]] = {
    "float": (_float, _RANGE),
    "int": (_integer, _RANGE),
    "integer": (_integer, _RANGE),
    "categorical": (partial(_listed, Categorical), _LISTED),
    "choice": (partial(_listed, Categorical), _LISTED),
    "ordinal": (partial(_listed, Ordinal), _LISTED),
    "bool": (_bool, set()),
    "fixed": (_fixed, {"value"}),
}


def _conditions(name: str, when: Any) -> tuple[Condition, ...]:
    if when is None:
        return ()
    if not isinstance(when, Mapping) or not when:
        raise _refusal(name, f"'when' must be a dict of parents and their values, not {when!r}")
    conditions = []
    for parent, values in when.items():
        listed = tuple(values) if isinstance(values, list | tuple | set | frozenset) else (values,)
        if not isinstance(parent, str) or not listed:
            raise _refusal(name, f"'when' names no value of {parent!r}")
        conditions.append(Condition(parent, listed))
    return tuple(conditions)


def _values(name: str, what: Mapping[str, Any]) -> tuple[Any, ...]:
    values = what.get("values", what.get("choices"))
    if not isinstance(values, list | tuple) or not values:
        raise _refusal(name, "it needs a list of at least one value")
    told = [repr(value) for value in values]
    twice = sorted({one for one in told if told.count(one) > 1})
    if twice:
        raise _refusal(name, f"{', '.join(twice)} is listed twice")
    return tuple(values)


def _check_range(name: str, low: float, high: float, *, log: bool) -> None:
    if low > high:
        raise _refusal(name, f"low {low!r} is above high {high!r}")
    if not math.isfinite(high / low if log and low > 0 else high - low):
        raise _refusal(name, f"the range from {low!r} to {high!r} is too wide for floating-point numbers; narrow it")
    if log and low < (1 if isinstance(low, int) else 0):
        raise _refusal(name, f"a logarithmic range must start above 0, not at {low!r}")
    if log and low == 0:
        raise _refusal(name, "a logarithmic range must start above 0")


def _number(name: str, what: Mapping[str, Any], key: str) -> float:
    value = what.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise _refusal(name, f"{key!r} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise _refusal(name, f"{key!r} must be finite, not {value!r}")
    return float(value)


def _whole(name: str, what: Mapping[str, Any], key: str) -> int:
    value = _number(name, what, key)
    if not value.is_integer() or abs(value) > _MOST:
        raise _refusal(name, f"{key!r} must be a whole number, not {what[key]!r}; use type 'float' for others")
    return int(value)


def _flag(name: str, what: Mapping[str, Any]) -> bool:
    log = what.get("log", False)
    if not isinstance(log, bool):
        raise _refusal(name, f"'log' must be True or False, not {log!r}")
    return log


def _refusal(name: str, why: str) -> InvalidInput:
    return InvalidInput(f"search space: parameter {name!r}: {why}", parameter=name)
