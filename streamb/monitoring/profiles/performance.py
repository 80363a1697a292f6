"""A version's errors on its baseline, with which concept drift and estimated accuracy are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer

from streamb.errors import InvalidInput
from streamb.metrics.truth import same_class
from streamb.monitoring.profiles.estimation import CalibrationTable
from streamb.monitoring.profiles.values import is_missing

Task = Literal["classification", "regression"]

LEAST_LABELS: Final = 30
"""The number of labels that a baseline of the errors needs."""
_MICRO: Final = 1_000_000
_LARGEST: Final = 1e12
"""The largest value of a single error; larger ones are cut, as in the feedback of live traffic."""
_MOST_CLASSES: Final = 50
_TASKS: Final = ("classification", "regression")


def _portable(total: int) -> int | str:
    return total if total < 2**63 else str(total)


Total = Annotated[int, PlainSerializer(_portable)]
"""A sum that is stored as a text if it needs more than 64 bits, as squares of prices easily do."""


@dataclass(frozen=True, slots=True)
class Performance:
    """The labelled rows of a baseline, as sums.

    Attributes:
        task: "classification" counts errors, "regression" adds up absolute errors.
        labels: the number of labelled rows.
        errors: the number of wrong answers (classification).
        loss_micro: the sum of absolute errors in millionths (regression).
        loss_square_micro: the sum of their squares in millionths (regression).
        calibration: the model's accuracy by confidence; None without confidences.
    """

    task: Task
    labels: int
    errors: int = 0
    loss_micro: Total = 0
    loss_square_micro: Total = 0
    calibration: CalibrationTable | None = None

    @classmethod
    def learn(cls, predictions: Any, labels: Any, confidence: Any = None, *, task: Task | None = None) -> Performance:
        """Compare predictions with labels, row by row; rows without a label (None, NaN) are left out.

        Args:
            predictions: the model's answers, shape (n,).
            labels: the truth, shape (n,).
            confidence: the probability of the predicted class, 0 to 1, shape (n,); optional.
            task: by default "regression" if predictions or labels are numbers with fractions, or labels have more than
                50 different numbers.

        >>> Performance.learn(["a", "b"] * 50, ["a", "a"] * 50).error_rate
        0.5

        Raises:
            InvalidInput: the lengths differ, fewer than 30 rows have a label, or a value is of the wrong type.
        """
        answered, truth = _column("predictions", predictions), _column("labels", labels)
        if len(answered) != len(truth):
            raise InvalidInput(f"{len(answered)} predictions but {len(truth)} labels; give one label for each row")
        if task is not None and task not in _TASKS:
            raise InvalidInput(f"task must be one of {', '.join(_TASKS)}, not {task!r}")
        known = np.array([not is_missing(value) for value in truth.tolist()], dtype=bool)
        if (count := int(known.sum())) < LEAST_LABELS:
            raise InvalidInput(f"{count} rows have a label; a baseline of the model's errors needs {LEAST_LABELS}")
        answered, truth = answered[known], truth[known]
        if (task or _task_of(answered, truth)) == "regression":
            return cls._of_numbers(answered, truth)
        correct = _correct(answered, truth)
        table = None if confidence is None else _calibration(confidence, known, correct)
        return cls("classification", count, errors=count - int(correct.sum()), calibration=table)

    @classmethod
    def _of_numbers(cls, answered: NDArray[Any], truth: NDArray[Any]) -> Performance:
        try:
            errors = np.abs(truth.astype(np.float64) - answered.astype(np.float64))
        except (TypeError, ValueError) as error:
            raise InvalidInput("regression needs numbers as predictions and as labels") from error
        if np.isnan(errors).any():
            raise InvalidInput("a prediction or a label is not a number (NaN, or infinity on both sides)")
        errors = np.minimum(errors, _LARGEST).tolist()
        return cls(
            "regression",
            len(errors),
            loss_micro=sum(round(error * _MICRO) for error in errors),
            loss_square_micro=sum(round(error * error * _MICRO) for error in errors),
        )

    @property
    def error_rate(self) -> float:
        """The share of wrong answers, 0 to 1 (classification)."""
        return self.errors / self.labels

    @property
    def accuracy(self) -> float | None:
        """The share of right answers, 0 to 1; None for a regression."""
        return 1.0 - self.error_rate if self.task == "classification" else None

    @property
    def mean_loss(self) -> float:
        """The mean absolute error (regression)."""
        return self.loss_micro / _MICRO / self.labels

    @property
    def loss_scale(self) -> float:
        """The standard deviation of the absolute errors (regression)."""
        return math.sqrt(max(0.0, self.loss_square_micro / _MICRO / self.labels - self.mean_loss**2))


def _column(name: str, given: Any) -> NDArray[Any]:
    array = np.asarray(given)
    if array.dtype.kind in "US" and not isinstance(given, np.ndarray) and not hasattr(given, "to_numpy"):
        array = np.asarray(given, dtype=object)  # a list of mixed types must not become one of strings
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidInput(f"{name} must be one value for each row; the shape {array.shape} is not")
    return array


def _task_of(answered: NDArray[Any], truth: NDArray[Any]) -> Task:
    try:
        numbers = [column.astype(np.float64) for column in (answered, truth) if column.dtype.kind not in "US"]
    except (TypeError, ValueError):
        return "classification"
    if len(numbers) < 2 or any(isinstance(value, str) for value in (*answered[:1].tolist(), *truth[:1].tolist())):
        return "classification"
    fractions = any(bool((column[np.isfinite(column)] % 1).any()) for column in numbers)
    return "regression" if fractions or np.unique(numbers[1]).size > _MOST_CLASSES else "classification"


def _correct(answered: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.bool_]:
    if answered.dtype.kind in "biuf" and truth.dtype.kind in "biuf":
        return np.asarray(answered == truth)
    return np.array([same_class(label, p) for label, p in zip(truth.tolist(), answered.tolist(), strict=True)])


def _calibration(given: Any, known: NDArray[np.bool_], correct: NDArray[np.bool_]) -> CalibrationTable | None:
    try:
        confidence = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput("confidence must be numbers between 0 and 1") from error
    if confidence.shape != known.shape:
        raise InvalidInput(f"confidence has the shape {confidence.shape}; one number for each of {known.size} rows")
    return CalibrationTable.learn(confidence[known], correct)
