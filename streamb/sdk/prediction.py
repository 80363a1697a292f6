"""The answer to a prediction request, as the manager returns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to a prediction request.

    Attributes:
        predictions: one prediction for each row: a number, text, boolean, None, list or dict.
        version: the version of the model that answered.
        request_id: the id of this answer, used for feedback and in logs.
        variant: the variant of the experiment that answered; None if no experiment runs.
        probabilities: for each row one probability per class, or for a model with several outputs of labels one list of
            them per output; None unless they were asked for.
        classes: the class labels in the order of these probabilities (for several outputs a list for each); None if
            they are unknown, or no probabilities were asked for.
        errors: for each row that failed its index, why, and a code: `{"row", "error", "code"}`; its prediction is None.
            If all rows fail, `ModelFailed` is raised.
    """

    predictions: list[Any]
    version: str
    request_id: str
    variant: str | None = None
    probabilities: list[list[Any]] | None = None
    classes: list[Any] | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
