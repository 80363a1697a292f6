"""How thorough a study is: three presets, and every setting that may be changed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from streamb.errors import InvalidInput
from streamb.hpo.gp.acquisition import ACQUISITIONS


def _known_acquisition(name: str) -> str:
    if name not in ACQUISITIONS:
        raise ValueError(f"use one of {', '.join(ACQUISITIONS)}")
    return name


# The options of a search, each with its range and description: Python, the command line and the job read them here.
Trials = Annotated[int, Field(ge=1, description="number of trials, including the defaults")]
FoldCount = Annotated[int, Field(ge=2, description="number of cross-validation folds")]
Deadline = Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds after which the search ends")]
Workers = Annotated[int, Field(ge=1, description="number of trials at the same time")]
Acquisition = Annotated[
    str, AfterValidator(_known_acquisition), Field(description=f"what chooses trials: {', '.join(ACQUISITIONS)}")
]
Executing = Annotated[Literal["auto", "sequential", "processes", "ray"], Field(description="where trials run")]
Splitting = Literal["auto", "stratified", "grouped", "time", "plain"]
Seed = Annotated[int, Field(ge=0, description="random seed: the same seed gives the same random choices")]


@dataclass(frozen=True, slots=True)
class OptimizationConfig:
    """The settings of a study.

    Attributes:
        n_trials: number of trials, including the model's defaults.
        folds: number of cross-validation folds.
        repeats: how often each trial is cross-validated, each time with different folds.
        scheduler: "asha" stops a trial after a fold if it is in the lower half there and clearly worse than the best
            one; "none" evaluates every fold.
        deadline_s: seconds after which the whole study ends, re-scoring included; None: no deadline.
        trial_timeout_s: a trial that takes longer (in seconds) fails; None: no limit but the deadline.
        acquisition: a name in `ACQUISITIONS`.
        max_concurrent_trials: None: one in this process or while trials are short, else one per CPU.
        seed: seed of all random choices.
        rescore_repeats: how often the best trial is evaluated again, on different folds; 0: never.
        splitting: how folds are made; "auto": grouped if groups are given, stratified for classes, plain otherwise.
        executor: "sequential" (in this process), "processes" (on this machine), "ray" (Ray Tune), or "auto".
        address: address of the Ray cluster; if given, "auto" means "ray".
        folder: where the journal is kept and an earlier study is resumed from; None: nothing is kept.
        deterministic: whether the objective has the same value whenever the parameters are the same.

    Raises:
        InvalidInput: a value is not allowed; the message gives the setting and the allowed values.
    """

    n_trials: Trials = 50
    folds: FoldCount = 5
    repeats: Annotated[int, Field(ge=1)] = 1
    scheduler: Literal["asha", "none"] = "asha"
    deadline_s: Deadline | None = 3600.0
    trial_timeout_s: Deadline | None = None
    acquisition: Acquisition = "auto"
    max_concurrent_trials: Workers | None = None
    seed: Seed = 0
    rescore_repeats: Annotated[int, Field(ge=0)] = 5
    splitting: Splitting = "auto"
    executor: Executing = "auto"
    address: str | None = None
    folder: Path | str | None = None
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _allowed().items():
            try:
                allowed.validate_python(getattr(self, name), strict=True)
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise InvalidInput(f"{name} {getattr(self, name)!r} is not allowed: {said}") from None

    def changed(self, **changes: Any) -> OptimizationConfig:
        """Return a copy with some settings changed.

        Raises:
            InvalidInput: there is no such setting, or its value is not allowed; the message names it.
        """
        known = [field.name for field in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise InvalidInput(f"a search has no setting {', '.join(unknown)}; there are: {', '.join(known)}")
        return replace(self, **changes)


@cache
def _allowed() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(OptimizationConfig, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(OptimizationConfig)}


PRESETS: Final[dict[str, OptimizationConfig]] = {
    "fast": OptimizationConfig(n_trials=20, folds=3, deadline_s=600.0, rescore_repeats=3),
    "balanced": OptimizationConfig(),
    "thorough": OptimizationConfig(n_trials=150, repeats=2, deadline_s=6 * 3600.0),
}


def preset(name: str, **changes: Any) -> OptimizationConfig:
    """Return the preset with this name, with some settings changed.

    Raises:
        InvalidInput: there is no such preset or setting.

    >>> preset("fast", seed=7).n_trials
    20
    """
    if name not in PRESETS:
        raise InvalidInput(f"there is no preset {name!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[name].changed(**changes)
