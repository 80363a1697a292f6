"""Answers a batch with a model: predicts all rows at once, and finds the failing requests if that fails.

Runs wherever the model runs; knows nothing of HTTP, routing or Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput, StreambError
from streamb.models.named_outputs import joined
from streamb.models.outputs import (
    RAISED,
    Predicts,
    any_bad,
    bad_rows,
    failure_of,
    predictions_from,
    probabilities_from,
)
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import Rows, untyped_rows
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.references import References

_Ask: TypeAlias = Callable[[Predicts, Any, int], NDArray[Any]]


class Served(Predicts, Protocol):
    """A model that answers batches: it also says how it takes its rows."""

    @property
    def schema(self) -> FeatureSchema | None: ...


class BatchPredictor:
    """Answers batches with one model.

    Args:
        model: the model.
        clock: measures `search_s`.
        references: what callers are told of the model's own exceptions, and where their words go; None: they are told
            the words, because the rows and the model are their own (in a trial).
        search_s: after this many seconds of looking for the request that makes a batch fail, the ones not yet told
            apart fail together (a slow model that always raises would otherwise be asked twice per request).
    """

    def __init__(
        self,
        model: Served,
        *,
        clock: Clock | None = None,
        references: References | None = None,
        search_s: float = 10.0,
    ) -> None:
        self._model = model
        self._clock = clock or SystemClock()
        self._references = references
        self._search_s = search_s

    def run(self, batch: Batch) -> BatchReply:
        """Answer each request of the batch, with its own predictions or its own error.

        Predictions come first, for everybody. Probabilities are asked only for the rows of those requests that want
        them, so no other request fails because of them.
        """
        try:
            reply = self._run(batch)
        except RAISED as error:  # not a row's fault: `has_probabilities` or `schema` of the model raised
            reply = BatchReply(joined([]), None, dict.fromkeys(range(len(batch.counts)), failure_of(error)))
        return reply if not reply.errors or self._references is None else self._referred(reply, self._references)

    def _referred(self, reply: BatchReply, references: References) -> BatchReply:
        told = {id(error): references.told(error) for error in reply.errors.values()}
        return replace(reply, errors={index: told[id(error)] for index, error in reply.errors.items()})

    def _run(self, batch: Batch) -> BatchReply:
        asking = _Asking(self._model, batch, self._clock, self._search_s)
        everyone, errors, wants = asking.everyone, asking.errors, batch.probabilities
        predictions = asking.search(predictions_from, everyone)
        if not wants or not self._model.has_probabilities:
            return BatchReply(predictions, None, errors, _failed(bad_rows(predictions)))
        if all(wants) and not errors:
            answered = wanting = everyone
        else:
            answered = [index for index in everyone if index not in errors]
            wanting = [index for index in answered if wants[index]]
        known = len(errors)
        probabilities = asking.search(probabilities_from, wanting)
        if len(errors) > known:
            kept = [index not in errors for index in answered]
            predictions = predictions[np.repeat(kept, [batch.counts[index] for index in answered])]
        bad, worse = bad_rows(predictions), bad_rows(probabilities)
        if worse is not None:
            answered = [index for index in everyone if index not in errors]
            asked = np.repeat([wants[index] for index in answered], [batch.counts[index] for index in answered])
            asked[asked] = worse
            bad = any_bad([bad, asked])
        return BatchReply(predictions, probabilities, errors, _failed(bad))


class _Asking:
    """The questions about one batch.

    Attributes:
        everyone: all requests, by index.
        errors: the requests that failed so far, by index, with the reason.
    """

    __slots__ = ("_batch", "_clock", "_ends", "_give_up_at", "_input", "_model", "errors", "everyone")

    def __init__(self, model: Served, batch: Batch, clock: Clock, search_s: float) -> None:
        self._model = model
        self._batch = batch
        self._clock = clock
        self._give_up_at = clock.monotonic() + search_s
        self._ends = list(accumulate(batch.counts))
        self._input: Any = None
        self.everyone = list(range(len(batch.counts)))
        self.errors: dict[int, StreambError] = {}

    def search(self, ask: _Ask, group: list[int]) -> NDArray[Any]:
        """Ask about the rows of a group of requests; the failing ones go to `errors`.

        The whole group is tried first. When the model raises or answers the wrong number of rows, the requests are
        halved until the guilty ones stand alone.

        Returns:
            The answers of the requests that succeeded, one below the other in their order.
        """
        parts: dict[int, NDArray[Any]] = {}
        groups = [group] if group else []
        while groups:
            some = groups.pop()
            error = self._try(ask, some, parts)
            if error is None:
                continue  # the usual case: one call answers them all
            if len(some) == 1 or self._clock.monotonic() > self._give_up_at:
                self.errors.update(dict.fromkeys(some, _of_several(error) if len(some) > 1 else error))
            else:
                middle = len(some) // 2
                groups += [some[middle:], some[:middle]]
        return joined([parts[index] for index in sorted(parts)])

    def _try(self, ask: _Ask, group: list[int], parts: dict[int, NDArray[Any]]) -> StreambError | None:
        """Ask for a group, whose answers go to `parts`; returns why there are none."""
        counts = self._batch.counts
        try:
            given, count = self._input_of(group)
            values = ask(self._model, given, count)
        except RAISED as error:
            return failure_of(error)
        if group[-1] - group[0] == len(group) - 1:
            parts[group[0]] = values  # neighbours stay in one piece
            return None
        start = 0
        for index in group:
            parts[index] = values[start : start + counts[index]]
            start += counts[index]
        return None

    def _input_of(self, group: list[int]) -> tuple[Any, int]:
        """The rows of a group in the container that the model takes, and their number."""
        batch = self._batch
        if group is not self.everyone:
            rows = select_rows(
                batch.rows, [(self._ends[index] - batch.counts[index], self._ends[index]) for index in group]
            )
            return self._converted(rows), len(rows)
        if self._input is None:
            self._input = self._converted(batch.rows)
        return self._input, len(batch.rows)

    def _converted(self, rows: Rows) -> Any:
        schema = self._model.schema
        return _untyped_input(rows) if schema is None or schema.is_open else schema.to_input(rows)


def _failed(bad: NDArray[np.bool_] | None) -> list[int]:
    """The rows that are bad, by index."""
    return [] if bad is None else np.flatnonzero(bad).tolist()


def _of_several(error: StreambError) -> StreambError:
    """The error of requests that were not told apart: none may hear what is wrong with the rows of another."""
    if error.foreign or not isinstance(error, InvalidInput):
        return error
    return InvalidInput("these rows, or others that the model was asked in the same call, are not valid; ask again")


def select_rows(rows: Rows, spans: Sequence[tuple[int, int]]) -> Rows:
    """Return the rows of some requests, given as (start, end) spans; a whole batch is returned as it is."""
    first, last = spans[0][0], spans[-1][1]
    if sum(end - start for start, end in spans) == last - first:
        return rows if last - first == len(rows) else rows[first:last]
    if isinstance(rows, np.ndarray):
        return np.concatenate([rows[start:end] for start, end in spans])
    return [row for start, end in spans for row in rows[start:end]]


def _untyped_input(rows: Rows) -> Any:
    """The input for a model without a schema: an array if they are numbers, else the list."""
    return rows if isinstance(rows, np.ndarray) else untyped_rows(rows)
