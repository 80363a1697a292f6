"""What models answer, checked: arrays with one entry per row, whatever the model returned; and what it tells of them.

The trial of a version and its replicas both ask models through this module, so they accept and refuse the same answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput, ModelFailed, StreambError, words_of
from streamb.models.exact_arrays import as_array
from streamb.models.json_values import as_ndarray, frame_columns, has_not_finite, held, json_value, objects, plain_array
from streamb.models.named_outputs import named_array, positions, row_values

RAISED: Final = BaseException
"""What a model's code may raise when it is asked: whatever it is fails its request, and ends no replica."""

_AS_THEY_ARE: Final = frozenset("?bBhHiIlLqQefdU")
"""The types of arrays, by their letters in NumPy, that need no conversion."""


class Predicts(Protocol):
    """The interface that a model must have (`streamb.models.Model` has it)."""

    @property
    def has_probabilities(self) -> bool: ...

    def predict(self, X: Any) -> Any: ...  # noqa: N803 - the ecosystem's name

    def predict_proba(self, X: Any) -> Any: ...  # noqa: N803


class Answer(NamedTuple):  # a tuple: one is made for every request
    """A model version's answer to one request, or to several in one call.

    Attributes:
        predictions: one entry per row: booleans, numbers or texts of shape (rows, …), or objects that hold values of
            JSON (see `json_values.json_value`). Several named outputs are a structured array with a field for each
            (see `named_outputs`).
        probabilities: shape (rows, classes); (rows, outputs, classes) for a model with several outputs of labels, or
            objects of shape (rows,) with one list per output if these have different numbers of classes. None unless
            the request asked for them.
        failed: the rows, by index, that failed because a number of their answer is not finite (NaN or infinity).
    """

    predictions: NDArray[Any]
    probabilities: NDArray[Any] | None = None
    failed: Sequence[int] = ()


def answer_of(model: Predicts, given: Any, count: int, *, probabilities: bool = False) -> Answer:
    """Ask a model, and return its answer in the checked form.

    Args:
        model: the model.
        given: the rows in the container that the model takes (`FeatureSchema.to_input`).
        count: the number of rows in it.
        probabilities: also ask for class probabilities, if the model has them.

    Raises:
        InvalidInput: the model itself raised it for these rows.
        ModelFailed: the model raised anything else, or its answer is not one valid prediction for each row.
    """
    try:
        predictions = predictions_from(model, given, count)
        asked = probabilities and model.has_probabilities
        answer = Answer(predictions, probabilities_from(model, given, count) if asked else None)
    except RAISED as error:
        raise failure_of(error) from error
    for values in (answer.predictions, answer.probabilities):
        bad = None if values is None else bad_rows(values)
        if bad is not None:
            raise not_finite(int(bad.argmax()))
    return answer


def predictions_from(model: Predicts, given: Any, count: int) -> NDArray[Any]:
    """Ask a model for predictions, and return them checked (see `predictions_of`).

    They may contain numbers that are not finite (see `bad_rows`). `failure_of` makes an error of what is raised.
    """
    return predictions_of(model.predict(given), count)


def probabilities_from(model: Predicts, given: Any, count: int) -> NDArray[Any]:
    """Ask a model for probabilities, and return them checked (see `probabilities_of`).

    They may contain numbers that are not finite (see `bad_rows`). `failure_of` makes an error of what is raised.
    """
    return probabilities_of(model.predict_proba(given), count)


