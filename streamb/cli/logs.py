"""`streamb logs`: what the parts of a platform on this machine have written, running or failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamb.cli.options import StateDir
from streamb.cli.output import Answer, print_output, say
from streamb.cluster.ray_logs import ACTORS, MODELS, RAY, files_of, find_logs, last_lines, lines_with
from streamb.config import load_settings
from streamb.errors import InvalidInput, NotFound
from streamb.sdk.discovery import read_platform_file
from streamb.sdk.launch import LOG_FILE

START: Final = "start"
_PARTS: Final = (START, RAY, *ACTORS, MODELS)
_POLL_S: Final = 0.5


def logs(
    part: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(_PARTS)}, or the id of a model; by default all but {RAY}."),
    ] = None,
    state_dir: StateDir = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end of each file.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing what is added, until Ctrl-C.")] = False,
    find: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only lines that hold this, such as the reference of an error.")
    ] = None,
) -> Answer:
    """Show the logs of the platform on this machine: of the one that runs, else of the last start that failed."""
    folder = load_settings(state_dir=state_dir).state_dir

    def found() -> list[Path]:
        return _files(folder, part)

    if find is not None and follow:
        raise InvalidInput("--find searches what is written; it cannot --follow what is added")
    shown = found()
    tails = last_lines(shown, lines) if find is None else lines_with(shown, find)
    if find is not None and not tails:
        raise NotFound(f"no log on this machine has a line with {find!r}")
    if not tails and not (follow and shown):
        raise NotFound(_nothing(folder, part))
    if follow:
        for file, last in tails:
            _print(file, last)
        _follow(found, {file: file.stat().st_size for file in shown})
    value = [{"file": str(file), "lines": last} for file, last in tails]
    text = [line for file, last in tails for line in (f"==> {file} <==", *last)]
    return Answer(value, "\n".join(text))


def _files(state_dir: Path, part: str | None) -> list[Path]:
    wanted = [part] if part is not None else [START, *ACTORS, MODELS]
    logs = find_logs(state_dir)
    found: list[Path] = []
    for one in wanted:
        if one == START:
            found += [file for file in (state_dir / LOG_FILE,) if file.exists() and file.stat().st_size]
        elif logs is not None:
            found += files_of(one, logs)
        if one == "edge":
            found += sorted(file for file in (state_dir / "edge").glob("*.log") if file.stat().st_size)
    return list(dict.fromkeys(found))


def _nothing(state_dir: Path, part: str | None) -> str:
    runs = read_platform_file(state_dir) is not None
    if find_logs(state_dir) is None:
        why = "its Ray runs on other machines" if runs else "no platform runs there, and no failed start has left any"
        return f"there are no logs in {state_dir} on this machine: {why}"
    what = f"{part!r} has written nothing, or is no part" if part else "no part has written anything"
    return f"{what}; parts: {', '.join(_PARTS)}, or the id of a model"


def _follow(found: Callable[[], list[Path]], read: dict[Path, int]) -> None:
    """Print what is added to the files, and new files, until Ctrl-C."""
    last: Path | None = None
    try:
        while True:
            time.sleep(_POLL_S)
            for file in found():
                added = _added(file, read)
                if added:
                    if file != last:
                        print(f"==> {file} <==")
                    print_output(added, end="" if added.endswith("\n") else "\n")
                    last = file
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(0) from None


def _added(file: Path, read: dict[Path, int]) -> str:
    try:
        size = file.stat().st_size
        begin = read.get(file, 0)
        read[file] = size
        with file.open("rb") as content:
            content.seek(begin if begin <= size else 0)
            return content.read(size).decode(errors="replace") if size != begin else ""
    except OSError:
        return ""


def _print(file: Path, lines: list[Any]) -> None:
    print(f"==> {file} <==")
    print_output("\n".join(lines), end="\n")
