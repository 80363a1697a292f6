"""`streamb tune`: search for hyperparameters, and read the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.command import command
from streamb.cli.options import AsJson, FieldsOf, Limit, StateDir, Where
from streamb.cli.output import Answer, Columns, Facts, Table, at, listing, say
from streamb.cli.tune_job import SearchJob, run_here, submit
from streamb.config import load_settings
from streamb.errors import Conflict, InvalidInput
from streamb.hpo.reporting.progress import shared_prefix, show_all, without_prefix
from streamb.hpo.study.folder import State, Studies, StudyFolder
from streamb.hpo.study.study import best_first, best_of
from streamb.sdk.job_options import ON_RESUME, SearchOptions

commands = typer.Typer(no_args_is_help=True, help="Search for good hyperparameters.")

StudyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the study.")]
_NOT_HERE: Final = {"csv", "resume", "url", "state_dir"}
_ALL: Final = tuple(name for name in SearchOptions.model_fields if name not in _NOT_HERE)
Submit = Annotated[bool, typer.Option("--submit", help="Run it as a job on the platform's cluster.")]


@command(commands, "run")
def run(
    where: Where,
    csv: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE.csv", help="The data.")],
    told: Annotated[dict[str, Any], FieldsOf(SearchOptions, _ALL)],
    on_platform: Submit = False,
    as_json: AsJson = False,
) -> Answer:
    """Search for good hyperparameters: streamb tune run data.csv --target y --model svm."""
    options = {"csv": csv, **told}
    if on_platform:
        return submit(SearchJob(options, where))
    studies = _studies(where.state_dir)
    study = told.get("study")
    if study is not None and (studies.get(study).path / "study.json").exists():
        raise Conflict(f"study {study!r} exists already; resume it, or choose another name")
    model = told.get("model", SearchOptions.model_fields["model"].default)
    chosen = study or studies.new_id(model.rpartition(":")[2])
    return _run_here(SearchJob({**options, "study": chosen}, where), chosen, as_json=as_json)


@command(commands, "list")
def list_studies(limit: Limit = 20, state_dir: StateDir = None) -> Answer:
    """List studies, newest first."""
    columns: Columns = {
        "study": "id",
        "state": "state",
        "model": "model",
        "objective": "objective",
        "trials": lambda study: f"{study['trials']}/{study['planned']}",
        "best": "best_score",
        "began": at("created_at"),
    }
    found = [study.row() for study in _studies(state_dir).all()[:limit]]
    return listing(found, columns, empty="there are no studies yet; streamb tune run FILE.csv --target COLUMN")


@command(commands, "show")
def show(study_id: StudyId, limit: Limit = 10, state_dir: StateDir = None) -> Answer:
    """Show one study: progress, best parameters, best trials."""
    study = _studies(state_dir).get(study_id)
    about, row, trials, result = study.about(), study.row(), study.trials(), study.result()
    prefix = shared_prefix(about.get("space") or ())
    shown = {trial.number: show_all(without_prefix(prefix, trial.parameters)) for trial in trials}
    facts = {
        **{name: row[name] for name in ("id", "state", "reason", "model", "data", "objective")},
        "trials": f"{row['trials']} of {row['planned']}",
        **_worth(row, result),
        "best parameters": shown.get(row["best_number"]),
        "folder": study.path,
    }
    columns: Columns = {
        "trial": "number",
        row["objective"]: "score",
        "status": "status",
        "s": lambda trial: round(trial["seconds"], 2),
        "parameters": lambda trial: shown[trial["number"]],
        "error": "error",
    }
    ordered = [trial.to_json() for trial in best_first(trials, about["direction"])]
    told = {key: value for key, value in (result or {}).items() if key != "trials"}
    value = {**row, "study": about, "result": told or None, "trials": [trial.to_json() for trial in trials]}
    return Answer(value, Facts(facts), "", Table(columns, ordered[:limit], empty="no trial has finished yet"))


@command(commands, "stop")
def stop(study_id: StudyId, state_dir: StateDir = None) -> Answer:
    """Stop a running study within a second. `streamb tune resume` continues it."""
    study = _studies(state_dir).get(study_id)
    study.request_stop()
    return Answer(study.row(), f"{study_id} is stopping; to continue it: streamb tune resume {study_id}")


@command(commands, "resume")
def resume(
    where: Where,
    study_id: StudyId,
    told: Annotated[dict[str, Any], FieldsOf(SearchOptions, ON_RESUME)],
    on_platform: Submit = False,
    as_json: AsJson = False,
) -> Answer:
    """Continue a study that was stopped or that died. Finished trials are kept."""
    study = _studies(where.state_dir).get(study_id)
    study.about()
    state, _ = study.state()
    if state is State.RUNNING:
        raise Conflict(f"study {study_id!r} is still running; stop it first: streamb tune stop {study_id}")
    job = SearchJob({"resume": study_id, **told}, where)
    return submit(job) if on_platform else _run_here(job, study_id, as_json=as_json)


@command(commands, "report")
def report(
    study_id: StudyId,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report to this HTML file.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the trials to this CSV file.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the charts as PNG. Needs matplotlib.")] = None,
    state_dir: StateDir = None,
) -> Answer:
    """Show which parameters mattered, and write the report to files."""
    study = _studies(state_dir).get(study_id)
    written, effects = _report(study, html, csv, png)
    for path in written:
        say(f"wrote {path}")
    columns: Columns = {
        "parameter": lambda effect: " with ".join(effect["names"]),
        "importance": lambda effect: f"{100 * effect['share']:.1f} %",
        "±": lambda effect: f"{100 * effect['spread']:.1f}",
    }
    table = Table(columns, effects, empty="too few trials with different scores to compute the importance")
    return Answer({"id": study_id, "importance": effects, "files": [str(path) for path in written]}, table)


def _report(
    study: StudyFolder, html: Path | None, csv: Path | None, png: Path | None
) -> tuple[list[Path], list[dict[str, Any]]]:
    from streamb.hpo.reporting import PICTURES, Board, report_page, write_csv, write_png
    from streamb.hpo.study.files import read_described

    about, row, trials = study.about(), study.row(), study.trials()
    board = Board.of(
        trials,
        objective=about["objective"],
        direction=about["direction"],
        space=read_described(about.get("space")),
        best_number=row["best_number"],
        seed=about.get("seed", 0),
    )
    written = []
    try:
        if html is not None:
            facts = {"model": row["model"], "data": row["data"], "state": row["state"], **_worth(row, study.result())}
            html.write_text(report_page(board, title=study.study_id, facts=facts), encoding="utf-8")
            written.append(html)
        if csv is not None:
            write_csv(trials, csv)
            written.append(csv)
        if png is not None:
            png.mkdir(parents=True, exist_ok=True)
            for picture in PICTURES:
                try:
                    write_png(board, picture, png / f"{picture}.png")
                except InvalidInput as error:  # there is too little to draw this one from
                    say(error.message)
                else:
                    written.append(png / f"{picture}.png")
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be written: {error.strerror}") from error
    return written, board.importance.to_json()


def _worth(row: dict[str, Any], result: dict[str, Any] | None) -> dict[str, Any]:
    """Return the best score, its gain over the defaults, and its score on other folds."""
    facts: dict[str, Any] = {"best": row["best_score"]}
    if result is not None:
        gained, again = result["improvements"], result["rescored"]
        relative = gained["relative_improvement"]
        facts["defaults"] = gained["default_score"]
        facts["improvement"] = None if relative is None else f"{relative:+.2f} %"
        facts["on other folds"] = None if again is None else f"{again['mean']:g} ± {again['sd']:.2g}"
        facts["stopped by"] = result["stopped_by"]
    return facts


def _run_here(job: SearchJob, study_id: str, *, as_json: bool) -> Answer:
    code = run_here(job, quiet=as_json)
    if not as_json:
        if code == 0:
            say(f"streamb tune show {study_id}; streamb tune report {study_id} --html {study_id}.html")
        return Answer(None, exit_code=code)
    study = _studies(job.where.state_dir).get(study_id)
    if not (study.path / "study.json").exists():
        raise typer.Exit(code)
    best = best_of(study.trials(), study.about()["direction"])
    return Answer({**study.row(), "best_parameters": best.to_json()["parameters"] if best else None}, exit_code=code)


def _studies(state_dir: Path | None) -> Studies:
    return Studies(load_settings(state_dir=state_dir).state_dir)
