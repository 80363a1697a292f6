"""`streamb up`: start a platform, print its address, and stop it on request."""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from typing import Annotated

import typer

from streamb.cli.config import not_enforced
from streamb.cli.foreground import run_platform
from streamb.cli.options import AsJson, Presets, StateDir
from streamb.cli.output import Waiting, as_text, print_json, say
from streamb.config import Settings, load_settings, unenforced
from streamb.sdk.discovery import KEY_FILE, RunningInfo, read_api_key
from streamb.sdk.http import HttpClient
from streamb.sdk.launch import LOG_FILE, LaunchOptions, launch, start_limit_s
from streamb.sdk.sample import SAMPLE_ID, curl_line
from streamb.sdk.up_lock import UpLock


def up(
    environment: Presets = None,
    state_dir: StateDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0: any free port.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; `streamb down` stops it.")] = False,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--no-sample", help="Deploy the sample model. By default in development if no model is registered."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Start even if the machine has too little memory or too few CPUs.")
    ] = False,
    parent_pipe: Annotated[bool, typer.Option("--parent-pipe", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Start the platform. Ctrl-C stops it and everything it started."""
    from streamb.monitoring.channels import check_channels, settings_warnings

    settings = load_settings(environment=environment, state_dir=state_dir, host=host, port=port)
    check_channels(settings)
    for warning in settings_warnings(settings):
        say(f"warning: {warning}")
    if protections := unenforced(settings):
        say(f"warning: {not_enforced(protections)}")
    if detach:
        _start_in_background(settings, sample=sample, yes=yes, as_json=as_json)
        return

    announce = partial(_announce, settings, as_json=as_json)
    accept = (lambda _: True) if yes else _ask
    run_platform(settings, sample=sample, parent_pipe=parent_pipe, announce=announce, accept=accept)


def _ask(why: str) -> bool:
    """Ask on a terminal whether to go on; anywhere else the answer is no."""
    return sys.stdin.isatty() and sys.stderr.isatty() and typer.confirm(f"{why}.\nStart it all the same?", err=True)


def _start_in_background(settings: Settings, *, sample: bool | None, yes: bool, as_json: bool) -> None:
    with UpLock(settings.state_dir):
        pass  # report a platform that already runs here, not only in the log of the background process
    options = LaunchOptions(
        settings.state_dir,
        environment=settings.environment,
        host=settings.host,
        port=settings.port,
        sample=sample,
        accept=yes,
    )
    with Waiting() as waiting:
        waiting.for_("the platform to start in the background")
        child = launch(options, tied=False, timeout_s=start_limit_s(settings))
        seconds = waiting.elapsed_s
    _announce(settings, child.info, read_api_key(settings.state_dir) or "", seconds, as_json=as_json)
    if not as_json:
        print(f"  log      {settings.state_dir / LOG_FILE}\n  stop     streamb down --state-dir {settings.state_dir}")


def _announce(settings: Settings, info: RunningInfo, api_key: str, seconds: float, *, as_json: bool) -> None:
    shown = api_key if as_json or _may_show_key(settings) else settings.state_dir / KEY_FILE
    key = shown if settings.api_key_required else None
    example = curl_line(info.url, key) if _has_sample(info.url, api_key) else f"curl -s {info.url}/v2"
    if as_json:
        facts = {"url": info.url, "api_key": api_key, "pid": info.pid, "state_dir": str(settings.state_dir)}
        protections = [
            {"variable": one.variable, "value": one.value, "effect": one.effect} for one in unenforced(settings)
        ]
        found = {"unanswered": info.unanswered, "notes": info.notes, "needs": info.needs, "not_enforced": protections}
        rest = {"environment": settings.environment, "example": example, "seconds": round(seconds, 1)}
        print_json({**facts, **rest, **found})
        return
    took = f"({settings.environment}, {seconds:.1f} s)"
    if info.unanswered:
        print(f"\nstreamb runs {took}, but {len(info.unanswered)} model(s) do not answer:\n")
        for sentence in info.unanswered:
            print(f"  {as_text(sentence)}")
        print()
    else:
        print(f"\nstreamb is up {took}\n")
    for note in info.notes:
        say(f"warning: {note}")
    place = "" if shown == api_key else "in "
    print(f"  url      {info.url}\n  api key  {place}{shown}\n  try      {example}")
    print(f"  needs    {_needs(info)}\n", flush=True)


def _needs(info: RunningInfo) -> str:
    """Return in words what the platform needs, and what there is."""
    needs = info.needs
    if not needs:
        return "unknown"
    room = needs["room"]
    there = f" of {room['memory_mb'] / 1_000:.1f} GB" if room["memory_mb"] else ""
    return f"about {needs['memory_mb'] / 1_000:.1f} GB{there} of memory, {needs['cores_at_rest']:g} cores at rest"


def _may_show_key(settings: Settings) -> bool:
    """Whether the API key may be printed: on a terminal; in development also to another program; never to a file."""
    if sys.stdout.isatty():
        return True
    try:
        to_file = stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):  # standard output is no file of the system
        to_file = False
    return settings.environment == "development" and not to_file


def _has_sample(url: str, api_key: str) -> bool:
    with HttpClient(url, api_key) as client:
        return any(model["model_id"] == SAMPLE_ID for model in client.pages("/api/models", limit=1_000))
