"""Asks a model as a request over HTTP would be answered: rows checked by the schema, answers as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from streamb.models.outputs import Answer, Predicts, answer_of, not_finite
from streamb.serving.answer import Origin
from streamb.serving.batch import Batch
from streamb.serving.http.rows import RowsRequest
from streamb.serving.replica import BatchPredictor, Served
from streamb.trials.comparing import Difference, first_difference, tolerance_of


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to some rows.

    Attributes:
        predictions: one JSON value for each row.
        probabilities: the class probabilities of each row; None if the model has none.
        answer: the same as the model gave them.
    """

    predictions: list[Any]
    probabilities: list[Any] | None
    answer: Answer

    @classmethod
    def of(cls, answer: Answer) -> Answers:
        """Return an answer as JSON values, as a reply over HTTP has them."""
        body = orjson.loads(RowsRequest([]).encode(answer, Origin("", "", "")).body)
        return cls(body["predictions"], body.get("probabilities"), answer)

    @property
    def tolerance(self) -> float:
        """The relative tolerance for other answers to the same rows."""
        return tolerance_of(_dtypes(self.answer))

    def differs_from(self, expected: Answers) -> tuple[str, Difference] | None:
        """Return whether the predictions or the probabilities differ, and the first such row; None if all agree."""
        return self.differs(expected.predictions, expected.probabilities)

    def differs(
        self, predictions: Sequence[Any] | None, probabilities: Sequence[Any] | None
    ) -> tuple[str, Difference] | None:
        """The same for expected predictions and probabilities; of those that are None nothing is expected."""
        for what, expected, got in (
            ("predictions", predictions, self.predictions),
            ("probabilities", probabilities, self.probabilities),
        ):
            found = None if expected is None else first_difference(expected, got or [], self.tolerance)
            if found is not None:
                return what, found
        return None

    def taken(self, order: Sequence[int]) -> Answers:
        """Return the answers of some rows, in another order."""
        probabilities = self.probabilities and [self.probabilities[row] for row in order]
        return Answers([self.predictions[row] for row in order], probabilities, self.answer)


def ask(model: Served, instances: list[Any]) -> Answers:
    """Return the model's answers to rows, all in one batch.

    Args:
        model: the model; its schema checks the rows.
        instances: rows as a prediction request has them.

    Raises:
        InvalidFeatures: the rows do not match the schema.
        ModelFailed: the model raises, or its answer is not valid.
    """
    rows = RowsRequest(instances).rows(model.schema)
    reply = BatchPredictor(model).run(Batch(rows, (len(instances),), (True,)))
    if reply.errors:
        raise reply.errors[0]
    if reply.failed:
        raise not_finite(reply.failed[0])
    return Answers.of(Answer(reply.predictions, reply.probabilities))


def ask_directly(model: Predicts, data: Any, count: int) -> Answers:
    """Return the model's answers to data in its own container, such as a DataFrame, whatever its schema.

    Args:
        model: the model.
        data: passed to its `predict` as it is.
        count: the number of rows.

    Raises:
        ModelFailed: the model raises, or its answer is not valid.
    """
    return Answers.of(answer_of(model, data, count, probabilities=True))


def _dtypes(answer: Answer) -> Iterator[str]:
    """The NumPy types of an answer's numbers."""
    for values in (answer.predictions, answer.probabilities):
        if values is not None:
            names = values.dtype.names
            yield from map(str, [values.dtype] if names is None else [values.dtype[name].base for name in names])
