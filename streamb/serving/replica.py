"""Answers a batch with a model: predicts all rows at once, and finds the failing requests if that fails.

Runs wherever the model runs; knows nothing of HTTP, routing or Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput, ModelFailed, StreambError
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import Answer, Rows
from streamb.serving.batch import Batch, BatchReply

_PLAIN: Final = (str, bool, int, float, np.generic, type(None))
_MESSAGE_LENGTH: Final = 500
_NOT_FINITE: Final = ModelFailed("the model answered a number that is not finite (NaN or infinity) to these features")


class Predicts(Protocol):
    """The interface that a model must have (`streamb.models.Model` has it)."""

    @property
    def schema(self) -> FeatureSchema | None: ...

    @property
    def has_probabilities(self) -> bool: ...

    def predict(self, X: Any) -> NDArray[Any]: ...  # noqa: N803 - the ecosystem's name

    def predict_proba(self, X: Any) -> NDArray[Any]: ...  # noqa: N803


class BatchPredictor:
    """Answers batches with one model.

    Args:
        model: the model.
        clock: measures `search_s`.
        search_s: after this many seconds of looking for the request that makes a batch fail, the ones not yet told
            apart fail together (a slow model that always raises would otherwise be asked twice per request).
    """

    def __init__(self, model: Predicts, *, clock: Clock | None = None, search_s: float = 10.0) -> None:
        self._model = model
        self._clock = clock or SystemClock()
        self._search_s = search_s

    def run(self, batch: Batch) -> BatchReply:
        """Answer each request of the batch, with its own predictions or its own error.

        The whole batch is tried first. When the model raises or answers the wrong number of rows, the requests are
        halved until the guilty ones stand alone. Rows with numbers that are not finite are known at once: only their
        requests are tried again, in case one of them spoiled its neighbours.
        """
        everyone = list(range(len(batch.counts)))
        ends = list(accumulate(batch.counts))
        parts: dict[int, Answer] = {}
        errors: dict[int, StreambError] = {}
        groups = [everyone]
        give_up_at = self._clock.monotonic() + self._search_s
        while groups:
            group = groups.pop()
            suspects, error = self._try(batch, ends, group, parts)
            if len(suspects) == 1 or (suspects and self._clock.monotonic() > give_up_at):
                errors.update(dict.fromkeys(suspects, error))
            elif suspects:
                middle = len(suspects) // 2
                groups += [suspects[middle:], suspects[:middle]]
        return _assemble([parts[index] for index in everyone if index in parts], errors)

    def _try(
        self, batch: Batch, ends: Sequence[int], group: list[int], parts: dict[int, Answer]
    ) -> tuple[list[int], StreambError]:
        """Predict for a group; returns the requests that failed, with the reason."""
        spans = [(ends[index] - batch.counts[index], ends[index]) for index in group]
        try:
            part = self._predict(select_rows(batch.rows, spans), probabilities=batch.probabilities)
        except StreambError as error:
            return group, error
        bad = _not_finite(part)
        if bad is None and len(group) == len(batch.counts):
            parts[0] = part  # the usual case: the whole batch
            return [], _NOT_FINITE
        suspects: list[int] = []
        start = 0
        for index in group:
            end = start + batch.counts[index]
            if bad is not None and bad[start:end].any():
                suspects.append(index)
            else:
                parts[index] = part.rows(start, end)
            start = end
        return suspects, ModelFailed(
            "the model answered a number that is not finite (NaN or infinity) to these features"
        )

    def _predict(self, rows: Rows, *, probabilities: bool) -> Answer:
        """One call of the model on some rows, its answer checked for shape and type.

        Raises:
            InvalidInput: the model itself raised it for these rows.
            ModelFailed: it raised anything else, or its answer is not a valid prediction.
        """
        count = len(rows)
        schema = self._model.schema
        try:
            given = _untyped_input(rows) if schema is None or schema.is_open else schema.to_input(rows)
            predictions = np.asarray(self._model.predict(given))
            asked = probabilities and self._model.has_probabilities
            chances = np.asarray(self._model.predict_proba(given)) if asked else None
        except InvalidInput:
            raise
        except StreambError as error:
            raise ModelFailed(error.message, **error.details) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
            raise ModelFailed(f"the model raised {reason}") from error
        _check_shape(predictions, count, "predictions")
        if chances is not None:
            _check_shape(chances, count, "probabilities")
            if chances.ndim != 2 or chances.dtype.kind not in "fiub":
                raise ModelFailed(f"the model's probabilities must have shape (rows, classes), not {chances.shape}")
        return Answer(_checked_type(predictions), None if chances is None else np.ascontiguousarray(chances))


def select_rows(rows: Rows, spans: Sequence[tuple[int, int]]) -> Rows:
    """Return the rows of some requests, given as (start, end) spans; a whole batch is returned as it is."""
    first, last = spans[0][0], spans[-1][1]
    if sum(end - start for start, end in spans) == last - first:
        return rows if last - first == len(rows) else rows[first:last]
    if isinstance(rows, np.ndarray):
        return np.concatenate([rows[start:end] for start, end in spans])
    return [row for start, end in spans for row in rows[start:end]]


def _untyped_input(rows: Rows) -> Any:
    """The input for a model without a schema: an array if possible, else the list."""
    if isinstance(rows, np.ndarray):
        return rows
    try:
        array = np.asarray(rows)
    except ValueError:
        return rows
    return array if array.dtype.kind in "biuf" else rows


def _check_shape(values: NDArray[Any], count: int, what: str) -> None:
    if values.ndim == 0 or len(values) != count:
        raise ModelFailed(
            f"the model returned {what} of shape {values.shape} for {count} rows; it must return one per row"
        )


def _checked_type(predictions: NDArray[Any]) -> NDArray[Any]:
    kind = predictions.dtype.kind
    if kind in "biufU":
        return predictions
    if kind == "S":
        return predictions.astype(str)
    if kind == "O" and all(isinstance(value, _PLAIN) for value in predictions.ravel()):
        return predictions
    raise ModelFailed(f"the model answered {predictions.dtype} values; predictions are numbers, booleans or strings")


def _not_finite(part: Answer) -> NDArray[np.bool_] | None:
    """Which rows hold a number that is not finite; None if all are finite."""
    bad = _bad_rows(part.predictions)
    if part.probabilities is not None:
        bad = bad | _bad_rows(part.probabilities)
    return bad if bool(bad.any()) else None


def _bad_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_] = np.zeros(values.shape, dtype=np.bool_)
    if values.dtype.kind == "f":
        np.logical_not(np.isfinite(values), out=bad)
    elif values.dtype.kind == "O":
        listed = [isinstance(value, (float, np.floating)) and not np.isfinite(value) for value in values.flat]
        bad[...] = np.array(listed, dtype=np.bool_).reshape(values.shape)
    return bad if bad.ndim == 1 else np.logical_or.reduce(bad.reshape(len(bad), -1), axis=1)


def _assemble(parts: list[Answer], errors: dict[int, StreambError]) -> BatchReply:
    if not parts:
        return BatchReply(np.empty(0), None, errors)
    if len(parts) == 1:
        return BatchReply(parts[0].predictions, parts[0].probabilities, errors)
    chances = [part.probabilities for part in parts if part.probabilities is not None]
    return BatchReply(
        np.concatenate([part.predictions for part in parts]), np.concatenate(chances) if chances else None, errors
    )
