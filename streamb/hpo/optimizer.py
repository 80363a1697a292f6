"""Ask and tell: the optimizer hands out trials one by one, hears what came of them, and learns.

Everything follows from the space, the seed and what was asked and told in which order. With a journal, that order
is on disk before `ask` and `tell` return, and an optimizer opened on it later goes on as if nothing had happened;
trials that were handed out and never told are handed out again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np

from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.hpo.drawing import something_new
from streamb.hpo.journal import Asked, Journal, Opened, Told
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space
from streamb.hpo.threads import one_thread
from streamb.hpo.trial import Best, Status, Trial, is_number

if TYPE_CHECKING:
    from streamb.hpo.modelling import Lesson, Settings

ACQUISITIONS: Final = ("auto", "ei", "pi", "ucb")
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
        acquisition: "auto", "ei", "pi" or "ucb".
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
        if acquisition not in ACQUISITIONS:
            raise InvalidInput(f"acquisition {acquisition!r} is not known; use one of {', '.join(ACQUISITIONS)}")
        if seed < 0:
            raise InvalidInput(f"the seed must not be negative, as {seed} is")
        self.space = Space.of(space)
        self.direction = direction
        self._seed, self._acquisition, self._warmup = seed, acquisition, max(1, warmup)
        self._deterministic = deterministic
        defaults = [self.space.defaults()] if any(p.default is not None for p in self.space.searched) else []
        self._initial = [dict(point) for point in initial] or defaults
        self._initial_keys = [self._key(point, self._row_of(point)) for point in self._initial]
        self._trials: list[Trial] = []
        self._tried: set[object] = set()
        self._theta: tuple[float, ...] | None = None
        self._fitted_after = -1
        self._told = 0
        self._lesson: tuple[int, Lesson | None] = (-1, None)
        self._again: list[int] = []
        self._state, self._asking = threading.RLock(), threading.RLock()
        self._journal = Journal(journal) if journal is not None else None
        if self._journal is not None:
            self._replay(self._journal)

    # --- the user's side ------------------------------------------------------------------------------------------

    def ask(self) -> Trial:
        """The next trial to evaluate.

        Raises:
            SpaceExhausted: every point of a finite space has been tried.
            StorageFailed: the journal cannot be written; nothing was handed out.
        """
        with self._asking:
            with self._state:
                if self._again:
                    return self._trials[self._again.pop(0)]
                number, begun = len(self._trials), sum(trial.row is not None for trial in self._trials)
                place = self._next_initial()
            if place is not None:
                return self._hand_out(self._row_of(self._initial[place]), place, None)
            rng = np.random.default_rng([self._seed, number])
            lesson = self._learned() if begun >= self._warmup else None
            if lesson is None:
                return self._hand_out(self._random(rng), None, None)
            return self._hand_out(self._modelled(lesson, rng), None, lesson.theta)

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
            self._check_running(trial_id)
            if self._journal is not None:
                self._journal.append(told)
            self._apply(told)

    def record(self, parameters: Mapping[str, Any], value: float | None, *, variance: float | None = None) -> Trial:
        """Add a trial that was evaluated elsewhere, as if it had been asked and told here."""
        with self._asking:
            trial = self._hand_out(self._row_of(parameters), None, None, parameters)
            self.tell(trial.id, value, variance=variance)
            return self.trials[trial.id]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of asking."""
        with self._state:
            return tuple(self._trials)

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
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- choosing -------------------------------------------------------------------------------------------------

    def _next_initial(self) -> int | None:
        return next((place for place, key in enumerate(self._initial_keys) if key not in self._tried), None)

    def _key(self, parameters: Mapping[str, Any], row: tuple[float, ...] | None) -> object:
        return repr(sorted(parameters.items())) if row is None else self.space.key(np.array(row))

    def _row_of(self, parameters: Mapping[str, Any]) -> tuple[float, ...] | None:
        if not self.space.contains(parameters):
            return None
        return tuple(self.space.snap(self.space.encode(parameters)[None, :])[0].tolist())

    def _random(self, rng: np.random.Generator) -> tuple[float, ...]:
        return tuple(something_new(self.space, self._taken(), rng).tolist())

    def _modelled(self, lesson: Lesson, rng: np.random.Generator) -> tuple[float, ...]:
        from streamb.hpo.modelling import suggest

        with one_thread():
            return tuple(suggest(self.space, self.trials, self._taken(), self._settings(), lesson, rng).tolist())

    def _taken(self) -> frozenset[object]:
        with self._state:
            return frozenset(self._tried)

    def _settings(self) -> Settings:
        from streamb.hpo.modelling import Settings

        return Settings(self._acquisition, self._deterministic, self.direction == "maximize")

    def _learned(self) -> Lesson | None:
        from streamb.hpo.modelling import learn

        with self._state:
            told, trials, theta, fitted_after = self._told, tuple(self._trials), self._theta, self._fitted_after
            if self._lesson[0] == told:
                return self._lesson[1]
        begin = None if theta is None else np.array(theta)
        with one_thread():
            lesson = learn(self.space, trials, self._settings(), begin, refit=fitted_after != told)
        with self._state:
            self._lesson = (told, lesson)
        return lesson

    def _estimates(self) -> dict[int, float]:
        lesson = self._learned()
        if lesson is None:
            return {}
        sign = -1.0 if self.direction == "maximize" else 1.0
        means = zip(lesson.trials, lesson.means, strict=True)
        return {trial.id: sign * lesson.warping.invert(float(mean)) for trial, mean in means}

    # --- what happened --------------------------------------------------------------------------------------------

    def _hand_out(
        self,
        row: tuple[float, ...] | None,
        initial: int | None,
        theta: Array | None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Trial:
        with self._state:
            asked = Asked(
                id=len(self._trials),
                row=row,
                initial=initial,
                theta=None if theta is None else tuple(theta.tolist()),
                parameters={},
            )
            trial = self._trial(asked, parameters)
            if self._journal is not None:
                self._journal.append(replace(asked, parameters={k: repr(v) for k, v in trial.parameters.items()}))
            self._apply_asked(asked, trial)
            return trial

    def _trial(self, asked: Asked, parameters: Mapping[str, Any] | None) -> Trial:
        if asked.row is not None:
            return Trial(asked.id, self.space.decode(np.array(asked.row)), asked.row)
        outside = parameters if asked.initial is None else self._initial[asked.initial]
        return Trial(asked.id, dict(outside or {}), None)

    def _apply_asked(self, asked: Asked, trial: Trial) -> None:
        self._trials.append(trial)
        self._tried.add(self._key(trial.parameters, trial.row))
        if asked.theta is not None:
            self._theta, self._fitted_after = asked.theta, self._told

    def _apply(self, told: Told) -> None:
        self._trials[told.id] = replace(
            self._trials[told.id],
            status=Status(told.status),
            value=told.value,
            variance=told.variance,
            constraints=dict(told.constraints) if told.constraints else None,
        )
        self._told += 1
        self._again = [number for number in self._again if number != told.id]

    def _check_running(self, trial_id: int) -> None:
        if not 0 <= trial_id < len(self._trials):
            raise NotFound(f"there is no trial {trial_id}; {len(self._trials)} have been asked for")
        if self._trials[trial_id].status is not Status.RUNNING:
            raise Conflict(f"trial {trial_id} has been told before; a trial has one result")

    def _replay(self, journal: Journal) -> None:
        opened = Opened(self._seed, self.direction, self.space.digest())
        if not journal.entries:
            journal.append(opened)
            return
        if journal.entries[0] != opened:
            journal.close()
            raise InvalidInput(f"the journal {journal.path} is of another search: its space, seed or direction differs")
        for entry in journal.entries[1:]:
            if isinstance(entry, Asked):
                self._apply_asked(entry, self._trial(entry, None))
            elif isinstance(entry, Told):
                self._apply(entry)
        self._again = [trial.id for trial in self._trials if trial.status is Status.RUNNING]