def _is_foreign(error: StreambError) -> bool:
    """Whether its words are of a model's own code, which may raise streamb's classes, too, and not of streamb's."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return error.foreign or (at is not None and not str(at.tb_frame.f_globals.get("__name__")).startswith("streamb."))


def failure_of(error: BaseException) -> StreambError:
    """Return the error for a request whose model raised `error`: `InvalidInput` as it is, else a `ModelFailed`.

    The result is marked if its words are foreign.

    Raises:
        KeyboardInterrupt: that is what was raised, in the main thread of a process: somebody pressed Ctrl-C.
    """
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error  # in another thread it can only come from the model itself
    if isinstance(error, StreambError) and type(getattr(error, "message", None)) is str:
        known = isinstance(error, InvalidInput | ModelFailed)
        failure = error if known else ModelFailed(error.message, **error.details)
        failure.foreign = not known or _is_foreign(error)
        return failure
    failure = ModelFailed(f"the model raised {words_of(error)}")
    failure.foreign = True
    return failure


def not_finite(row: int) -> ModelFailed:
    """Return the error of a row, by its index in the request, whose answer has a number that is not finite."""
    return ModelFailed(f"the model answered a number that is not finite (NaN or infinity) to row {row}", row=row)


def predictions_of(raw: Any, count: int) -> NDArray[Any]:
    """Return what a model's `predict` returned as an array with one entry per row.

    Arrays, lists, Series and tensors hold one value per row. A dict or a DataFrame holds one column per name, a tuple
    of arrays one array per output: these become a structured array with a field for each (see `named_outputs`).

    Args:
        raw: what the model returned.
        count: the number of rows that it was asked for.

    Raises:
        ModelFailed: it does not have one value per row, or JSON cannot hold a value.
    """
    if type(raw) is np.ndarray and raw.dtype.char in _AS_THEY_ARE and raw.ndim and len(raw) == count:
        return raw
    if isinstance(raw, np.ndarray) and raw.ndim == 0 and raw.dtype.kind == "O":
        raw = raw.item()  # a dict or another object that an adapter made an array of
    columns = _columns_of(raw)
    if columns is not None:
        return _of_columns(columns, count, exact=isinstance(raw, np.ndarray))
    if isinstance(raw, tuple) and raw and all(as_ndarray(part) is not None for part in raw):
        parts = {name: _part(part, count, name) for name, part in zip(positions(len(raw)), raw, strict=True)}
        return named_array(parts, count)
    array = as_array(raw, mixed=False)
    if isinstance(array, list | tuple):
        return _from_list(array, count)
    found = as_ndarray(array)
    if found is None:
        raise _wrong_count(f"one value of type {type(raw).__name__}", count)
    _check_count(f"predictions of shape {found.shape}", len(found) if found.ndim else None, count)
    plain = plain_array(found)
    if plain.dtype.kind == "O":  # numbers that were objects, such as those of a table of mixed columns
        again = as_array(plain.tolist(), mixed=False)
        return again if isinstance(again, np.ndarray) and again.dtype.kind in "biuf" else plain
    return plain


def probabilities_of(raw: Any, count: int) -> NDArray[Any]:
    """Return what a model's `predict_proba` returned, as `Answer.probabilities` describes it.

    A list of arrays of two dimensions holds one array of shape (rows, classes) for each output, as scikit-learn's
    classifiers with several outputs return it.

    Raises:
        ModelFailed: it is not of such a form.
    """
    if type(raw) is np.ndarray and raw.dtype.char in "efd" and raw.ndim == 2 and len(raw) == count:
        return np.ascontiguousarray(raw)
    if isinstance(raw, list | tuple) and raw and all(getattr(part, "ndim", 0) == 2 for part in raw):
        outputs = [_numbers(part, count) for part in raw]
        if len({output.shape for output in outputs}) == 1:
            return np.ascontiguousarray(np.stack(outputs, axis=1))
        return held([list(row) for row in zip(*(output.tolist() for output in outputs), strict=True)])
    found = _numbers(raw, count)
    if found.ndim not in (2, 3):
        raise _no_probabilities(found.shape)
    return np.ascontiguousarray(found)


def bad_rows(values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return for each row whether it has a number that is not finite; None if all numbers are finite."""
    good: NDArray[np.bool_]
    if values.dtype.kind == "f":
        good = np.isfinite(values)
    elif values.dtype.kind == "O":
        good = np.fromiter((not has_not_finite(value) for value in values.flat), np.bool_, values.size)
    elif values.dtype.names is not None:
        return any_bad(bad_rows(values[name]) for name in values.dtype.names)
    else:
        return None
    if good.all():
        return None
    return np.asarray(~good.reshape(len(values), -1).all(axis=1))


