"""The outputs of a version by name: which there are, which an answer holds, and which a request may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamb.errors import UnknownOutput
from streamb.models.exact_arrays import as_array
from streamb.models.named_outputs import named_array
from streamb.models.outputs import Answer

PREDICTIONS: Final = "predictions"
PROBABILITIES: Final = "probabilities"
_PART: Final = f"{PREDICTIONS}."


class Form(NamedTuple):
    """The form in which an output is sent.

    Attributes:
        kind: its kind (`models.signature.Output.kind`); "" if it is unknown.
        dtype: the type of its numbers; None if they are none, or it is unknown.
        column: whether each row is a list of one value, which the model answers as a single value.
    """

    kind: str = ""
    dtype: np.dtype[Any] | None = None
    column: bool = False

    def settled(self, values: NDArray[Any], *, none_is_nan: bool = True) -> NDArray[Any]:
        """Return numbers in the type of the output if that changes none, else as they are.

        So an answer does not depend on the rows of strangers in the same call, beside whose answers a model may give
        its numbers another type.

        Args:
            values: the values of the output, one per row.
            none_is_nan: whether a missing number, among objects, becomes NaN; else objects with one stay.
        """
        dtype = self.dtype
        if dtype is None or values.dtype == dtype:
            return values
        if values.dtype.kind == "O":
            listed = values.tolist()
            found = as_array(nan_for_none(listed) if none_is_nan and dtype.kind == "f" else listed)
            if not isinstance(found, np.ndarray):
                return values
            values = found
        return _cast(values, dtype) if values.dtype.kind in "iuf" else values


UNKNOWN_FORM: Final = Form()


class VersionOutputs:
    """The outputs of one version.

    Args:
        listed: its outputs, each the JSON form of a `models.signature.Output`; empty if they are unknown. The class
            probabilities come last; a first or only output of this name is the model's own.
        classes: the class labels in the order of the columns of the probabilities; None if unknown.

    Attributes:
        by_name: the outputs that can be asked for, by name; empty if they are unknown.
    """

    def __init__(self, listed: Sequence[Mapping[str, Any]] = (), classes: Sequence[Any] | None = None) -> None:
        self.classes = classes
        self._split_rows = any(output["name"].startswith(_PART) for output in listed)
        self.by_name = {output["name"]: output for output in listed if not output["name"].startswith(_PART)}
        names = list(self.by_name)
        self.has_class_probabilities = len(names) > 1 and names[-1] == PROBABILITIES
        own = names[:-1] if self.has_class_probabilities else names
        self._single = own[0] if len(own) == 1 else PREDICTIONS
        self._forms = {name: _form(output) for name, output in self.by_name.items()}
        if self._single in self._forms:
            self._forms.setdefault(PREDICTIONS, self._forms[self._single]._replace(column=False))

    def of(self, predictions: NDArray[Any]) -> Sequence[str]:
        """Return the names of the outputs that are sent if a request names none."""
        fields = predictions.dtype.names
        if fields is None or self._is_whole(fields):
            return (self._single,)
        return fields

    def find(self, name: str, answer: Answer) -> NDArray[Any]:
        """Return the values of an output in an answer, one per row.

        Raises:
            UnknownOutput: there is no such output.
        """
        predictions = answer.predictions
        fields = predictions.dtype.names
        if fields is not None and name in fields and not (name == PREDICTIONS and self._is_whole(fields)):
            return predictions[name]
        if name == PROBABILITIES and answer.probabilities is not None:
            return answer.probabilities
        if name in (PREDICTIONS, self._single):
            return predictions
        raise _unknown(name, [*self.of(predictions), *([PROBABILITIES] if answer.probabilities is not None else [])])

    def form(self, name: str) -> Form:
        """Return the form of an output."""
        return self._forms.get(name, UNKNOWN_FORM)

    def settled(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return predictions with the numbers of each output in its type, as far as that changes none."""
        names = predictions.dtype.names
        if names is None:
            form = self.form(PREDICTIONS)
            return predictions if form.dtype is None else form.settled(predictions, none_is_nan=False)
        forms = [self.form(name) for name in names]
        if all(form.dtype in (None, predictions.dtype[name].base) for form, name in zip(forms, names, strict=True)):
            return predictions
        columns = [form.settled(predictions[name], none_is_nan=False) for form, name in zip(forms, names, strict=True)]
        return named_array(dict(zip(names, columns, strict=True)), len(predictions))

    def check(self, names: Iterable[str]) -> None:
        """Raise `UnknownOutput` if a name is known not to be one of an output."""
        if not self.by_name:
            return
        for name in names:
            if name not in self.by_name and name not in (PREDICTIONS, PROBABILITIES):
                raise _unknown(name, list(self.by_name))

    @cached_property
    def owns_probabilities(self) -> bool:
        """Whether "probabilities" is an output that the model itself names so, and not its class probabilities."""
        return PROBABILITIES in self.by_name and not self.has_class_probabilities

    def _is_whole(self, fields: Sequence[str]) -> bool:
        """Whether several outputs are sent as one, as the signature of an older version says."""
        return self._split_rows or (PREDICTIONS in self.by_name and PREDICTIONS not in fields)


UNKNOWN_OUTPUTS: Final = VersionOutputs()


def _form(output: Mapping[str, Any]) -> Form:
    try:
        dtype = np.dtype(output.get("dtype") or object)
    except TypeError:  # a type that this build does not know
        dtype = np.dtype(object)
    return Form(output["kind"], dtype if dtype.kind in "iuf" else None, list(output.get("shape", ())) == [1])


def nan_for_none(value: Any) -> Any:
    """Return a number or nested lists of numbers with NaN in the place of None."""
    if type(value) is list:
        return [nan_for_none(one) for one in value]
    return math.nan if value is None else value


def _cast(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers in another type if that changes none, else as they are."""
    if values.dtype.kind != "f" or dtype.kind != "f":
        low, high = (-(2**53), 2**53) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not values.size or not low <= values.min().item() <= values.max().item() <= high:
            return values
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    return cast if np.array_equal(cast.astype(values.dtype), values, equal_nan=values.dtype.kind == "f") else values


def _unknown(name: str, known: Sequence[str]) -> UnknownOutput:
    named = list(dict.fromkeys([*known, PREDICTIONS]))
    return UnknownOutput(f"there is no output {name[:100]!r}; the version has {', '.join(named)}", outputs=named)
