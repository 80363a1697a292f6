"""Scores a trained model: by a scorer of scikit-learn, by a function of the user's, or by the model's own `score`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from streamb.errors import InvalidInput

Scorer = Callable[[Any, Any, Any], Any]


def scorer_of(objective: Any, model: Any) -> tuple[Scorer, str]:
    """Return a scorer and its name, for a scikit-learn name or a callable `scorer(model, X, y)`; more is better.

    Raises:
        InvalidInput: there is no scorer of this name.
    """
    from sklearn.metrics import get_scorer, get_scorer_names

    if objective is None:
        if not hasattr(model, "score") and not callable(model):  # a factory's model is checked at the first trial
            raise InvalidInput("give an objective: the model has no score of its own")
        return own_score, "score"
    if callable(objective):
        _check_signature(objective)
        # a scorer from make_scorer has no name, but its function has one
        named = objective if hasattr(objective, "__name__") else getattr(objective, "_score_func", objective)
        return objective, str(getattr(named, "__name__", type(objective).__name__))
    if objective not in get_scorer_names():
        raise InvalidInput(
            f"objective {objective!r} is not a scikit-learn scorer; use a name such as 'accuracy', 'roc_auc', 'r2' or"
            " 'neg_root_mean_squared_error', or a function of (model, X, y) for which more is better"
        )
    return get_scorer(objective), objective


def own_score(model: Any, X: Any, y: Any) -> Any:  # noqa: N803
    """Return the value of the model's own `score` method."""
    return model.score(X) if y is None else model.score(X, y)


def _check_signature(objective: Callable[..., Any]) -> None:
    try:
        names = list(inspect.signature(objective).parameters)
    except (TypeError, ValueError):
        return
    if names[:1] == ["y_true"]:
        raise InvalidInput(
            f"the objective {getattr(objective, '__name__', objective)} takes (y_true, y_pred); turn it into a scorer"
            " with sklearn.metrics.make_scorer"
        )


def scorer_text(objective: Any) -> str:
    """Return a text that distinguishes scorers of the same name, where possible (those of `make_scorer`)."""
    return repr(objective) if hasattr(objective, "_score_func") else ""
