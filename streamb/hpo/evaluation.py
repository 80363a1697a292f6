"""What evaluates one trial: a model by cross-validation, or any function; in this process or in another.

An evaluator is picklable, is given one task after another, and answers whatever happens: an error or a score that is
not a number makes a failed trial, not a failed search.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.hpo.folds import Folds
from streamb.hpo.pruning import Bar
from streamb.hpo.study import Outcome
from streamb.hpo.threads import one_thread
from streamb.hpo.training import build_model, random_parameters, take

Scorer = Callable[[Any, Any, Any], Any]

VALIDATION: Final = -1
"""The repeat that trains on all rows and scores on the validation data."""

_SEEDS: Final = 2**31


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation to do.

    Attributes:
        number: of the trial.
        parameters: by name.
        bar: what its folds must reach for it to go on; None: it is evaluated in full.
        repeat: 0 for the study's own folds; others are for scoring again on other folds; `VALIDATION`.
    """

    number: int
    parameters: Mapping[str, Any]
    bar: Bar | None = None
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an evaluation found; see `TrialResult`."""

    status: Outcome
    fold_scores: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""
    node: str = ""

    @property
    def score(self) -> float | None:
        """The mean over the folds; None where there is none."""
        if not self.fold_scores or self.status not in (Outcome.COMPLETED, Outcome.PRUNED):
            return None
        return math.fsum(self.fold_scores) / len(self.fold_scores)


class Evaluator(Protocol):
    """What evaluates tasks.

    Attributes:
        folds: evaluations within one task.
        repeatable: whether another repeat is other folds, or the same again.
    """

    @property
    def folds(self) -> int: ...
    @property
    def repeatable(self) -> bool: ...

    def __call__(self, task: Task) -> Answer:
        """The answer to a task; an exception other than KeyboardInterrupt never escapes."""
        ...


class FoldFailed(Exception):
    """A fold has no score."""


def answer_of(scores: Callable[[list[float]], Outcome]) -> Answer:
    """Run something that appends scores to a list, and turn whatever happens into an answer."""
    started, found = time.perf_counter(), list[float]()
    status, error = Outcome.FAILED, ""
    try:
        status = scores(found)
    except FoldFailed as failure:
        error = str(failure)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # SystemExit of a model too must not end the search
        said = str(failure).strip().splitlines()
        error = f"{type(failure).__name__}: {said[0]}" if said else type(failure).__name__
    return Answer(status, tuple(found), time.perf_counter() - started, error, this_node())


def this_node() -> str:
    """This machine and process."""
    return f"{platform.node()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class FunctionEvaluator:
    """A function from the parameters to a number.

    Attributes:
        function: called with one dict.
    """

    function: Callable[[dict[str, Any]], Any]
    folds: int = 1
    repeatable: bool = False

    def __call__(self, task: Task) -> Answer:
        def run(scores: list[float]) -> Outcome:
            scores.append(_number(self.function(dict(task.parameters)), "the objective function"))
            return Outcome.COMPLETED

        return answer_of(run)


@dataclass(slots=True)
class ModelEvaluator:
    """A model, trained and scored fold by fold.

    Attributes:
        model: an estimator to copy, or a callable that makes one of the parameters.
        X: rows: an array, a frame, a sparse matrix or a list.
        y: what to predict; None for models that need none.
        scorer: `scorer(model, X, y)`, more is better.
        cut: how rows are divided; None: trials are scored on `held_out`.
        groups: for grouped folds.
        held_out: validation data `(X, y)`.
        repeats: how often a trial is cross-validated.
        seed: of models whose `random_state` is not set.
    """

    model: Any
    X: Any
    y: NDArray[Any] | None
    scorer: Scorer
    cut: Folds | None
    groups: NDArray[Any] | None = None
    held_out: tuple[Any, Any] | None = None
    repeats: int = 1
    seed: int = 0
    _splits: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict, repr=False)

    @property
    def folds(self) -> int:
        """Evaluations within one task."""
        return 1 if self.cut is None else self.cut.n * self.repeats

    @property
    def repeatable(self) -> bool:
        """Whether another repeat divides the rows otherwise."""
        return self.cut is not None and self.cut.repeatable

    def __call__(self, task: Task) -> Answer:
        def run(scores: list[float]) -> Outcome:
            for fold in range(1 if task.repeat == VALIDATION else self.folds):
                if task.bar is not None and task.bar.stops(scores):
                    return Outcome.PRUNED
                with one_thread():
                    scores.append(self._fold(task, fold))
            return Outcome.COMPLETED

        return answer_of(run)

    def fitted(self, parameters: Mapping[str, Any]) -> Any:
        """The model, trained on all rows."""
        model = self._model(parameters, 0)
        _fit(model, self.X, self.y)
        return model

    def _fold(self, task: Task, fold: int) -> float:
        model = self._model(task.parameters, max(0, task.repeat))
        if self.held_out is not None and (self.cut is None or task.repeat == VALIDATION):
            _fit(model, self.X, self.y)
            return _number(self.scorer(model, *self.held_out), "the score on the validation data")
        if self.cut is None:
            raise FoldFailed("there is neither a way to cut folds nor validation data")
        repeat, place = divmod(fold, self.cut.n)
        training, testing = self._split(task.repeat * self.repeats + repeat)[place]
        _fit(model, take(self.X, training), None if self.y is None else self.y[training])
        truth = None if self.y is None else self.y[testing]
        return _number(self.scorer(model, take(self.X, testing), truth), f"the score on fold {fold + 1}")

    def _split(self, repeat: int) -> list[tuple[Any, Any]]:
        if repeat not in self._splits and self.cut is not None:
            rows = self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)
            self._splits[repeat] = list(self.cut.split(self.y, self.groups, rows, repeat))
        return self._splits[repeat]

    def _model(self, parameters: Mapping[str, Any], repeat: int) -> Any:
        seed = int(np.random.SeedSequence([self.seed, repeat]).generate_state(1)[0]) % _SEEDS
        return build_model(self.model, {**random_parameters(self.model, seed), **parameters})

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "_splits"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in {**state, "_splits": {}}.items():
            setattr(self, name, value)


def _fit(model: Any, X: Any, y: Any) -> None:  # noqa: N803
    if y is None:
        model.fit(X)
    else:
        model.fit(X, y)


def _number(score: Any, what: str) -> float:
    try:
        number = float(score)
    except (TypeError, ValueError):
        raise FoldFailed(f"{what} is {type(score).__name__}, not a number") from None
    if not math.isfinite(number):
        raise FoldFailed(f"{what} is {number}")
    return number


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings inside: a search would repeat the same one a thousand times."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
        return objective, str(getattr(objective, "__name__", type(objective).__name__))
    if objective not in get_scorer_names():
        raise InvalidInput(
            f"objective {objective!r} is no scorer of scikit-learn; use a name such as 'accuracy', 'roc_auc', 'r2' or"
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
