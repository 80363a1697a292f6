"""Runs a study: the search, then the best trial again on other folds, then the result; resumes an interrupted study.

The folder of a study holds `journal.jsonl` (the optimizer's asks and tells) and `finished.jsonl` (the results of
trials). A study that is started again on its folder takes over all finished trials, hands out again those that were
running, and counts the time that was spent before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamb.clock import Clock
from streamb.errors import DeadlineExceeded, StorageFailed
from streamb.hpo.optimizer import Optimizer
from streamb.hpo.presets import OptimizationConfig
from streamb.hpo.space import Space
from streamb.hpo.study.evaluation import VALIDATION, Evaluator, Task
from streamb.hpo.study.executing import Executor, InProcess
from streamb.hpo.study.pool import ProcessPool
from streamb.hpo.study.records import FINISHED_FILE, JOURNAL_FILE, Records
from streamb.hpo.study.search import Again, Limits, Search
from streamb.hpo.study.study import (
    Direction,
    Improvement,
    NoTrialSucceeded,
    OptimizationResult,
    Progress,
    Rescore,
    StoppedBy,
    StudyView,
    TrialResult,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to run a study.

    Attributes:
        name: the study's name for people.
        space: the search space.
        objective: the name of the score.
        direction: "maximize" or "minimize".
        evaluator: evaluates one trial.
        config: the study's settings.
        defaults: the model's own parameters, which become the first trial; None if there are none.
        identity: what identifies the study, as JSON values: the folder of another study is rejected.
        validates: whether the evaluator has validation data, on which the best trial is scored at the end.
        watchers: objects that are notified of the progress.
        began_at: monotonic time in seconds when the caller began to prepare the study; None: now.
    """

    name: str
    space: Space
    objective: str
    direction: Direction
    evaluator: Evaluator
    config: OptimizationConfig
    defaults: Mapping[str, Any] | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    validates: bool = False
    watchers: Sequence[Progress] = ()
    began_at: float | None = None


