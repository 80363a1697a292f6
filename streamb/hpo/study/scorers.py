"""How a trained model is scored: by a scorer of scikit-learn, by a function of the user's, or by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from streamb.errors import InvalidInput

Scorer = Callable[[Any, Any, Any], Any]


def scorer_of(objective: Any, model: Any) -> tuple[Scorer, str]:
    """A scorer and its name: of scikit-learn by name, or any callable `scorer(model, X, y)`; more is better.

    Raises:
        InvalidInput: no scorer has this name.
    """
    from sklearn.metrics import get_scorer, get_scorer_names

    if objective is None:
        if not hasattr(model, "score") and not callable(model):  # what a factory makes is seen at the first trial
            raise InvalidInput("give an objective: the model has no score of its own")
        return own_score, "score"
    if callable(objective):
        _check_signature(objective)
        # what make_scorer made has no name, but the function in it has
        named = objective if hasattr(objective, "__name__") else getattr(objective, "_score_func", objective)
        return objective, str(getattr(named, "__name__", type(objective).__name__))
    if objective not in get_scorer_names():
        raise InvalidInput(
            f"objective {objective!r} is not a scikit-learn scorer; use a name such as 'accuracy', 'roc_auc', 'r2' or"
            " 'neg_root_mean_squared_error', or a function of (model, X, y) for which more is better"
        )
    return get_scorer(objective), objective


def own_score(model: Any, X: Any, y: Any) -> Any:  # noqa: N803
    """What the model's own `score` says."""
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
    """What tells two scorers of the same name apart, where they can say it: those of `make_scorer` can."""
    return repr(objective) if hasattr(objective, "_score_func") else ""
