"""The results of a study and of its trials, and the interface for watching its progress."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Literal, Protocol

from streamb.errors import StreambError

Direction = Literal["maximize", "minimize"]


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class StoppedBy(StrEnum):
    """Why a study ended."""

    TRIALS = "trials"
    DEADLINE = "deadline"
    USER = "user"
    EXHAUSTED = "exhausted"


class NoTrialSucceeded(StreambError):
    """Every trial failed or was cut off, so there is no best one. The message gives the first reason."""

    status, code = 422, "no_trial_succeeded"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        number: 0, 1, 2, ... in the order in which the trials were chosen; they may end in another order.
        parameters: values by name.
        score: mean over the folds, in the objective's own units; for a pruned trial over the folds it was given, so it
            is not comparable with others; None if there is no score.
        fold_scores: one score for each fold that was evaluated.
        status: pruned means stopped after some folds, clearly worse than the best trial on the same folds.
        seconds: how long it ran.
        started_at: seconds since the study began.
        error: why it failed or was cut off; empty otherwise.
        node: the machine and process that evaluated it, as `host:pid`.
    """

    number: int
    parameters: Mapping[str, Any]
    score: float | None
    fold_scores: tuple[float, ...]
    status: Outcome
    seconds: float
    started_at: float
    error: str = ""
    node: str = ""

    @property
    def complete(self) -> bool:
        """Whether it has a score over all folds."""
        return self.status is Outcome.COMPLETED and self.score is not None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values; parameters of other types become strings."""
        return {**asdict(self), "parameters": plain_parameters(self.parameters), "fold_scores": list(self.fold_scores)}


@dataclass(frozen=True, slots=True)
class Improvement:
    """What the search gained over the defaults, both measured on the same folds.

    Attributes:
        default_score: score of the model's own parameters (the first trial); None if there are none or it failed.
        absolute: the difference in score; positive is better in either direction; None without a default score.
        relative_improvement: the difference in percent of the default's absolute score; None without one or if it is 0.
    """

    default_score: float | None
    absolute: float | None
    relative_improvement: float | None

    @classmethod
    def of(cls, best: float, default: float | None, direction: Direction) -> Improvement:
        """Compute the improvement of the best score over the default score.

        >>> Improvement.of(0.99, 0.9, "maximize").relative_improvement
        10.0
        >>> Improvement.of(2.0, 4.0, "minimize").relative_improvement
        50.0
        """
        if default is None:
            return cls(None, None, None)
        absolute = best - default if direction == "maximize" else default - best
        relative = None if default == 0.0 else round(100.0 * absolute / abs(default), 9)
        return cls(default, absolute, relative)


@dataclass(frozen=True, slots=True)
class Rescore:
    """The best trial evaluated again on other folds, which removes the effect of lucky folds on its score.

    The best of many noisy scores is on average too optimistic (the winner's curse): `mean`, not `best_score`, is the
    performance to expect of the model.

    Attributes:
        mean: mean of the repeats' scores.
        sd: standard deviation of the repeats' scores; 0 for a single one.
        repeats: how often all folds were evaluated again.
        optimism: by how much the best score was too good; positive if it was.
        default_mean: mean score of the defaults on the same folds; None if there are none or they failed.
    """

    mean: float
    sd: float
    repeats: int
    optimism: float
    default_mean: float | None = None

    @classmethod
    def of(
        cls, best: float, scores: Sequence[float], direction: Direction, default_mean: float | None = None
    ) -> Rescore:
        """Summarize the scores of the repeats, of which there must be at least one.

        >>> Rescore.of(0.99, [0.97, 0.98], "maximize").optimism
        0.015
        """
        mean = math.fsum(scores) / len(scores)
        spread = math.fsum((one - mean) ** 2 for one in scores)
        sd = math.sqrt(spread / (len(scores) - 1)) if len(scores) > 1 else 0.0
        optimism = best - mean if direction == "maximize" else mean - best
        return cls(mean, sd, len(scores), round(optimism, 12), default_mean)


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as it is known when it begins.

    Attributes:
        name: the study's name for people.
        objective: the name of the score.
        direction: "maximize" or "minimize".
        parameters: names of the searched and of the fixed parameters.
        n_trials: the planned number of trials.
        folds: number of evaluations within one trial.
        deadline_s: seconds after which it ends; None for no deadline.
        workers: number of trials at the same time.
        executor: "sequential", "processes" or "ray".
        seed: seed of all random choices.
        folder: where its files are; None if nothing is kept.
        finished: trials that an earlier run of the same study finished; they are not evaluated again.
    """

    name: str
    objective: str
    direction: Direction
    parameters: tuple[str, ...]
    n_trials: int
    folds: int
    deadline_s: float | None
    workers: int
    executor: str
    seed: int
    folder: str | None = None
    finished: tuple[TrialResult, ...] = ()


@dataclass(frozen=True, slots=True)
class OptimizationResult:
    """The result of a study.

    Attributes:
        best_parameters: values of the best trial, for every name of the search space that is active in it.
        best_score: that trial's own score over all folds; never that of another trial, nor an estimate.
        improvements: the improvement over the defaults on the same folds.
        rescored: the same parameters on other folds; None if there was no time left, or nothing to vary.
        trials: all of them, in the order of their numbers, failed ones too.
        direction: "maximize" or "minimize".
        objective: the name of the score.
        stopped_by: trials, deadline, user or exhausted (every point of a finite space was tried).
        seconds: how long it took, re-scoring included.
        seed: seed of all random choices.
        best_number: the number of the best trial.
        validation_score: score of the best parameters, trained on all training data, on the validation data; None if
            the trials themselves were scored there, or no such data was given.
    """

    best_parameters: Mapping[str, Any]
    best_score: float
    improvements: Improvement
    rescored: Rescore | None
    trials: tuple[TrialResult, ...]
    direction: Direction
    objective: str
    stopped_by: StoppedBy
    seconds: float
    seed: int
    best_number: int
    validation_score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, all trials included."""
        told = asdict(replace(self, best_parameters={}, trials=()))
        trials = [trial.to_json() for trial in self.trials]
        return {**told, "best_parameters": plain_parameters(self.best_parameters), "trials": trials}

    def table(self, rows: int = 20) -> str:
        """Return the best trials as a text table of at most `rows` rows, followed by what the score is worth."""
        order = sorted(best_first(self.trials, self.direction), key=lambda trial: trial.number != self.best_number)
        lines = [("trial", self.objective, "s", "status", "parameters")]
        lines += [_line(trial) for trial in order[:rows]]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = ["  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[4]]) for line in lines]
        hidden = len(self.trials) - (len(lines) - 1)
        told = {"best": f"trial {self.best_number} with {self.objective} {self.best_score:.6g}", **self.worth()}
        told["trials"] = f"{len(self.trials)} in {self.seconds:.1f} s, stopped by {self.stopped_by.value}"
        more = [f"and {hidden} more"] if hidden > 0 else []
        return "\n".join([*text, *more, *(f"{name}: {words}" for name, words in told.items())])

    def worth(self) -> dict[str, str]:
        """Return the search's gain, and the score on other data, as texts by name."""
        gained, again = self.improvements, self.rescored
        told = {}
        if gained.default_score is not None:
            percent = "" if gained.relative_improvement is None else f" ({gained.relative_improvement:+.2f} %)"
            told["defaults, same folds"] = f"{gained.default_score:.6g}{percent}"
        if again is not None:
            told["best again, other folds"] = f"{again.mean:.6g} ± {again.sd:.2g}, {again.repeats} times"
        if self.validation_score is not None:
            told["on validation data"] = f"{self.validation_score:.6g}"
        return told


def best_first(trials: Iterable[TrialResult], direction: Direction) -> list[TrialResult]:
    """Sort trials by score, best first; incomplete trials come last, as a mean of some folds is not comparable."""
    sign = -1.0 if direction == "maximize" else 1.0
    return sorted(trials, key=lambda trial: (not trial.complete, sign * (trial.score or 0.0), trial.number))


def best_of(trials: Iterable[TrialResult], direction: Direction) -> TrialResult | None:
    """Return the complete trial with the best score, the first of equally good ones; None if there is none."""
    return next((trial for trial in best_first(trials, direction) if trial.complete), None)


class Progress(Protocol):
    """The interface for watching a study. Calls come one at a time, from the thread that runs the study."""

    def began(self, study: StudyView) -> None:
        """Called once, before the first trial."""
        ...

    def trial(self, result: TrialResult, best: TrialResult | None, left_s: float | None) -> None:
        """Called after each trial with its result, the best so far, and the estimated seconds left (None: unknown)."""
        ...

    def ended(self, result: OptimizationResult) -> None:
        """Called once, at the end; not called when the study raises."""
        ...


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON values: numpy numbers as numbers, sequences as lists, other objects as strings."""
    return {name: plain_value(value) for name, value in parameters.items()}


def plain_value(value: Any) -> Any:
    """Return one value as `plain_parameters` does."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | bool | int | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain_value(one) for key, one in value.items()}
    return repr(value)


def _line(trial: TrialResult) -> tuple[str, str, str, str, str]:
    score = "" if trial.score is None else f"{trial.score:.6g}"
    told = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in plain_parameters(trial.parameters).items()
    )
    told += f"  [{trial.error.splitlines()[0]}]" if trial.error else ""
    return str(trial.number), score, f"{trial.seconds:.2f}", trial.status.value, told
