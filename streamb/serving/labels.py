"""Reads the body of a feedback request, and compares labels with predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.metrics.truth import Label, same_class
from streamb.serving.http.rows import parse_object
from streamb.serving.tokens import MAX_ROWS

LIMIT: Final = 1e12
"""Larger numbers are refused, and no single error counts for more, so that one mistake cannot dominate all others."""

_MICRO: Final = 1_000_000
_LONGEST_ID: Final = 2048
_LONGEST_TEXT: Final = 1000
_FIELDS: Final = frozenset({"request_id", "label", "success", "value"})


@dataclass(frozen=True, slots=True)
class Feedback:
    """`{"request_id": str, "label"?: …, "success"?: bool, "value"?: number}`, with at least one of the three.

    Attributes:
        request_id: the request id of the prediction.
        label: the true label of each row; None for rows whose label is not known. Empty if no label was sent.
        success: whether acting on the prediction succeeded.
        value: a number that says what the prediction was worth.
    """

    request_id: str
    label: tuple[Label | None, ...] = ()
    success: bool | None = None
    value: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Return which of the three fields were sent."""
        told = (("label", bool(self.label)), ("success", self.success is not None), ("value", self.value is not None))
        return tuple(name for name, given in told if given)

    @classmethod
    def decode(cls, body: bytes) -> Feedback:
        """Read a body. A null value counts as not sent.

        Raises:
            BadRequest: not a JSON object.
            InvalidInput: no field is sent, or a field is unknown or of the wrong type; the message names it.
        """
        document = parse_object(body)
        unknown = sorted(document.keys() - _FIELDS)
        if unknown:
            raise InvalidInput(f"feedback has no field {unknown[0][:50]!r}; it has {', '.join(sorted(_FIELDS))}")
        request_id, success, value = document.get("request_id"), document.get("success"), document.get("value")
        if type(request_id) is not str or not 0 < len(request_id) <= _LONGEST_ID:
            raise InvalidInput('"request_id" must be the request_id (or X-Request-Id) of a prediction')
        if success is not None and type(success) is not bool:
            raise InvalidInput('"success" must be true or false')
        if value is not None and not _is_number(value):
            raise InvalidInput(f'"value" must be a number of at most {LIMIT:g}')
        feedback = cls(request_id, _labels(document.get("label")), success, value)
        if not feedback.fields:
            raise InvalidInput('feedback needs at least one of "label", "success" and "value"')
        return feedback


def _labels(given: Any) -> tuple[Label | None, ...]:
    if given is None:
        return ()
    labels = tuple(given) if type(given) is list else (given,)
    if not all(label is None or _is_label(label) for label in labels):
        raise InvalidInput(
            f'"label" must be a string of at most {_LONGEST_TEXT} characters, true, false, a number of at most '
            f"{LIMIT:g}, or a list of them with one for each row (null where it is not known)"
        )
    if not any(label is not None for label in labels) or len(labels) > MAX_ROWS:
        raise InvalidInput(f'"label" must have 1 to {MAX_ROWS} entries, not all of them null')
    return labels


def _is_label(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= _LONGEST_TEXT
    return type(value) is bool or _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LIMIT


# --- truth and prediction -----------------------------------------------------------------------------------------


def compare(task: str, predictions: Sequence[Any], labels: Sequence[Label | None]) -> Counter[str]:
    """Return what the labels of one request add to the counts of the version that answered it.

    For a classifier: `labels` and `correct`. For numbers: `labels`, `error_micro` and `squared_error_micro`, and if it
    is not known whether the numbers are classes (task "other"), `correct` as well.

    >>> sorted(compare("classification", ["a", "b"], ["a", "a"]).items())
    [('correct', 1), ('labels', 2)]
    >>> compare("regression", [2.0], [2.5])["error_micro"]
    500000

    Raises:
        InvalidInput: there is not one label for each row, or a label is not a number although the predictions are.
    """
    if len(labels) != len(predictions):
        raise InvalidInput(
            f'that request had {len(predictions)} rows, but "label" is for {len(labels)}; send a list with one for '
            "each row (null where it is not known)"
        )
    counts: Counter[str] = Counter()
    for prediction, label in zip(predictions, labels, strict=True):
        if label is None or prediction != prediction:  # no label, or no prediction (NaN)
            continue
        counts["labels"] += 1
        numeric = task != "classification" and type(prediction) in (int, float)
        if numeric:
            _add_error(counts, prediction, label)
        if task != "regression" or not numeric:
            counts["correct"] += same_class(label, prediction)
    return counts


def micro(value: float) -> int:
    """Return a number in whole millionths, the unit in which errors are summed."""
    return round(value * _MICRO)


def _add_error(counts: Counter[str], prediction: float, label: Label) -> None:
    if type(label) not in (int, float):
        raise InvalidInput(f'the model predicts numbers, so "label" must be a number, not {str(label)[:50]!r}')
    error = abs(float(label) - prediction)
    error = error if error < LIMIT else LIMIT
    counts["error_micro"] += micro(error)
    counts["squared_error_micro"] += micro(error * error)
