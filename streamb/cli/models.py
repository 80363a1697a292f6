"""`streamb models`: the registry."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect, read_pairs
from streamb.cli.output import print_facts, print_json, print_table, when
from streamb.cli.platform import print_running
from streamb.errors import InvalidInput
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Registered models and their versions.")

ModelId = Annotated[str, typer.Argument(metavar="ID", help="The model.")]


@commands.command("list")
def list_models(
    limit: Limit = 100,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Every registered model."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/models", limit=limit))
    if as_json:
        print_json(found)
        return
    rows = [
        (m["model_id"], m["name"], m["latest_version"], m["aliases"], m["owner"], when(m["updated_at"])) for m in found
    ]
    print_table(("model", "name", "latest", "aliases", "owner", "updated"), rows, empty="no model is registered")


@commands.command("show")
def show(
    model_id: ModelId,
    limit: Limit = 20,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """One model and its newest versions."""
    with connect(state_dir, address, api_key) as client:
        model = client.get(f"/api/models/{model_id}")
        versions = list(islice(client.pages(f"/api/models/{model_id}/versions"), limit))
    if as_json:
        print_json({**model, "versions": versions})
        return
    print_facts({name: model[name] for name in ("model_id", "name", "description", "owner", "aliases", "tags")})
    print()
    rows = [
        (v["version"], v["stage"], v["framework"], v["task"], v["metrics"], when(v["created_at"]), v["digest"][:12])
        for v in versions
    ]
    columns = ("version", "stage", "framework", "task", "metrics", "registered", "digest")
    print_table(columns, rows, empty="it has no version")


@commands.command("status")
def status(
    model_id: ModelId,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What runs for one model, and its newest deployment."""
    with connect(state_dir, address, api_key) as client:
        found = client.get(f"/api/models/{model_id}/status")
    if as_json:
        print_json(found)
        return
    latest = found["deployment"]
    print_facts(
        {
            "model": model_id,
            "serves": found["serving_version"],
            "requests": found["requests"],
            "newest deployment": f"{latest['id']}: {latest['state']}, {latest['reason']}" if latest else None,
        }
    )
    print()
    print_running([found])


@commands.command("register")
def register(
    model_id: ModelId,
    path: Annotated[Path, typer.Argument(exists=True, help="An ONNX file, an artifact folder, or a packed artifact.")],
    version: Annotated[str, typer.Option("--version", help="Semantic, 1.0.0; it never changes.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME=NUMBER", help="A score; repeatable.")] = None,
    hyperparameter: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Repeatable.")] = None,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Register a version from a file or folder."""
    metadata = {
        "version": version,
        "owner": owner,
        "metrics": _numbers(read_pairs(metric, "--metric")),
        "hyperparameters": read_pairs(hyperparameter, "--hyperparameter"),
    }
    with connect(state_dir, address, api_key) as client, tempfile.TemporaryDirectory(prefix="streamb-") as scratch:
        archive = _archive_of(path, Path(scratch))
        about = {"model_id": model_id, "name": name, "description": description, "owner": owner}
        client.change("POST", "/api/models", about)
        found = client.upload(f"/api/models/{model_id}/versions", archive, metadata)
    if as_json:
        print_json(found)
    else:
        print(f"registered {model_id} {found['version']} ({found['framework']}, digest {found['digest'][:12]})")


@commands.command("alias")
def alias(
    model_id: ModelId,
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="champion, challenger, …")],
    version: Annotated[str | None, typer.Argument(help="What it shall name.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the alias.")] = False,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias name a version, or forget it."""
    if delete == (version is not None):
        raise typer.BadParameter("give a VERSION, or --delete")
    with connect(state_dir, address, api_key) as client:
        found = _change_alias(client, f"/api/models/{model_id}/aliases/{alias_name}", version)
    if as_json:
        print_json(found)
    else:
        print_facts({"model": model_id, "aliases": found["aliases"]})


def _change_alias(client: HttpClient, path: str, version: str | None) -> Any:
    if version is None:
        return client.change("DELETE", path)
    return client.change("PUT", path, {"version": version})


def _archive_of(path: Path, scratch: Path) -> Path:
    """The packed artifact for what `path` holds."""
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