def local_executor(evaluator: Evaluator, config: OptimizationConfig, clock: Clock, *, separate: bool) -> Executor:
    """Return an executor in this process or in workers on this machine, depending on the settings.

    Args:
        evaluator: evaluates one trial.
        config: "processes" means the wanted number of workers at once, or one per CPU; "auto" starts with one and adds
            the others when trials are long.
        clock: measures the time limits.
        separate: whether "auto" evaluates in other processes.
    """
    if config.executor == "sequential" or (config.executor != "processes" and not separate):
        return InProcess(evaluator, clock)
    workers = config.max_concurrent_trials or min(cpus(), config.n_trials)
    return ProcessPool(evaluator, workers, clock, grow=config.executor == "auto" and not config.max_concurrent_trials)


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Study:
    """Runs a plan with an executor.

    Args:
        plan: the study to run.
        make_executor: makes the executor from the evaluator; called once, at the start of `run`.
        clock: measures deadlines.
    """

    def __init__(self, plan: Plan, make_executor: Callable[[Evaluator], Executor], clock: Clock) -> None:
        self._plan, self._make_executor, self._clock = plan, make_executor, clock
        self._search: Search | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the study now, with the results so far; may be called from any thread."""
        self._stopped = True
        if self._search is not None:
            self._search.stop()

    def run(self) -> OptimizationResult:
        """Search, score the best trial again, and return the result.

        Ctrl-C ends it with the results so far; if there are none, `KeyboardInterrupt` is raised.

        Raises:
            NoTrialSucceeded: all trials failed (the message gives the first reason), or the study was stopped before
                any had ended.
            DeadlineExceeded: the deadline passed before any trial had ended.
            InvalidInput: the folder holds another study. AlreadyRunning: another process works on it.
        """
        plan, config = self._plan, self._plan.config
        began_at = self._clock.monotonic() if plan.began_at is None else plan.began_at
        with ExitStack() as stack:
            executor = self._make_executor(plan.evaluator)
            stack.callback(executor.close)
            folder = _folder(config.folder)
            optimizer = stack.enter_context(self._optimizer(folder))
            records = None if folder is None else Records(folder / FINISHED_FILE, plan.identity)
            if records is not None:
                stack.callback(records.close)
                began_at -= _spent(records)
            search = Search(
                optimizer,
                self._limits(began_at, executor),
                self._clock,
                prune=config.scheduler == "asha",
                records=records,
                watchers=plan.watchers,
                began_at=began_at,
            )
            self._search = search
            if self._stopped:
                search.stop()
            self._began(search, executor, folder)
            try:
                executor.run(search)
            except KeyboardInterrupt:
                search.stop()
                if search.leader() is None:
                    raise
            search.stopped_by = StoppedBy.USER if search.stop_requested else search.stopped_by or search.reason()
            result = self._result(search, executor, began_at)
        for watcher in plan.watchers:
            watcher.ended(result)
        return result

    # --- before ---------------------------------------------------------------------------------------------------

    def _optimizer(self, folder: Path | None) -> Optimizer:
        plan, config = self._plan, self._plan.config
        return Optimizer(
            plan.space,
            direction=plan.direction,
            seed=config.seed,
            acquisition=config.acquisition,
            initial=[dict(plan.defaults)] if plan.defaults else [],
            deterministic=config.deterministic,
            journal=None if folder is None else folder / JOURNAL_FILE,
        )

    def _limits(self, began_at: float, executor: Executor) -> Limits:
        config = self._plan.config
        again = config.rescore_repeats * (1 if self._plan.defaults is None else 2) if self._repeats else 0
        return Limits(
            n_trials=config.n_trials,
            ends_at=None if config.deadline_s is None else began_at + config.deadline_s,
            trial_s=config.trial_timeout_s,
            later=again + self._plan.validates,
            workers=executor.workers,
        )

    @property
    def _repeats(self) -> int:
        return self._plan.config.rescore_repeats if self._plan.evaluator.repeatable else 0

    def _began(self, search: Search, executor: Executor, folder: Path | None) -> None:
        plan = self._plan
        view = StudyView(
            name=plan.name,
            objective=plan.objective,
            direction=plan.direction,
            parameters=(*plan.space.names, *(fixed.name for fixed in plan.space.fixed)),
            n_trials=plan.config.n_trials,
            folds=plan.evaluator.folds,
            deadline_s=plan.config.deadline_s,
            workers=executor.workers,
            executor=executor.name,
            seed=plan.config.seed,
            folder=None if folder is None else str(folder),
            finished=search.results,
        )
        for watcher in plan.watchers:
            watcher.began(view)

    # --- after ----------------------------------------------------------------------------------------------------

    def _result(self, search: Search, executor: Executor, began_at: float) -> OptimizationResult:
        plan = self._plan
        first = search.results[:1]
        has_default = plan.defaults is not None or any(p.default is not None for p in plan.space.searched)
        default = first[0] if has_default and first and first[0].number == 0 else None
        best = search.winner(default)
        if best is None or best.score is None:
            raise _nothing(search)
        score = None if default is None else default.score
        rescored, validation = self._again(search, executor, best, default)
        return OptimizationResult(
            best_parameters=dict(best.parameters),
            best_score=best.score,
            improvements=Improvement.of(best.score, score, plan.direction),
            rescored=rescored,
            trials=search.results,
            direction=plan.direction,
            objective=plan.objective,
            stopped_by=search.stopped_by or StoppedBy.TRIALS,
            seconds=self._clock.monotonic() - began_at,
            seed=plan.config.seed,
            best_number=best.number,
            validation_score=validation,
        )

    def _again(
        self, search: Search, executor: Executor, best: TrialResult, default: TrialResult | None
    ) -> tuple[Rescore | None, float | None]:
        """Score the best trial and the defaults on other folds and on the validation data, while there is time."""
        if search.stopped_by is StoppedBy.USER:
            return None, None
        tasks = [Task(best.number, best.parameters, repeat=VALIDATION)] if self._plan.validates else []
        for repeat in range(1, self._repeats + 1):
            tasks.append(Task(best.number, best.parameters, repeat=repeat))
            if default is not None and default.number != best.number and default.score is not None:
                tasks.append(Task(default.number, default.parameters, repeat=repeat))
        again = Again(tasks, search, self._clock)
        try:
            executor.run(again)
        except KeyboardInterrupt:
            search.stop()
        if search.stop_requested:
            search.stopped_by = StoppedBy.USER
        scores = again.scores(best.number)
        validation = again.found.get((best.number, VALIDATION))
        if not scores or best.score is None:
            return None, validation
        other = list(scores.values()) if default is best else []
        if default is not None and default is not best:
            theirs = again.scores(default.number)
            other = [theirs[repeat] for repeat in scores if repeat in theirs]
        default_mean = sum(other) / len(other) if other else None
        return Rescore.of(best.score, list(scores.values()), self._plan.direction, default_mean), validation


def _nothing(search: Search) -> NoTrialSucceeded | DeadlineExceeded:
    results = search.results
    ended = [result for result in results if result.number not in search.unfinished]
    if not ended and search.stopped_by is StoppedBy.USER:
        return NoTrialSucceeded("the search was stopped before any trial had ended; there is nothing to show")
    if not ended and search.stopped_by is StoppedBy.DEADLINE:
        return DeadlineExceeded(
            "the deadline passed before any trial had ended; give the search more time, fewer folds or less data"
        )
    first = next((result for result in results if result.error), None)
    reason = "no trial had a score" if first is None else first.error
    told = {} if first is None else {str(name): str(value) for name, value in first.parameters.items()}
    return NoTrialSucceeded(
        f"none of {len(results)} trials has a score; the first one failed with: {reason}", parameters=told
    )


def _folder(folder: Path | str | None) -> Path | None:
    if folder is None:
        return None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"the study's folder {path} cannot be created: {error}") from error
    return path


def _spent(records: Records) -> float:
    """Seconds that earlier runs of the study took, as far as the trials show."""
    return max((kept.result.started_at + kept.result.seconds for kept in records.kept), default=0.0)
