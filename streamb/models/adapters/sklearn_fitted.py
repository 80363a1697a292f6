"""Whether a scikit-learn estimator was fitted, and by which of its methods it answers.

scikit-learn's `check_is_fitted` alone is not enough: it does not look into the steps of a pipeline, and it takes
estimators of other packages that keep what they learned under names without a final underscore for unfitted.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal

from streamb.errors import InvalidInput

Answers = Literal["predict", "transform"]


def answers_by(estimator: Any) -> Answers:
    """Return the method that answers for new rows: `predict`, else `transform`.

    Raises:
        InvalidInput: it has neither; the message says what to use instead.
    """
    if callable(getattr(estimator, "predict", None)):
        return "predict"
    if callable(getattr(estimator, "transform", None)):
        return "transform"
    name = type(estimator).__name__
    if getattr(estimator, "refit", True) is False:
        raise InvalidInput(
            f"this {name} has refit=False and so keeps no estimator; make it with refit=True, or fit an estimator with "
            "its best_params_ and register that"
        )
    if getattr(estimator, "novelty", None) is False:
        raise InvalidInput(f"this {name} cannot answer for new rows; make it with novelty=True and fit it again")
    if hasattr(estimator, "fit_predict") or hasattr(estimator, "fit_transform"):
        raise InvalidInput(
            f"{name} only describes the rows that it is fitted on and cannot answer for new ones; fit a model that can "
            "on its result (for example KNeighborsClassifier().fit(X, labels)) and register that"
        )
    raise InvalidInput(
        f"{name} has neither predict nor transform; write a class with a predict method that calls it, and register "
        "an object of that class"
    )


def check_estimator_fitted(estimator: Any) -> None:
    """Raise InvalidInput if the estimator, a step of its pipeline, or the best estimator of its search is unfitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    for part in _parts_in_use(estimator):
        if not _can_tell(part):
            continue
        try:
            check_is_fitted(part)
        except NotFittedError:
            whole, name = type(estimator).__name__, type(part).__name__
            where = name if part is estimator else f"the step {name} of this {whole}"
            raise InvalidInput(
                f"{where} was never fitted; call fit(X, y) with your training data before you save or register it"
            ) from None


def _parts_in_use(estimator: Any) -> Iterator[Any]:
    """The estimator, and the steps that it hands the rows to as they are (not the templates of its parameters)."""
    best = getattr(estimator, "best_estimator_", None)
    steps = getattr(estimator, "steps", None)
    if best is not None:
        yield from _parts_in_use(best)
    elif isinstance(steps, list):
        for _, step in steps:
            if step is not None and not isinstance(step, str):
                yield from _parts_in_use(step)
    else:
        yield estimator


def _can_tell(part: Any) -> bool:
    """Whether `check_is_fitted` is right about this class: scikit-learn's own, and those that define the answer."""
    if getattr(part, "vocabulary", None) is not None and not hasattr(part, "use_idf"):
        return False  # a CountVectorizer with a given vocabulary needs no fitting
    if hasattr(part, "__sklearn_is_fitted__"):
        return True
    fit = inspect.unwrap(getattr(type(part), "fit", _can_tell))
    return str(fit.__module__).startswith("sklearn.")
