"""Joins labels, which arrive later, to their predictions by request id."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.monitoring.profiles.values import is_missing
from streamb.sdk.rows import plain_value
from streamb.serving.labels import compare

MOST_JOINABLE: Final = 100_000
"""Most predictions that may wait for a label; the oldest is forgotten first."""
_EVEN: Final = 0.5


class LabelJoin:
    """Joins labels to their predictions. Each prediction takes one label.

    Args:
        most: how many waiting predictions, and how many labelled ids, are remembered.
    """

    def __init__(self, most: int = MOST_JOINABLE) -> None:
        self._most = most
        self._waiting: OrderedDict[str, Any] = OrderedDict()
        self._labelled: OrderedDict[str, None] = OrderedDict()

    def predicted(self, request_id: str, prediction: Any) -> None:
        """Remember a prediction. If the id is used again, the first prediction stays."""
        if request_id not in self._waiting and request_id not in self._labelled:
            self._waiting[request_id] = prediction
            if len(self._waiting) > self._most:
                self._waiting.popitem(last=False)

    def labelled(self, request_id: str, label: Any, task: str | None) -> Counter[str]:
        """Return what a label adds to the feedback counts: `labels`, `correct`, …; or the reason why it adds nothing.

        Args:
            request_id: the id of its prediction.
            label: the true label.
            task: "classification" or "regression"; None: decided by the type of the prediction.
        """
        if request_id not in self._waiting:
            return Counter(["duplicates" if request_id in self._labelled else "orphans"])
        try:
            counts = _compared(plain_value(self._waiting[request_id]), plain_value(label), task)
        except (InvalidInput, TypeError, ValueError, OverflowError):
            return Counter(["unjoinable"])
        del self._waiting[request_id]
        self._labelled[request_id] = None
        if len(self._labelled) > self._most:
            self._labelled.popitem(last=False)
        return counts


def _compared(prediction: Any, truth: Any, task: str | None) -> Counter[str]:
    if is_missing(truth):
        raise InvalidInput("the label is missing")
    if any(isinstance(value, list | tuple | dict) for value in (prediction, truth)):
        raise InvalidInput("a prediction with several values cannot be compared with a label")
    if isinstance(truth, bool | str) or task == "classification":
        prediction = _as_class(prediction)
        task = "classification"
    return compare(task or _task_of(prediction), [prediction], [truth])


def _task_of(prediction: Any) -> str:
    return "regression" if isinstance(prediction, float) and not prediction.is_integer() else "classification"


def _as_class(prediction: Any) -> Any:
    """Convert a prediction to a class; a number between 0 and 1 is the probability of the positive class."""
    if isinstance(prediction, float) and 0.0 < prediction < 1.0:
        return prediction >= _EVEN
    return prediction
