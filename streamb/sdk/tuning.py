"""`HyperparameterOptimizer`: find good parameters for a model or for any function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput
from streamb.hpo.parameters import Fixed
from streamb.hpo.presets import OptimizationConfig, preset
from streamb.hpo.reading import read_parameters
from streamb.hpo.space import Space
from streamb.hpo.spaces import search_space as named_space
from streamb.hpo.spaces import space_for
from streamb.hpo.study.data import data_digest, row_count, training_rows, validation_rows
from streamb.hpo.study.evaluation import Evaluator, FunctionEvaluator, ModelEvaluator
from streamb.hpo.study.executing import Executor
from streamb.hpo.study.folds import Folds, check_folds, choose_kind
from streamb.hpo.study.running import Plan, Study, local_executor
from streamb.hpo.study.scorers import scorer_of, scorer_text
from streamb.hpo.study.study import Direction, OptimizationResult, Progress
from streamb.hpo.study.training import check_model, first_parameters, is_estimator, own_parameters

Watching = Progress | Sequence[Progress] | None


class HyperparameterOptimizer:
    """Searches for good parameters with a Gaussian process; the first trial uses the defaults.

    It needs no running platform. Trials run in this process or in worker processes; with `executor="ray"`, or the
    `address` of a cluster, they run on Ray through Ray Tune.

    Args:
        config: the name of a preset, or the result of `create_optimization_config`; None: "balanced".
        clock: the source of time for deadlines; None: the system clock.

    Raises:
        InvalidInput: there is no such preset.
    """

    def __init__(self, config: OptimizationConfig | str | None = None, *, clock: Clock | None = None) -> None:
        self.config = preset(config or "balanced") if config is None or isinstance(config, str) else config
        if not isinstance(self.config, OptimizationConfig):
            raise InvalidInput(
                f"config is a preset's name or an OptimizationConfig, not {type(config).__name__};"
                " see HyperparameterOptimizer.create_optimization_config"
            )
        self._clock = clock or SystemClock()
        self._study: Study | None = None

    @staticmethod
    def create_optimization_config(name: str = "balanced", **changes: Any) -> OptimizationConfig:
        """Return the settings of a preset (fast, balanced or thorough) with some of them changed.

        >>> HyperparameterOptimizer.create_optimization_config("fast", seed=3).folds
        3
        """
        return preset(name, **changes)

    @staticmethod
    def create_search_space(kind: str) -> dict[str, Any]:
        """Return a search space for a kind of model ("neural_network", …) or for the class of an estimator.

        Raises:
            NotFound: there is no space of this name; the message lists the names.
        """
        return named_space(kind)

    def optimize_model(
        self,
        *,
        model: Any,
        training_data: Any,
        validation_data: Any = None,
        search_space: Any = None,
        objective: str | Callable[[Any, Any, Any], float] | None = None,
        cross_validation_folds: int | None = None,
        groups: Any = None,
        progress: Watching = None,
        name: str = "",
    ) -> OptimizationResult:
        """Find the parameters that give a model its best score on rows it was not trained on.

        Args:
            model: a scikit-learn estimator or pipeline (it is copied, never changed), a class, or a function that
                makes a model from parameters. Its own parameters are the first trial.
            training_data: `(X, y)`; X is an array, a frame, a sparse matrix or a list of texts; or X alone for a
                model that needs no y.
            validation_data: `(X, y)`. With `cross_validation_folds`, the best parameters are scored on it at the end
                (`validation_score`). Without, each trial is scored on it instead of on folds.
            search_space: parameters by name, as plain data or as Ray Tune's; None: the space for the model's class.
            objective: the score to maximize: a scikit-learn scorer by name, or `scorer(model, X, y)`. None: the
                model's own score.
            cross_validation_folds: the number of folds, at least 2; None: as in `config`.
            groups: one value per row; rows with the same value stay in one fold.
            progress: one or more observers that are told of each trial.
            name: the name of the study; by default that of the model.

        Raises:
            InvalidInput: data, space, objective or model are not usable; the message says what to change.
            NoTrialSucceeded: all trials failed; the message has the first reason.
            DeadlineExceeded: the deadline passed before any trial had ended.
        """
        began_at = self._clock.monotonic()
        inner = getattr(model, "estimator", None)
        model = inner if not is_estimator(model) and is_estimator(inner) else model
        space = _space(space_for(model) if search_space is None else search_space)
        check_model(model, (*space.names, *(fixed.name for fixed in space.fixed)))
        scorer, named = scorer_of(objective, model)
        config = self.config
        if cross_validation_folds is not None:
            config = config.changed(folds=cross_validation_folds)
        rows, truth, members = training_rows(training_data, groups)
        held_out = None if validation_data is None else validation_rows(validation_data, truth)
        cut = None
        if held_out is None or cross_validation_folds is not None:
            kind = choose_kind(config.splitting, truth, members, classifies=_classifies(model, truth))
            cut = Folds(kind, config.folds, config.seed)
            check_folds(cut, row_count(rows), members)
        repeats = config.repeats if cut is not None and cut.repeatable else 1
        evaluator = ModelEvaluator(model, rows, truth, scorer, cut, members, held_out, repeats, config.seed)
        about = {"objective": named, "model": _name(model), "folds": evaluator.folds}
        if config.folder is not None:
            about |= {"cut": None if cut is None else cut.kind, "repeats": repeats, "scorer": scorer_text(objective)}
            about |= {"data": data_digest(rows, truth, members, held_out)}
            about |= {f"the model's {key}": value for key, value in own_parameters(model).items()}
        plan = Plan(
            name=name or _name(model),
            space=space,
            objective=named,
            direction="maximize",
            evaluator=evaluator,
            config=config,
            defaults=first_parameters(model, space),
            identity=about,
            validates=held_out is not None and cut is not None,
            watchers=_watchers(progress),
            began_at=began_at,
        )
        return self._run(plan, separate=True)

    def optimize(
        self,
        objective_function: Callable[[dict[str, Any]], float],
        search_space: Any,
        *,
        n_trials: int | None = None,
        direction: Direction = "minimize",
        progress: Watching = None,
        name: str = "",
    ) -> OptimizationResult:
        """Find the parameters for which a function is lowest (or highest).

        The function is called in this process unless `config` says otherwise. If it raises an error or does not
        return a number, the trial fails.

        Args:
            objective_function: called with a dict of parameters, which is nested if the space is nested.
            search_space: parameters by name, as plain data or as Ray Tune's. If they have defaults, these are the first
                trial. Results name a nested parameter by its path, such as `model/lr`.
            n_trials: the number of trials, at least 1; None: as in `config`.
            direction: "minimize" or "maximize".
            progress: one or more observers that are told of each trial.
            name: the name of the study; by default that of the function.

        Raises:
            InvalidInput: function, space or direction are not usable.
            NoTrialSucceeded, DeadlineExceeded: as for `optimize_model`.
        """
        began_at = self._clock.monotonic()
        if not callable(objective_function):
            raise InvalidInput(f"the objective is a function of a dict, not {type(objective_function).__name__}")
        called = _name(objective_function)
        plan = Plan(
            name=name or called,
            space=_space(search_space),
            objective="value",
            direction=direction,
            evaluator=FunctionEvaluator(objective_function, nests=_nests(search_space)),
            config=self.config if n_trials is None else self.config.changed(n_trials=n_trials),
            identity={"objective": called},
            watchers=_watchers(progress),
            began_at=began_at,
        )
        return self._run(plan, separate=False)

    def stop(self) -> None:
        """Stop the running study and keep what it has found. May be called from any thread; does nothing if idle."""
        if self._study is not None:
            self._study.stop()

    def _run(self, plan: Plan, *, separate: bool) -> OptimizationResult:
        config = plan.config

        def make_executor(evaluator: Evaluator) -> Executor:
            if config.executor == "ray" or (config.executor == "auto" and config.address is not None):
                from streamb.cluster.tune.tuning import TuneExecutor

                return TuneExecutor(
                    evaluator, self._clock, workers=config.max_concurrent_trials, address=config.address
                )
            return local_executor(evaluator, config, self._clock, separate=separate)

        self._study = Study(plan, make_executor, self._clock)
        try:
            return self._study.run()
        finally:
            self._study = None


def _watchers(progress: Watching) -> tuple[Progress, ...]:
    if progress is None:
        return ()
    return tuple(progress) if isinstance(progress, Sequence) else (progress,)


def _space(described: Any) -> Space:
    """Read a space from plain data; Ray Tune's objects in it are translated."""
    if _is_of_tune(described):
        from streamb.cluster.tune.space import plain_space

        described = plain_space(described)
    if isinstance(described, Space):
        return described
    parameters = read_parameters(described)
    if all(isinstance(one, Fixed) for one in parameters):
        raise InvalidInput(
            "nothing in the search space varies: give at least one parameter a list or a range of values"
        )
    return Space(parameters)


def _is_of_tune(described: Any) -> bool:
    return isinstance(described, Mapping) and any(_is_tune(value) for value in described.values())


def _nests(described: Any) -> bool:
    """Whether a space of Ray Tune contains nested dicts of parameters."""
    return _is_of_tune(described) and any(
        isinstance(value, Mapping) and "type" not in value and "grid_search" not in value
        for value in described.values()
    )


def _is_tune(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "grid_search" in value or ("type" not in value and any(_is_tune(one) for one in value.values()))
    return type(value).__module__.startswith("ray.tune")


def _classifies(model: Any, truth: NDArray[Any] | None) -> bool:
    from sklearn.base import is_classifier

    if truth is None or truth.ndim != 1:
        return False
    if is_estimator(model):
        return bool(is_classifier(model))
    return truth.dtype.kind in "OUSb"


def _name(what: Any) -> str:
    steps: Iterable[Any] = getattr(what, "steps", None) or ()
    inner = [type(step).__name__ for _, step in steps]
    if inner:
        return " + ".join(inner)
    return str(getattr(what, "__name__", type(what).__name__))
