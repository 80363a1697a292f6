"""The data sent between a gateway and a model version: a batch of requests' rows, and the answers in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.errors import StreambError
from streamb.traffic import VersionTarget


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one or more requests, joined.

    Attributes:
        rows: all rows one below the other: an array of shape (rows, features) where every feature is a number, in the
            type of all features if they share one, else float64; else a list of rows, each a list of values in the
            schema's column order. Without a schema: an array of numbers or booleans of shape (rows, …), in any type, if
            the rows are one, else the rows as the client sent them. Only rows of one form are joined.
        counts: how many of the rows belong to each request, in order.
        probabilities: for each request whether it asked for class probabilities; empty if none did.
        aside: whether the requests named their version: such rows are no sample of the version's traffic, so
            monitoring does not count them.
    """

    rows: NDArray[Any] | list[Any]
    counts: tuple[int, ...]
    probabilities: tuple[bool, ...] = ()
    aside: bool = False


@dataclass(frozen=True, slots=True)
class BatchReply:
    """Answers to a batch.

    Attributes:
        predictions: one entry per row of the requests that succeeded, in order (failed requests' rows are left out), in
            the form of `models.outputs.Answer`.
        probabilities: one entry per row of those of them that asked for probabilities, in the same form; None when
            nobody asked or the model has none.
        errors: request index in the batch -> why that request failed.
        failed: the rows of `predictions`, by index in rising order, that failed because a number of their answer is not
            finite. A request with such a row fails only if all its rows do.
    """

    predictions: NDArray[Any]
    probabilities: NDArray[Any] | None = None
    errors: Mapping[int, StreambError] = field(default_factory=dict)
    failed: Sequence[int] = ()

    @property
    def sound(self) -> NDArray[Any]:
        """The predictions of the rows that did not fail."""
        return np.delete(self.predictions, self.failed, axis=0) if self.failed else self.predictions


class Predictor(Protocol):
    """Calls a model version. The cluster implements it over links; tests in process."""

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        """Answer one batch.

        Raises:
            Unavailable: no replica could take it (it was not started, or its replica died).
            ModelFailed: the call as a whole failed.
        """
        ...

    def replicas(self, target: VersionTarget) -> int:
        """How many replicas of the version can be called at the same time; 0 when none is known."""
        ...
