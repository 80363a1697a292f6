"""Ask and tell: the optimizer hands out trials one by one, hears what came of them, and learns.

Everything follows from the space, the seed and what was asked and told in which order. With a journal, that order
is on disk before `ask` and `tell` return, and an optimizer opened on it later goes on as if nothing had happened;
trials that were handed out and never told are handed out again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from streamb.errors import InvalidInput
from streamb.hpo.gp.acquisition import acquisition_for
from streamb.hpo.history import History
from streamb.hpo.journal import Opened, Told
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space, something_new
from streamb.hpo.threads import one_thread
from streamb.hpo.trial import Best, Status, Trial, is_number

if TYPE_CHECKING:
    from streamb.hpo.gp.modelling import Lesson, Settings

WARMUP: Final = 10
"""Trials before a surrogate chooses; fewer would be enough for few parameters, and hardly better."""


class Optimizer:
    """Searches a space for the point with the lowest (or highest) value.

    May be used from several threads: asks wait for one another, a tell waits for nothing but the journal.

    Attributes:
        space: what is searched.
        direction: "minimize" or "maximize".

    Args:
        space: a `Space`, or plain data that describes one.
        seed: the same seed, tells and order give the same suggestions.
        acquisition: how the next trial is chosen; a name in `ACQUISITIONS`, by default "auto".
        initial: points to try first, such as a model's own defaults. A value outside of the space is allowed: the
            trial runs and can become the best, the surrogate does not learn from it. Without any, a space that
            declares defaults begins with them.
        warmup: so many trials, initial ones included, before the surrogate chooses; random points fill up.
        deterministic: whether the same point always has the same value; otherwise a noise variance is learned.
        journal: file to keep asks and tells in, and to go on from.

    Raises:
        InvalidInput: a bad space or option, or a journal of another search.

    >>> optimizer = Optimizer({"x": (-5.0, 5.0)}, seed=1, deterministic=True)
    >>> for _ in range(20):
    ...     trial = optimizer.ask()
    ...     optimizer.tell(trial.id, (trial.parameters["x"] - 2.0) ** 2)
    >>> round(optimizer.best.trial.parameters["x"], 2)
    2.0
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        *,
        direction: Literal["minimize", "maximize"] = "minimize",
        seed: int = 0,
        acquisition: str = "auto",
        initial: Sequence[Mapping[str, Any]] = (),
        warmup: int = WARMUP,
        deterministic: bool = False,
        journal: Path | str | None = None,
    ) -> None:
        if direction not in ("minimize", "maximize"):
            raise InvalidInput(f"direction {direction!r} is neither 'minimize' nor 'maximize'")
        acquisition_for(acquisition, 0)  # raises if there is none of this name
        if seed < 0:
            raise InvalidInput(f"the seed must not be negative, as {seed} is")
        self.space = Space.of(space)
        self.direction = direction
        self._seed, self._acquisition, self._warmup = seed, acquisition, max(1, warmup)
        self._deterministic = deterministic
        defaults = [self.space.defaults()] if any(p.default is not None for p in self.space.searched) else []
        self._lesson: tuple[int, Lesson | None] = (-1, None)
        self._state, self._asking = threading.RLock(), threading.RLock()
        self._history = History(self.space, initial or defaults, journal, Opened(seed, direction, self.space.digest()))

    # --- the user's side ------------------------------------------------------------------------------------------

    def ask(self) -> Trial:
        """The next trial to evaluate.

        Raises:
            SpaceExhausted: every point of a finite space has been tried.
            StorageFailed: the journal cannot be written; nothing was handed out.
        """
        with self._asking:
            with self._state:
                history = self._history
                if history.again:
                    return history.trials[history.again.pop(0)]
                if (place := history.next_initial()) is not None:
                    return history.begin_initial(place)
                # one look: what ends while the surrogate is at work is still running for it
                told, trials, taken = history.told, tuple(history.trials), frozenset(history.tried)
            rng = np.random.default_rng([self._seed, len(trials)])
            begun = sum(trial.row is not None for trial in trials)
            lesson = self._learned(told, trials) if begun >= self._warmup else None
            if lesson is None:
                row = something_new(self.space, taken, rng)
            else:
                row = self._modelled(lesson, trials, taken, rng)
            with self._state:
                theta = None if lesson is None else lesson.theta
                return history.begin(tuple(row.tolist()), theta, told)

    def tell(
        self,
        trial_id: int,
        value: float | None = None,
        *,
        failed: bool = False,
        variance: float | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """What came of a trial.

        Args:
            trial_id: `Trial.id` of a trial that is running.
            value: not a number counts as failed.
            failed: the trial ended without a value.
            variance: of the value, where known: the squared standard error of a mean over folds.
            constraints: values by name; the point is feasible where all are at most 0.

        Raises:
            NotFound: no such trial. Conflict: it has been told before. StorageFailed: the journal cannot be written.
        """
        bad = failed or not is_number(value) or any(not is_number(one) for one in (constraints or {}).values())
        status = Status.FAILED if bad else Status.COMPLETE
        told = Told(
            id=trial_id,
            status=status.value,
            value=None if bad or value is None else float(value),
            variance=float(variance) if variance is not None and is_number(variance) and variance >= 0.0 else None,
            constraints=None if bad or not constraints else {k: float(v) for k, v in constraints.items()},
        )
        with self._state:
            self._history.end(told)

    def record(self, parameters: Mapping[str, Any], value: float | None, *, variance: float | None = None) -> Trial:
        """Add a trial that was evaluated elsewhere, as if it had been asked and told here."""
        with self._asking:
            with self._state:
                trial = self._history.begin_given(parameters)
            self.tell(trial.id, value, variance=variance)
            return self.trials[trial.id]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of asking."""
        with self._state:
            return tuple(self._history.trials)

    @property
    def best(self) -> Best | None:
        """The trial to take, under noise the one with the best expectation; None while nothing feasible is there."""
        done = [t for t in self.trials if t.status is Status.COMPLETE and t.feasible and t.value is not None]
        if not done:
            return None
        sign = -1.0 if self.direction == "maximize" else 1.0
        estimates = {} if self._deterministic or len(done) < self._warmup else self._estimates()
        trial = min(done, key=lambda t: sign * estimates.get(t.id, t.value or 0.0))
        return Best(trial, float(trial.value or 0.0), estimates.get(trial.id, float(trial.value or 0.0)))

    def close(self) -> None:
        """Release the journal."""
        self._history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- choosing -------------------------------------------------------------------------------------------------

    def _modelled(
        self, lesson: Lesson, trials: tuple[Trial, ...], taken: frozenset[object], rng: np.random.Generator
    ) -> Array:
        from streamb.hpo.gp.modelling import suggest

        with one_thread():
            return suggest(self.space, trials, taken, self._settings(), lesson, rng)

    def _settings(self) -> Settings:
        from streamb.hpo.gp.modelling import Settings

        return Settings(self._acquisition, self._deterministic, self.direction == "maximize")

    def _learned(self, told: int, trials: tuple[Trial, ...]) -> Lesson | None:
        from streamb.hpo.gp.modelling import learn

        with self._state:
            if self._lesson[0] == told:
                return self._lesson[1]
            theta, fitted_to = self._history.theta, self._history.fitted_to
        begin = None if theta is None else np.array(theta)
        with one_thread():
            lesson = learn(self.space, trials, self._settings(), begin, refit=fitted_to != told)
        with self._state:
            self._lesson = (told, lesson)
        return lesson

    def _estimates(self) -> dict[int, float]:
        with self._state:
            told, trials = self._history.told, tuple(self._history.trials)
        lesson = self._learned(told, trials)
        if lesson is None:
            return {}
        sign = -1.0 if self.direction == "maximize" else 1.0
        means = zip(lesson.trials, lesson.means, strict=True)
        return {trial.id: sign * lesson.warping.invert(float(mean)) for trial, mean in means}
