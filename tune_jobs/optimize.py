"""The search job: a CSV file in, the best hyperparameters of a model out, and its best version registered.

    python -m tune_jobs.optimize --csv data.csv --target label --model random_forest --preset fast
    streamb tune run data.csv --target label --model random_forest --preset fast
    ray job submit --working-dir . -- python -m tune_jobs.optimize --csv … --model-id churn --version 1.1.0

The study is kept in `studies/ID` of the state directory: `--resume ID` continues one that was stopped or died, and no
finished trial is evaluated again. The search uses only a part of the rows; the others score its best model once.
Exit code 0: done; 1: it failed, or was stopped before it was done; 2: an argument is wrong.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from streamb.clock import Clock
from streamb.hpo import Space
from streamb.hpo.reporting import LogLines, TensorBoardLog, progress_for, report_of, write_csv
from streamb.hpo.reporting.progress import LiveTable
from streamb.hpo.study.folder import State, StudyFolder
from streamb.hpo.study.study import OptimizationResult, StoppedBy, plain_parameters
from streamb.hpo.study.training import build_model, random_parameters
from streamb.models import Model
from streamb.sdk.job_options import SearchOptions
from tune_jobs.arguments import run_job
from tune_jobs.optimize_plan import Plan, about, config_of, prepare
from tune_jobs.platform import EXAMPLE_ROWS, deliver, provenance, write_artifact
from tune_jobs.progress import Progress
from tune_jobs.scoring import row_counts, score
from tune_jobs.searchable import own_names

MODULE: Final = "tune_jobs.optimize"
_LOOK_S: Final = 0.25


def main(argv: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Run the job; return the exit code."""
    about = "Search the hyperparameters of a model."
    return run_job(run, SearchOptions, argv, clock, program=f"python -m {MODULE}", description=about)


def run(args: SearchOptions, progress: Progress) -> int:
    """Read the data, search, deliver the best model; return the exit code.

    Raises:
        WrongArgument: an argument does not fit the data.
        StreambError: anything else that went wrong.
    """
    plan = prepare(args, progress)
    study, clock = plan.study, progress.clock
    with study.working(), _interrupted_by(signal.SIGTERM):
        _begin(plan, clock)
        try:
            result = search(plan, progress)
            study.keep_result(result)
            if result.stopped_by is not StoppedBy.USER:
                _describe(plan, result, progress)
                deliver_best(plan, result, progress)
                study.mark(State.COMPLETED, f"stopped by {result.stopped_by.value}")
                return 0
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            study.mark(State.STOPPED if study.stop_requested else State.FAILED, str(error))
            raise
        study.mark(State.STOPPED, "by its user")
    progress.say(f"stopped as requested; `streamb tune resume {study.study_id}` continues it")
    return 1


def _begin(plan: Plan, clock: Clock) -> None:
    if plan.goes_on:
        plan.study.amend(**about(plan))
    else:
        plan.study.create({**about(plan), "created_at": clock.now()})
    plan.study.reopen()
    plan.study.mark(State.RUNNING)


def search(plan: Plan, progress: Progress) -> OptimizationResult:
    """Run the trials; their progress goes to the study's folder and to the output of this process."""
    from streamb import HyperparameterOptimizer

    watchers: list[Any] = [progress_for(sys.stdout, progress.clock) if sys.stdout.isatty() else LogLines(progress.say)]
    if plan.args.tensorboard:
        watchers.append(TensorBoardLog(plan.study.path / "tensorboard"))
    training = plan.rows.training
    progress.say(f"study {plan.study.study_id}: searching {plan.args.model} on {len(training)} rows")
    optimizer = HyperparameterOptimizer(config_of(plan), clock=progress.clock)
    try:
        with _stopped_by(plan.study, optimizer.stop):
            return optimizer.optimize_model(
                model=plan.pipeline,
                training_data=(plan.table.frame.iloc[training], plan.table.target[training]),
                search_space=plan.searchable.space_of_pipeline(),
                objective=plan.objective,
                groups=None if plan.rows.groups is None else plan.rows.groups[training],
                progress=watchers,
                name=plan.study.study_id,
            )
    finally:
        for watcher in watchers:
            if isinstance(watcher, LiveTable | TensorBoardLog):
                watcher.close()


def deliver_best(plan: Plan, result: OptimizationResult, progress: Progress) -> None:
    """Train the best parameters on the search's rows, score them on the others, and register or write the model."""
    args, table, rows = plan.args, plan.table, plan.rows
    chosen = {**random_parameters(plan.pipeline, args.seed), **result.best_parameters}
    pipeline = build_model(plan.pipeline, chosen)
    with warnings.catch_warnings(action="ignore"):  # every trial has shown them already
        pipeline.fit(table.frame.iloc[rows.training], table.target[rows.training])
        scores = score(pipeline, table, rows.testing, progress)
    told = _report(plan, result, scores)
    if args.model_id is None and args.output is None:
        progress.say("nothing is registered: no --model-id was given")
        return
    model = Model.wrap(pipeline, schema=table.schema, name=args.name or args.model_id or args.model)
    if args.output is not None:
        write_artifact(args.output, model, told, progress)
    if args.model_id is not None and args.version is not None:
        deliver(args, model, table.frame.head(EXAMPLE_ROWS), told, progress)


def _describe(plan: Plan, result: OptimizationResult, progress: Progress) -> None:
    """Write files for people beside the study."""
    space = Space.of(plan.searchable.space_of_pipeline())
    write_csv(result.trials, plan.study.path / "trials.csv")
    page = report_of(result, title=f"{plan.args.model}: {plan.study.study_id}", space=space)
    (plan.study.path / "report.html").write_text(page, encoding="utf-8")
    progress.say(f"report: {plan.study.path / 'report.html'}")


def _report(plan: Plan, result: OptimizationResult, scores: dict[str, float]) -> dict[str, Any]:
    """The record of the version: scores, parameters, and provenance."""
    rows = plan.rows
    searched = {f"cv_{plan.objective}": result.best_score, "trials": float(len(result.trials))}
    if result.rescored is not None:
        searched[f"cv_{plan.objective}_again"] = result.rescored.mean
    return provenance(
        plan.args,
        plan.table,
        by=MODULE,
        metrics={**scores, **searched, **row_counts(rows.training, rows.testing)},
        hyperparameters=plain_parameters(own_names(result.best_parameters)),
        estimator=plan.args.model,
        study=plan.study.study_id,
    )


@contextmanager
def _stopped_by(study: StudyFolder, stop: Callable[[], None]) -> Iterator[None]:
    """Stop the search once a stop of the study is requested."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            if study.stop_requested:
                stop()
                return

    watcher = threading.Thread(target=look, name="stop requests", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _interrupted_by(number: signal.Signals) -> Iterator[None]:
    """Treat a signal like Ctrl-C, so that the study ends in order. Only the main thread can handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


if __name__ == "__main__":
    sys.exit(main())
