"""The plan of a search job: data, model, search space, study and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamb.config import load_settings
from streamb.hpo import Space
from streamb.hpo.presets import OptimizationConfig, preset
from streamb.hpo.study.files import describe
from streamb.hpo.study.folder import Studies, StudyFolder
from streamb.sdk.job_options import ON_RESUME, SearchOptions
from tune_jobs import pipelines
from tune_jobs.arguments import WrongArgument, validated
from tune_jobs.platform import JobSurroundings
from tune_jobs.progress import Progress
from tune_jobs.searchable import STEP, Searchable, find_searchable
from tune_jobs.searched_rows import Rows, rows_to_search
from tune_jobs.table import Table, table_of

_OBJECTIVES: Final = {"classification": "accuracy", "regression": "r2"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is fixed before the first trial; `goes_on` is true for a study that is resumed."""

    args: SearchOptions
    study: StudyFolder
    table: Table
    rows: Rows
    searchable: Searchable
    pipeline: Any
    objective: str
    goes_on: bool


def prepare(args: SearchOptions, progress: Progress) -> Plan:
    """Read the data, and find the model, its search space, and the study to resume, if any."""
    studies = Studies(load_settings(state_dir=args.state_dir).state_dir)
    known: dict[str, Any] | None = None
    if args.resume is not None:
        known = studies.get(args.resume).about()
        args = going_on(args, known["arguments"])
    table, rows = rows_to_search(table_of(args, progress), args.group, args.order_by, args.test_share, args.seed)
    if known is not None and known["data_digest"] != table.digest:
        raise WrongArgument.of("resume", args.study, f"{args.csv} has changed since; scores would not be comparable")
    searchable = find_searchable(args.model, table.task, args.space)
    objective = args.objective if args.objective != "auto" else _OBJECTIVES[table.task]
    study = studies.get(args.study or studies.new_id(args.model.rpartition(":")[2], progress.clock))
    return Plan(
        args, study, table, rows, searchable, _pipeline(table, searchable), objective, goes_on=known is not None
    )


def going_on(args: SearchOptions, remembered: Mapping[str, Any]) -> SearchOptions:
    """Return the options of a study that is resumed: its own, overridden by those given now.

    Raises:
        WrongArgument: the combination is not allowed, such as an output folder that exists by now.
    """
    said = args.model_fields_set & {*ON_RESUME, "state_dir", "url"}
    return validated(
        SearchOptions, {**remembered, "study": args.resume, **{name: getattr(args, name) for name in said}}
    )


def config_of(plan: Plan) -> OptimizationConfig:
    """Return the preset, overridden by the given options."""
    args = plan.args
    told: dict[str, Any] = {
        "n_trials": args.trials,
        "folds": args.folds,
        "deadline_s": args.deadline_s,
        "max_concurrent_trials": args.workers,
        "splitting": plan.rows.splitting,
    }
    given = {name: value for name, value in told.items() if value is not None}
    return preset(
        args.preset,
        seed=args.seed,
        acquisition=args.acquisition,
        executor=args.executor,
        address=JobSurroundings().ray_address,
        folder=plan.study.path,
        **given,
    )


def about(plan: Plan) -> dict[str, Any]:
    """Return the description that is kept in the study's folder."""
    args, config = plan.args, config_of(plan)
    return {
        "arguments": args.remembered(),
        "model": args.model,
        "data": str(args.csv),
        "data_digest": plan.table.digest,
        "target": args.target,
        "task": plan.table.task,
        "objective": plan.objective,
        "direction": "maximize",
        "preset": args.preset,
        "n_trials": config.n_trials,
        "folds": config.folds,
        "deadline_s": config.deadline_s,
        "seed": args.seed,
        "job_id": JobSurroundings().any_job_id,
        "space": describe(Space.of(plan.searchable.space_of_pipeline())),
    }


def _pipeline(table: Table, searchable: Searchable) -> Any:
    from sklearn.pipeline import Pipeline

    return Pipeline(
        [("columns", pipelines.prepared_columns(table, dense=searchable.dense)), (STEP, searchable.estimator)]
    )
