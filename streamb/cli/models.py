"""`streamb models`: the registry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from streamb.cli.command import command
from streamb.cli.options import Limit, Where, read_pairs
from streamb.cli.output import Answer, Columns, Facts, Table, at, listing
from streamb.cli.platform import running_versions
from streamb.cli.rows_file import read_example
from streamb.cli.signature import signature_facts, trial_words
from streamb.errors import InvalidInput
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Manage registered models and their versions.")

ModelId = Annotated[str, typer.Argument(metavar="ID", help="Id of the model.")]
Owner = Annotated[str | None, typer.Option(help="Only those of exactly this owner.")]

_VERSION_COLUMNS: Final[Columns] = {
    "version": "version",
    "stage": "stage",
    "framework": "framework",
    "task": "task",
    "metrics": "metrics",
    "trial": lambda version: trial_words(version["trial"]),
    "registered": at("created_at"),
    "digest": lambda version: version["digest"][:12],
}


@command(commands, "list")
def list_models(client: HttpClient, owner: Owner = None, limit: Limit = 100) -> Answer:
    """List the registered models."""
    columns = {
        "model": "model_id",
        "name": "name",
        "latest": "latest_version",
        "aliases": "aliases",
        "owner": "owner",
        "updated": at("updated_at"),
    }
    return listing(list(client.pages("/api/models", limit=limit, owner=owner)), columns, empty="no model is registered")


@command(commands, "show")
def show(client: HttpClient, model_id: ModelId, limit: Limit = 20) -> Answer:
    """Show one model, its newest versions, and the signature of the newest: what it takes and answers."""
    model = client.get(f"/api/models/{model_id}")
    versions = list(client.pages(f"/api/models/{model_id}/versions", limit=limit))
    facts = {name: model[name] for name in ("model_id", "name", "description", "owner", "aliases", "tags")}
    table = Table(_VERSION_COLUMNS, versions, empty="this model has no versions")
    signature = Facts(signature_facts(versions[0])) if versions else ""
    return Answer({**model, "versions": versions}, Facts(facts), "", table, "", signature)


@command(commands, "versions")
def versions(
    client: HttpClient,
    model_id: ModelId,
    owner: Owner = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="Only with this tag; repeatable.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME>=NUMBER", help="Only in this range. Also <=, >, <, =; repeatable.")
    ] = None,
    limit: Limit = 100,
) -> Answer:
    """List the versions of a model that match all filters, newest first."""
    path = f"/api/models/{model_id}/versions"
    found = list(client.pages(path, limit=limit, owner=owner, tag=tag, metric=metric))
    columns = {**_VERSION_COLUMNS, "owner": "owner", "tags": "tags"}
    return listing(found, columns, empty="no version matches")


@command(commands, "status")
def status(client: HttpClient, model_id: ModelId) -> Answer:
    """Show which versions of a model run, and its newest deployment."""
    found = client.get(f"/api/models/{model_id}/status")
    latest, leaving = found["deployment"], found["undeployment"]
    facts = {
        "model": model_id,
        "serves": found["serving_version"],
        "requests": found["requests"],
        "undeployed": f"{leaving['version']} stops, asked by {leaving['by']}" if leaving else None,
        "newest deployment": f"{latest['id']}: {latest['state']}, {latest['reason']}" if latest else None,
    }
    return Answer(found, Facts(facts), "", running_versions([found]))


@command(commands, "register")
def register(
    where: Where,
    model_id: ModelId,
    path: Annotated[Path, typer.Argument(exists=True, help="ONNX file, artifact folder, or packed artifact (.zip).")],
    version: Annotated[str, typer.Option("--version", help="Semantic version, such as 1.0.0; it is immutable.")],
    name: Annotated[str, typer.Option(help="Display name of the model.")] = "",
    description: Annotated[str, typer.Option(help="What the model is for.")] = "",
    owner: Annotated[str, typer.Option(help="Person or team responsible for the model.")] = "",
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help="A score; repeatable.")] = None,
    hyperparameter: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Repeatable.")] = None,
    example: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Rows that it must answer: .csv, .json or .jsonl; see docs/trial.md."
        ),
    ] = None,
    pip: Annotated[
        list[str] | None,
        typer.Option(metavar="REQUIREMENT", help="Install it for the replicas of this version alone; repeatable."),
    ] = None,
) -> Answer:
    """Register a version from a file or folder, after the platform has tried it."""
    metadata = {
        "version": version,
        "owner": owner,
        "metrics": _numbers(read_pairs(metric, "--metric")),
        "hyperparameters": read_pairs(hyperparameter, "--hyperparameter"),
        "model": {"name": name, "description": description, "owner": owner},
        "environment": {"pip": pip} if pip else None,
    }
    rows = None if example is None else read_example(example)
    with where.connect() as client, tempfile.TemporaryDirectory(prefix="streamb-") as scratch:
        archive = _archive_of(path, Path(scratch))
        made = client.upload(f"/api/models/{model_id}/versions", archive, metadata, example=rows)
    line = (
        f"registered {model_id} {made['version']} ({made['framework']}, digest {made['digest'][:12]}); "
        f"trial {trial_words(made['trial'])}"
    )
    return Answer(made, line)


@command(commands, "alias")
def alias(
    where: Where,
    model_id: ModelId,
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="Name of the alias, such as champion.")],
    version: Annotated[str | None, typer.Argument(help="The version that the alias will name.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the alias.")] = False,
) -> Answer:
    """Point an alias at a version, or delete the alias."""
    if delete == (version is not None):
        raise typer.BadParameter("give either a VERSION or --delete")
    path = f"/api/models/{model_id}/aliases/{alias_name}"
    with where.connect() as client:
        found = client.change("DELETE", path) if delete else client.change("PUT", path, {"version": version})
    return Answer(found, Facts({"model": model_id, "aliases": found["aliases"]}))


@command(commands, "delete")
def delete(
    client: HttpClient,
    model_id: ModelId,
    version: Annotated[str, typer.Option("--version", help="Number of the version to delete.")],
) -> Answer:
    """Delete a version that does not run and that nothing refers to. Its number stays taken."""
    deleted = client.change("DELETE", f"/api/models/{model_id}/versions/{version}")
    return Answer(deleted, f"deleted {model_id} {deleted['version']}")


def _archive_of(path: Path, scratch: Path) -> Path:
    """Return a packed artifact made from `path`; new files go into the folder `scratch`."""
    if path.is_file() and path.suffix == ".zip":
        return path
    from streamb.models import Model, pack, save_artifact

    folder = path
    if path.is_file():
        if path.suffix != ".onnx":
            raise InvalidInput(f"{path.name} is neither an .onnx file nor a .zip artifact")
        folder = scratch / "artifact"
        save_artifact(Model.wrap(path), folder)
    archive = scratch / "artifact.zip"
    pack(folder, archive)
    return archive


def _numbers(pairs: dict[str, str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in pairs.items()}
    except ValueError as error:
        raise typer.BadParameter(f"--metric takes NAME=NUMBER ({error})") from error
