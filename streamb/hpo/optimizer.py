"""The optimizer: `ask` returns the next trial to evaluate, `tell` records its result.

The suggestions depend only on the space, the seed, and the order of asks and tells. With a journal, that order is on
disk before `ask` and `tell` return, and an optimizer opened on it later continues from there; trials that were handed
out and have no result are handed out again.
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
from streamb.hpo.space import Space, something_new
from streamb.hpo.threads import one_thread
from streamb.hpo.trial import Best, Status, Trial, is_number

if TYPE_CHECKING:
    from streamb.hpo.gp.modelling import Lesson

WARMUP: Final = 10
"""Trials before a surrogate chooses; with few parameters fewer would be enough, but hardly better."""


class Optimizer:
    """Searches a space for the point with the lowest (or highest) value.

    Thread-safe: calls of `ask` wait for one another; `tell` waits only for the journal to be written.

    Attributes:
        space: the search space.
        direction: "minimize" or "maximize".

    Args:
        space: a `Space`, or plain data that describes one (`streamb.hpo.reading`).
        seed: the same seed, with the same results in the same order, gives the same suggestions.
        acquisition: how the next trial is chosen: a name in `ACQUISITIONS`, by default "auto".
        initial: points to try first, such as a model's own defaults. A value outside of the space is allowed: the
            trial runs and can become the best, but the surrogate does not learn from it. If not given, and the space
            declares defaults, the search starts with these.
            warmup: how many trials, initial ones included, run before the surrogate chooses; the others are random.
        deterministic: whether the same point always has the same value; otherwise a noise variance is learned.
        journal: the file in which asks and tells are kept, and from which an earlier search is resumed.

    Raises:
        InvalidInput: the space or an option is invalid, or the journal is of another search.

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
        acquisition_for(acquisition, 0)  # raises if there is no acquisition of this name
        if seed < 0:
            raise InvalidInput(f"the seed must be 0 or more, not {seed}")
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
        """Return the next trial to evaluate.

        Raises:
            SpaceExhausted: every point of a finite space has been tried.
            StorageFailed: the journal cannot be written; no trial was handed out.
        """
        with self._asking:
            with self._state:
                history = self._history
                if history.again:
                    return history.trials[history.again.pop(0)]
                if (place := history.next_initial()) is not None:
                    return history.begin_initial(place)
                # one snapshot: trials that end while the surrogate is fitted still count as running for it
                told, trials, taken = history.told, tuple(history.trials), frozenset(history.tried)
            rng = np.random.default_rng([self._seed, len(trials)])
            begun = sum(trial.row is not None for trial in trials)
            lesson = self._learned(told, trials) if begun >= self._warmup else None
            if lesson is None:
                row = something_new(self.space, taken, rng)
            else:
                from streamb.hpo.gp.modelling import suggest

                acquisition = acquisition_for(self._acquisition, len(trials))
                with one_thread():
                    row = suggest(self.space, trials, taken, acquisition, lesson, rng)
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
        """Record the result of a trial.

        Args:
            trial_id: `Trial.id` of a trial that is running.
            value: the objective's value; the trial counts as failed if it is NaN, infinite or not a number.
            failed: whether the trial ended without a value.
            variance: the variance of the value, if known: the squared standard error of a mean over folds.
            constraints: the values of the constraints by name; the point is feasible where all are at most 0.

        Raises:
            NotFound: there is no such trial. Conflict: it already has a result.
            StorageFailed: the journal cannot be written.
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
        """All trials, in the order in which they were asked for."""
        with self._state:
            return tuple(self._history.trials)

    @property
    def best(self) -> Best | None:
        """The best feasible trial, under noise the one with the best expected value; None while there is none."""
        done = [t for t in self.trials if t.status is Status.COMPLETE and t.feasible and t.value is not None]
        if not done:
            return None
        sign = -1.0 if self.direction == "maximize" else 1.0
        estimates = {} if self._deterministic or len(done) < self._warmup else self._estimates()
        trial = min(done, key=lambda t: sign * estimates.get(t.id, t.value or 0.0))
        return Best(trial, float(trial.value or 0.0), estimates.get(trial.id, float(trial.value or 0.0)))

    def close(self) -> None:
        """Close the journal, so that another process may open it."""
        self._history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- choosing -------------------------------------------------------------------------------------------------

    def _learned(self, told: int, trials: tuple[Trial, ...]) -> Lesson | None:
        from streamb.hpo.gp.modelling import learn

        with self._state:
            if self._lesson[0] == told:
                return self._lesson[1]
            theta, fitted_to = self._history.theta, self._history.fitted_to
        begin = None if theta is None else np.array(theta)
        with one_thread():
            lesson = learn(
                self.space,
                trials,
                begin,
                maximize=self.direction == "maximize",
                deterministic=self._deterministic,
                refit=fitted_to != told,
            )
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
