"""`streamb jobs`: commands that run on the cluster."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.options import Address, ApiKey, AsJson, Limit, StateDir, connect, read_pairs
from streamb.cli.output import print_facts, print_json, print_table, say, when
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Commands that run on the cluster.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.")]

_RUNNING: Final = frozenset({"pending", "running"})
_PIECE: Final = 65_536
_POLL_S: Final = 0.5


@commands.command("submit")
def submit(
    command: Annotated[list[str], typer.Argument(help="What to run; put -- before it.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    working_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder that the job gets a copy of.")
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable; repeatable.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its output until it ends.")] = False,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Run a command on the cluster: streamb jobs submit --working-dir . -- python -m tune_jobs.train …"""
    body = {
        "entrypoint": shlex.join(command),
        "name": name,
        "working_dir": str(working_dir.absolute()) if working_dir else None,
        "env": read_pairs(env, "--env"),
    }
    with connect(state_dir, address, api_key) as client:
        job = client.change("POST", "/api/jobs", body)
        if follow:
            say(f"job {job['id']}")
            job = _follow(client, job["id"])
    if as_json:
        print_json(job)
    elif not follow:
        print(job["id"])
    if follow and job["state"] != "succeeded":
        say(f"job {job['id']} {job['state']}: {job['reason']}")
        raise typer.Exit(1)


@commands.command("list")
def list_jobs(
    limit: Limit = 20,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Jobs, the newest first."""
    with connect(state_dir, address, api_key) as client:
        found = list(client.pages("/api/jobs", limit=limit))
    if as_json:
        print_json(found)
        return
    rows = [(j["id"], j["name"], j["state"], j["exit_code"], when(j["submitted_at"]), j["entrypoint"]) for j in found]
    print_table(("job", "name", "state", "exit code", "submitted", "command"), rows, empty="no job was submitted yet")


@commands.command("logs")
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What a job has printed."""
    with connect(state_dir, address, api_key) as client:
        if as_json:
            print_json({"id": job_id, "text": "".join(_pieces(client, job_id)[0])})
        elif follow:
            _follow(client, job_id)
        else:
            for piece in _pieces(client, job_id)[0]:
                print(piece, end="", flush=True)


@commands.command("stop")
def stop(
    job_id: JobId,
    state_dir: StateDir = None,
    address: Address = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """End a job."""
    with connect(state_dir, address, api_key) as client:
        job = client.change("POST", f"/api/jobs/{job_id}/stop")
    if as_json:
        print_json(job)
    else:
        print_facts({name: job[name] for name in ("id", "state", "reason")})


def _pieces(client: HttpClient, job_id: str, offset: int = 0) -> tuple[list[str], int]:
    """All that was printed from `offset` on, and where it ends now."""
    found: list[str] = []
    while True:
        piece = client.get(f"/api/jobs/{job_id}/logs", offset=offset, limit=_PIECE)
        if piece["next_offset"] == offset:
            return found, offset
        found.append(piece["text"])
        offset = piece["next_offset"]


def _follow(client: HttpClient, job_id: str) -> dict[str, Any]:
    """Print a job's output until it has ended; returns the job."""
    offset = 0
    while True:
        # Asked first: what was printed before the end is then surely read below.
        job: dict[str, Any] = client.get(f"/api/jobs/{job_id}")
        pieces, offset = _pieces(client, job_id, offset)
        for piece in pieces:
            print(piece, end="", flush=True)
        if job["state"] not in _RUNNING:
            return job
        time.sleep(_POLL_S)
