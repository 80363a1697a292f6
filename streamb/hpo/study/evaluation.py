"""Evaluates one trial: a model by cross-validation, or any function; in this process or in another.

An evaluator can be pickled, gets one task after another, and always returns an answer: an error or a score that is
not a number makes the trial fail, not the search.
"""

from __future__ import annotations

import math
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.hpo.nesting import nested
from streamb.hpo.study.data import row_count
from streamb.hpo.study.folds import Folds
from streamb.hpo.study.pruning import Bar
from streamb.hpo.study.scorers import Scorer
from streamb.hpo.study.study import Outcome
from streamb.hpo.study.training import build_model, random_parameters, take
from streamb.hpo.threads import one_thread

VALIDATION: Final = -1
"""The number of the repeat that trains on all rows and scores on the validation data."""

_SEEDS: Final = 2**31
_LONGEST_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation to run.

    Attributes:
        number: the trial's number.
        parameters: values by name.
        bar: the scores that its folds must reach for it to continue; None: all folds are evaluated.
        repeat: 0 for the study's own folds; higher numbers score again on other folds; or `VALIDATION`.
    """

    number: int
    parameters: Mapping[str, Any]
    bar: Bar | None = None
    repeat: int = 0


def packed_task(task: Task) -> bytes:
    """Return the task as bytes that another process can load.

    Raises:
        InvalidInput: one of its values cannot be pickled.
    """
    try:
        packed: bytes = cloudpickle.dumps(task)
    except Exception as error:
        raise InvalidInput(
            f"a value in the search space cannot be sent to another process ({error}); use executor='sequential'"
        ) from error
    return packed


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an evaluation; `TrialResult` describes the fields."""

    status: Outcome
    fold_scores: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""
    node: str = ""

    @property
    def score(self) -> float | None:
        """The mean over the folds; None if no fold has a score."""
        if not self.fold_scores or self.status not in (Outcome.COMPLETED, Outcome.PRUNED):
            return None
        return math.fsum(self.fold_scores) / len(self.fold_scores)


class Evaluator(Protocol):
    """Evaluates tasks.

    Attributes:
        folds: number of evaluations within one task.
        repeatable: whether another repeat uses other folds, rather than the same again.
    """

    @property
    def folds(self) -> int: ...
    @property
    def repeatable(self) -> bool: ...

    def __call__(self, task: Task) -> Answer:
        """Return the answer to a task; raises nothing but KeyboardInterrupt."""
        ...


class FoldFailed(Exception):
    """A fold has no score."""


def answer_of(scores: Callable[[list[float]], Outcome]) -> Answer:
    """Run a function that appends scores to a list, and return its outcome or failure as an answer."""
    started, found = time.perf_counter(), list[float]()
    status, error = Outcome.FAILED, ""
    try:
        status = scores(found)
    except FoldFailed as failure:
        error = str(failure)
    except BaseException as failure:  # a SystemExit raised by a model must not end the search either
        if isinstance(failure, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C; in another thread it can only come from the model itself
        error = _said(failure)
    return Answer(status, tuple(found), time.perf_counter() - started, error, this_node())


def _said(failure: BaseException) -> str:
    """The exception's type and first line, encodable in any file; some exceptions fail even to print themselves."""
    try:
        lines = str(failure).strip().splitlines()
    except Exception:
        lines = []
    name = type(failure).__name__
    text = f"{name}: {lines[0]}" if lines else name
    return text[:_LONGEST_ERROR].encode(errors="replace").decode()


def this_node() -> str:
    """Return this machine and process as `host:pid`."""
    return f"{platform.node()}:{os.getpid()}"


@dataclass(frozen=True, slots=True)
class FunctionEvaluator:
    """Evaluates a function that maps the parameters to a number.

    Attributes:
        function: called with one dict of parameters.
        nests: whether `a/b` is passed as the entry `b` of a dict `a`.
    """

    function: Callable[[dict[str, Any]], Any]
    nests: bool = False
    folds: int = 1
    repeatable: bool = False

    def __call__(self, task: Task) -> Answer:
        def run(scores: list[float]) -> Outcome:
            given = nested(task.parameters) if self.nests else dict(task.parameters)
            scores.append(_number(self.function(given), "the objective function"))
            return Outcome.COMPLETED

        return answer_of(run)


@dataclass(slots=True)
class ModelEvaluator:
    """Trains and scores a model fold by fold.

    Attributes:
        model: an estimator to copy, or a callable that makes a model from the parameters.
        X: the rows: an array, a frame, a sparse matrix or a list.
        y: the labels; None for models that need none.
        scorer: `scorer(model, X, y)` returns the score; more is better.
        cut: how rows are divided into folds; None: trials are scored on `held_out`.
        groups: the group of each row, for grouped folds.
        held_out: validation data `(X, y)`.
        repeats: how often a trial is cross-validated.
        seed: the `random_state` of models that do not set one.
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
        """Number of evaluations within one task."""
        return 1 if self.cut is None else self.cut.n * self.repeats

    @property
    def repeatable(self) -> bool:
        """Whether another repeat divides the rows differently."""
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
        """Return the model with these parameters, trained on all rows."""
        model = self._model(parameters, 0)
        _fit(model, self.X, self.y)
        return model

    def _fold(self, task: Task, fold: int) -> float:
        model = self._model(task.parameters, max(0, task.repeat))
        if self.held_out is not None and (self.cut is None or task.repeat == VALIDATION):
            _fit(model, self.X, self.y)
            return _number(self.scorer(model, *self.held_out), "the score on the validation data")
        if self.cut is None:
            raise FoldFailed("there are neither folds nor validation data to score on")
        repeat, place = divmod(fold, self.cut.n)
        training, testing = self._split(task.repeat * self.repeats + repeat)[place]
        _fit(model, take(self.X, training), None if self.y is None else self.y[training])
        truth = None if self.y is None else self.y[testing]
        return _number(self.scorer(model, take(self.X, testing), truth), f"the score on fold {fold + 1}")

    def _split(self, repeat: int) -> list[tuple[Any, Any]]:
        if repeat not in self._splits and self.cut is not None:
            self._splits[repeat] = self.cut.split(self.y, self.groups, row_count(self.X), repeat)
        return self._splits[repeat]

    def _model(self, parameters: Mapping[str, Any], repeat: int) -> Any:
        seed = int(np.random.SeedSequence([self.seed, repeat]).generate_state(1)[0]) % _SEEDS
        return build_model(self.model, {**random_parameters(self.model, seed), **parameters})


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
