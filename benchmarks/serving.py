"""The serving benchmark: streamb beside three peers, the same pipeline behind each, loaded by wrk in turns.

    python -m benchmarks.serving [--rounds 7] [--seconds 5] [--only a,b] [--json FILE]
    python -m benchmarks.serving --soak 60

In each round every server is started, checked for right answers, warmed up, loaded at 1, 16 and 64 connections, and
ended, so that nothing else of ours uses the machine meanwhile; the order rotates from round to round. Ratios are taken
within a round. Exit code 0: every goal is met; 1: one is not; 2: the benchmark cannot run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.loadgen import LoadError, load, wrk_command
from benchmarks.servers import SERVERS, Server, ServerError, bodies
from benchmarks.soak import soak
from streamb.clock import SystemClock
from streamb.errors import StreambError

CONNECTIONS = (1, 16, 64)
WARM_UP_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark or the soak; returns the exit code."""
    arguments = _parse(argv)
    try:
        wrk_command()
        return _run_soak(arguments) if arguments.soak else _run_rounds(arguments)
    except (LoadError, ServerError, StreambError) as error:
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 2


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description="streamb beside its peers")
    parser.add_argument("--rounds", type=_at_least_one, default=7, help="rounds of all servers (7)")
    parser.add_argument("--seconds", type=_at_least_one, default=5, help="whole seconds of each load (5)")
    parser.add_argument("--only", type=_servers, default=SERVERS, help="letters of the servers to run, as a,b,c,d")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    parser.add_argument("--soak", type=_at_least_one, metavar="SECONDS", help="only load streamb for so long (60)")
    return parser.parse_args(argv)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1: {text}")
    return number


def _servers(text: str) -> tuple[Server, ...]:
    known = {server.letter: server for server in SERVERS}
    letters = dict.fromkeys(part.strip() for part in text.split(","))
    if not letters.keys() <= known.keys():
        allowed = ", ".join(f"{server.letter} ({server.name})" for server in SERVERS)
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {allowed}")
    return tuple(known[letter] for letter in letters)


def _run_rounds(arguments: argparse.Namespace) -> int:
    samples: list[report.Sample] = []
    servers: tuple[Server, ...] = arguments.only
    for number in range(arguments.rounds):
        turn = number % len(servers)
        for server in servers[turn:] + servers[:turn]:
            samples += _measure(server, number, arguments)
    print(report.table(samples, {server.letter: server.name for server in servers}))
    lines, passed = report.conclusion(samples)
    print(f"\n{lines}")
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(samples), indent=1) + "\n")
    return 0 if passed else 1


def _measure(server: Server, number: int, arguments: argparse.Namespace) -> list[report.Sample]:
    clock = SystemClock()
    begun = clock.monotonic()
    samples = []
    with server.running() as target:
        _progress(f"round {number + 1}/{arguments.rounds}: {server.name} is up after {clock.monotonic() - begun:.1f} s")
        for connections in CONNECTIONS:
            load(target.url, bodies(), connections=connections, seconds=WARM_UP_S, headers=target.headers)
            result = load(
                target.url, bodies(), connections=connections, seconds=arguments.seconds, headers=target.headers
            )
            samples.append(report.Sample(server.letter, connections, number, result))
            _progress(f"  {connections:2} connections: {result.rate:8,.0f}/s, p50 {result.p50_ms:.2f} ms")
    return samples


def _run_soak(arguments: argparse.Namespace) -> int:
    with SERVERS[0].running() as target:
        _progress(f"streamb answers; {arguments.soak} s of load follow")
        result = soak(target, arguments.soak)
    print(result.describe())
    if arguments.json:
        arguments.json.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n")
    return 0 if result.passed else 1


def _installed(package: str) -> str | None:
    """A package's version; None where it is not installed (a peer that is left out)."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _document(samples: Sequence[report.Sample]) -> dict[str, Any]:
    packages = ("ray", "fastapi", "uvicorn", "litserve", "scikit-learn", "numpy")
    return {
        "machine": {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "packages": {name: _installed(name) for name in packages},
        "samples": [dataclasses.asdict(sample) | {"rate": sample.result.rate} for sample in samples],
        "verdicts": [dataclasses.asdict(verdict) for verdict in report.judge(samples)],
    }


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
