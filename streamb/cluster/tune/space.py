"""Translates Ray Tune's descriptions of search spaces into streamb's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Quantized, Uniform

from streamb.errors import InvalidInput
from streamb.hpo.nesting import SEPARATOR


def plain_space(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space as plain data. Names of nested parameters are joined: `{"model": {"lr": …}}` becomes `"model/lr"`.

    Raises:
        InvalidInput: a parameter only says how to draw random values, not which values exist.

    >>> from ray import tune
    >>> plain_space({"C": tune.loguniform(0.01, 100.0), "layers": tune.randint(1, 4)})["layers"]
    {'type': 'int', 'low': 1, 'high': 3, 'log': False}
    """
    found: dict[str, Any] = {}
    for name, what in described.items():
        if isinstance(what, Mapping) and "type" not in what and "grid_search" not in what:
            found |= {f"{name}{SEPARATOR}{inner}": one for inner, one in plain_space(what).items()}
        else:
            found[name] = _plain(name, what)
    return found


def _plain(name: str, what: Any) -> Any:
    if isinstance(what, Mapping) and "grid_search" in what:
        return {"type": "categorical", "values": list(what["grid_search"])}
    if not isinstance(what, Domain):
        return what
    if isinstance(what, Categorical):
        return {"type": "categorical", "values": list(what.categories)}
    domain: Any = what  # ray gives its samplers no types
    sampler: Any = domain.get_sampler()
    step = sampler.q if isinstance(sampler, Quantized) else None
    sampler = sampler if step is None else sampler.sampler
    if not isinstance(sampler, Uniform | LogUniform):
        raise InvalidInput(
            f"search space: parameter {name!r}: {_called(what)} has no limits to search"
            " within; use uniform, loguniform, randint, choice or a similar one"
        )
    log = isinstance(sampler, LogUniform)
    if log and step not in (None, 1):
        raise InvalidInput(
            f"search space: parameter {name!r}: steps on a logarithmic range are not supported; list the values"
        )
    return _range(what, step, log=log)


def _called(what: Domain) -> str:
    return "sample_from" if isinstance(what, Function) else what.domain_str or type(what).__name__


def _range(what: Domain, step: Any, *, log: bool) -> dict[str, Any]:
    if isinstance(what, Float):
        if step is None:
            return {"type": "float", "low": what.lower, "high": what.upper, "log": log}
        low = math.ceil(what.lower / step - 1e-9) * step  # Tune's values are multiples of the step
        return {"type": "float", "low": low, "high": what.upper, "step": step}
    if isinstance(what, Integer):
        # Tune excludes the upper end, unless steps are given
        stepped = step not in (None, 1)
        if not stepped:
            return {"type": "int", "low": what.lower, "high": what.upper - 1, "log": log}
        return {"type": "int", "low": -(-what.lower // step) * step, "high": what.upper, "step": int(step)}
    raise InvalidInput(f"a {type(what).__name__} is not known as a parameter")
