"""`streamb jobs`: commands that run on the cluster."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.command import command
from streamb.cli.options import AsJson, Limit, Where, read_pairs
from streamb.cli.output import Answer, Facts, at, listing, print_output, say
from streamb.sdk.http import HttpClient

commands = typer.Typer(no_args_is_help=True, help="Run commands on the cluster.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]

_RUNNING: Final = frozenset({"pending", "running"})
_PIECE: Final = 65_536
_POLL_S: Final = 0.5


@command(commands, "submit")
def submit(
    where: Where,
    words: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command to run; put -- before it.")],
    name: Annotated[str, typer.Option(help="Display name of the job.")] = "",
    working_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder to copy to the job.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Environment variable; repeatable.")
    ] = None,
    isolation: Annotated[
        str | None,
        typer.Option(metavar="none|process", help="process: run it without the platform's keys, files and Ray."),
    ] = None,
    time_limit: Annotated[float | None, typer.Option(min=1, help="Longest time that it may run, in seconds.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What the job's own key allows, by default job; repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model that its key is good for, or a pattern; repeatable.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print the output until the job ends.")] = False,
) -> Answer:
    """Run a command on the cluster: streamb jobs submit --working-dir . -- python -m tune_jobs.train …"""
    how = {"isolation": isolation, "time_limit_s": time_limit, "scopes": scope, "models": model}
    body = {
        "entrypoint": shlex.join(words),
        "name": name,
        "working_dir": str(working_dir.absolute()) if working_dir else None,
        "env": read_pairs(env, "--env"),
        **{name: value for name, value in how.items() if value},
    }
    with where.connect() as client:
        job = client.change("POST", "/api/jobs", body)
        if not follow:
            return Answer(job, job["id"])
        say(f"job {job['id']}")
        job = _follow(client, job["id"])
    if job["state"] == "succeeded":
        return Answer(job)
    say(f"job {job['id']} {job['state']}: {job['reason']}")
    return Answer(job, exit_code=1)


@command(commands, "list")
def list_jobs(client: HttpClient, limit: Limit = 20) -> Answer:
    """List jobs, newest first."""
    columns = {
        "job": "id",
        "name": "name",
        "state": "state",
        "exit code": "exit_code",
        "submitted": at("submitted_at"),
        "command": "entrypoint",
    }
    return listing(list(client.pages("/api/jobs", limit=limit)), columns, empty="there are no jobs yet")


@command(commands, "logs")
def logs(
    client: HttpClient,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the job ends.")] = False,
    as_json: AsJson = False,
) -> Answer:
    """Print the output of a job."""
    if as_json:
        return Answer({"id": job_id, "text": "".join(piece["text"] for piece in _pieces(client, job_id))})
    if follow:
        _follow(client, job_id)
    else:
        _print_log(client, job_id)
    return Answer(None)


@command(commands, "stop")
def stop(client: HttpClient, job_id: JobId) -> Answer:
    """Stop a job."""
    job = client.change("POST", f"/api/jobs/{job_id}/stop")
    return Answer(job, Facts({name: job[name] for name in ("id", "state", "reason")}))


def _pieces(client: HttpClient, job_id: str, offset: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the output from `offset` on in pieces: each has `text` and the `next_offset` to continue at."""
    while True:
        piece = client.get(f"/api/jobs/{job_id}/logs", offset=offset, limit=_PIECE)
        if piece["next_offset"] == offset:
            return
        offset = piece["next_offset"]
        yield piece


def _print_log(client: HttpClient, job_id: str, offset: int = 0) -> int:
    """Print the output from `offset` on; returns the offset to continue at."""
    for piece in _pieces(client, job_id, offset):
        print_output(piece["text"])
        offset = piece["next_offset"]
    return offset


def _follow(client: HttpClient, job_id: str) -> dict[str, Any]:
    """Print a job's output until it has ended; returns the job."""
    offset = 0
    while True:
        # Ask for the state first: if the job has ended, everything it printed is read below.
        job = client.get(f"/api/jobs/{job_id}")
        offset = _print_log(client, job_id, offset)
        if job["state"] not in _RUNNING:
            return job
        time.sleep(_POLL_S)
