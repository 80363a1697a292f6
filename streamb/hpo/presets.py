"""How thorough a study is: three presets, and every setting that may be changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from streamb.errors import InvalidInput
from streamb.hpo.optimizer import ACQUISITIONS

Executing = Literal["auto", "sequential", "processes", "ray"]
Splitting = Literal["auto", "stratified", "grouped", "time", "plain"]

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "acquisition": ACQUISITIONS,
    "scheduler": ("asha", "none"),
    "executor": ("auto", "sequential", "processes", "ray"),
    "splitting": ("auto", "stratified", "grouped", "time", "plain"),
}
_LEAST: Final = {"n_trials": 1, "folds": 2, "repeats": 1, "rescore_repeats": 0, "seed": 0}


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}, not {value!r}")


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
        acquisition: "auto", "ei", "pi" or "ucb".
        max_concurrent_trials: None: one in this process or while trials are short, else as many as there are CPUs.
        seed: everything random follows from it.
        rescore_repeats: how often the best trial is evaluated again, on other folds; 0: never.
        splitting: how folds are made; "auto" is grouped where groups are given, stratified for classes, plain else.
        executor: "sequential" (in this process), "processes" (on this machine), "ray" (Ray Tune), or "auto".
        address: of the Ray cluster; given, "auto" is "ray".
        folder: keeps the journal here, and goes on from it when there is one; None: nothing is kept.
        deterministic: the objective answers the same for the same parameters.
    """

    n_trials: int = 50
    folds: int = 5
    repeats: int = 1
    scheduler: Literal["asha", "none"] = "asha"
    deadline_s: float | None = 3600.0
    trial_timeout_s: float | None = None
    acquisition: str = "auto"
    max_concurrent_trials: int | None = None
    seed: int = 0
    rescore_repeats: int = 5
    splitting: Splitting = "auto"
    executor: Executing = "auto"
    address: str | None = None
    folder: Path | str | None = None
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidInput(f"{name} {getattr(self, name)!r} is not known; use one of {', '.join(allowed)}")
        for name, least in _LEAST.items():
            _check_whole(name, getattr(self, name), least)
        if self.max_concurrent_trials is not None:
            _check_whole("max_concurrent_trials", self.max_concurrent_trials, 1)
        for name in ("deadline_s", "trial_timeout_s"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise InvalidInput(f"{name} must be a positive number of seconds, or None for no limit; not {value!r}")

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
