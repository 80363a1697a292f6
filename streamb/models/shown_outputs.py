"""Finds the outputs of a signature in what a model has answered: name, type and shape of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.models.exact_arrays import as_array
from streamb.models.json_values import held
from streamb.models.signature import Output

_KINDS: Final = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "text"}


def outputs_of(
    predictions: NDArray[Any], probabilities: NDArray[Any] | None = None, declared: Sequence[Output] = ()
) -> tuple[Output, ...]:
    """Return the outputs that a checked answer shows.

    Several named outputs each have their own name. Any other answer is called "predictions", unless the model declares
    another name; if its rows are dicts with the same keys, an output "predictions.KEY" follows for each key. Class
    probabilities come last, and an output of this name that is the model's own comes first.

    Args:
        predictions: `Answer.predictions`, with at least one row.
        probabilities: `Answer.probabilities`.
        declared: the outputs that the model declares (`Model.outputs`); empty if it declares none.

    >>> outputs_of(np.array(["a", "b"]), np.array([[0.5, 0.5], [0.1, 0.9]]))[1]
    Output(name='probabilities', kind='tensor', dtype='float64', shape=(2,))
    """
    if predictions.dtype.names is not None:
        found = [_output(name, predictions[name]) for name in predictions.dtype.names]
    elif len(declared) == 1:
        found = [
            _output(declared[0].name, predictions[:, None] if _is_column(declared[0], predictions) else predictions)
        ]
    else:
        found = [_output("predictions", predictions), *_of_keys(predictions)]
    found.sort(key=lambda one: one.name != "probabilities")
    if probabilities is not None and found[0].name != "probabilities":
        found.append(_output("probabilities", probabilities))
    return tuple(found)


def _of_keys(predictions: NDArray[Any]) -> list[Output]:
    """The outputs "predictions.KEY" of rows that are dicts with the same keys."""
    if (
        predictions.ndim > 1
        or {type(row) for row in predictions} != {dict}
        or len({tuple(row) for row in predictions}) > 1
    ):
        return []
    found = []
    for key in predictions[0]:
        values = [row[key] for row in predictions]
        array = as_array(values)
        found.append(_output(f"predictions.{key}", array if isinstance(array, np.ndarray) else held(values)))
    return found


def _is_column(declared: Output, predictions: NDArray[Any]) -> bool:
    """Whether an output has one column, which the model answers as single values."""
    return predictions.ndim == 1 and declared.shape == (1,)


def _output(name: str, values: NDArray[Any]) -> Output:
    if values.dtype.kind == "O":
        found = as_array(values.tolist())
        values = found if isinstance(found, np.ndarray) else values
    kind, shape = _KINDS.get(values.dtype.kind), values.shape[1:]
    if kind == "text":
        return Output(name, kind, "", shape)
    if kind is not None:
        return Output(name, "tensor" if shape else kind, values.dtype.name, shape)
    types = {type(value) for value in values.flat}
    if types == {str}:
        return Output(name, "text", "", shape)
    if types == {list} and not shape:
        lengths = {len(value) for value in values}
        return Output(name, "list", "", (lengths.pop() if len(lengths) == 1 else None,))
    return Output(name, "object" if types == {dict} and not shape else "any", "", shape)
