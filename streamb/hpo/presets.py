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


# What a search may be told, each with its range and its sentence: Python, the command line and the job read them here.
Trials = Annotated[int, Field(ge=1, description="how many trials, the defaults included")]
FoldCount = Annotated[int, Field(ge=2, description="folds of the cross-validation")]
Deadline = Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds after which the search ends")]
Workers = Annotated[int, Field(ge=1, description="trials at the same time")]
Acquisition = Annotated[
    str, AfterValidator(_known_acquisition), Field(description=f"what chooses trials: {', '.join(ACQUISITIONS)}")
]
Executing = Annotated[Literal["auto", "sequential", "processes", "ray"], Field(description="where trials run")]
Splitting = Literal["auto", "stratified", "grouped", "time", "plain"]
Seed = Annotated[int, Field(ge=0, description="everything random follows from it")]


@dataclass(frozen=True, slots=True)
class OptimizationConfig:
    """What a study may use, and how it goes about it.

    Attributes:
        n_trials: how many, the defaults included.
        folds: of the cross-validation.
        repeats: how often each trial is cross-validated, each time with other folds.
        scheduler: "asha" stops a trial after a fold when it is in the lower half there and clearly worse than the best
            one; "none" evaluates every fold.
        deadline_s: hard, everything included; None: none.
        trial_timeout_s: a trial that takes longer failed; None: no limit but the deadline.
        acquisition: a name in `ACQUISITIONS`.
        max_concurrent_trials: None: one in this process or while trials are short, else as many as there are CPUs.
        seed: everything random follows from it.
        rescore_repeats: how often the best trial is evaluated again, on other folds; 0: never.
        splitting: how folds are made; "auto" is grouped where groups are given, stratified for classes, plain else.
        executor: "sequential" (in this process), "processes" (on this machine), "ray" (Ray Tune), or "auto".
        address: of the Ray cluster; given, "auto" is "ray".
        folder: keeps the journal here, and goes on from it when there is one; None: nothing is kept.
        deterministic: the objective answers the same for the same parameters.

    Raises:
        InvalidInput: a value that is not allowed; names the setting and what is allowed.
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
        """A copy with some settings changed.

        Raises:
            InvalidInput: no such setting, or a value that is not allowed; names it.
        """
        known = [field.name for field in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise InvalidInput(f"{', '.join(unknown)} is no setting of a search; there are: {', '.join(known)}")
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
    """A preset by its name, with some settings changed.

    Raises:
        InvalidInput: no such preset or setting.

    >>> preset("fast", seed=7).n_trials
    20
    """
    if name not in PRESETS:
        raise InvalidInput(f"there is no preset {name!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[name].changed(**changes)