def any_bad(found: Iterable[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """Return for each row whether it is bad in any of several results of `bad_rows`; None if no row is."""
    bad = [one for one in found if one is not None]
    return np.logical_or.reduce(bad) if bad else None


def class_labels(found: Any) -> list[Any] | None:
    """Return class labels as values of JSON: a list, or one list per output; None if there are none.

    Args:
        found: an array or a list of labels, or for several outputs a list of arrays or lists; None if unknown.
    """
    return None if found is None else list(json_value(found if isinstance(found, list | tuple) else np.asarray(found)))


# --- parts ----------------------------------------------------------------------------------------------------------


def _columns_of(raw: Any) -> list[tuple[Any, Any]] | None:
    """The outputs by name in a dict, a DataFrame or a structured array; None for everything else."""
    if isinstance(raw, Mapping):
        return list(raw.items())
    if isinstance(raw, np.ndarray) and raw.dtype.names is not None and raw.ndim == 1:
        return [(name, raw[name]) for name in raw.dtype.names]
    return frame_columns(raw)


def _of_columns(columns: list[tuple[Any, Any]], count: int, *, exact: bool) -> NDArray[Any]:
    """The predictions in outputs by name; `exact`: their names are those of a structured array already."""
    names = list(json_value(dict.fromkeys(name for name, _ in columns)))
    if len(names) < len(columns):
        raise ModelFailed("the model answered two outputs, or columns of a table, with the same name")
    parts = {name: _part(part, count, repr(name)) for name, (_, part) in zip(names, columns, strict=True)}
    if parts and "" not in parts and (exact or tuple(names) != positions(len(names))):
        return named_array(parts, count)
    rows = zip(*(row_values(part) for part in parts.values()), strict=True) if parts else iter([()] * count)
    return held([dict(zip(names, row, strict=True)) for row in rows])


def _from_list(rows: Sequence[Any], count: int) -> NDArray[Any]:
    """The predictions in a list whose values are not alike, one per row."""
    _check_count(f"{len(rows)} predictions", len(rows), count)
    values = objects(rows)
    if type(values[0]) is dict:
        return values
    again = as_array(values.tolist(), mixed=False)  # tensors and times, for example, have become numbers and texts
    return again if isinstance(again, np.ndarray) else values


def _part(value: Any, count: int, name: str) -> NDArray[Any]:
    """The values of one column or output, one per row."""
    try:
        return predictions_of(value, count)
    except ModelFailed as error:
        raise ModelFailed(f"output {name}: {error.message}") from None


def _check_count(what: str, found: int | None, count: int) -> None:
    if found != count:
        raise _wrong_count(what, count)


def _wrong_count(what: str, count: int) -> ModelFailed:
    return ModelFailed(f"the model returned {what} for {count} rows; it must return one per row")


def _numbers(raw: Any, count: int) -> NDArray[Any]:
    try:
        found = np.asarray(raw if isinstance(raw, list | tuple) else as_ndarray(raw))
    except ValueError:
        raise _no_probabilities(f"a {type(raw).__name__} of unequal lengths") from None
    if frame_columns(raw) is not None:
        found = np.asarray(raw.to_numpy())
    if found.dtype.kind not in "fiub" or found.ndim < 2:
        raise _no_probabilities(found.shape)
    _check_count(f"probabilities of shape {found.shape}", len(found), count)
    return plain_array(found)


def _no_probabilities(found: object) -> ModelFailed:
    return ModelFailed(
        f"the model's probabilities must have shape (rows, classes) or (rows, outputs, classes), or be a list with one "
        f"array of shape (rows, classes) for each output, not {found}"
    )
