"""What splitting, counting and circuit breaking cost, and keys and limits: gateways with them beside a plain route.

    python -m benchmarks.gateway_overhead [--rounds 30] [--seconds 1] [--connections 64]

One process holds the four gateways, each on a port of its own; one replica process answers all over links. wrk loads
them in turn, every round in the opposite order of the one before. Needs no Ray. Exit code 0: the goal is met.

- plain:  one version; no breaker, nothing counted. Request ids are signed, here as everywhere: any answer may be given
          feedback.
- duties: two versions with fallback, overrides and a breaker each, everything counted; all traffic goes to one of
          them, so that what is seen is the gateway's own work.
- canary: the same with 10 % for the other version. Its calls are small ones of their own: batches are split in two,
          which costs gateway and replica alike. Shown without a goal.
- callers: duties, with a key that is looked up among 1,000, its permissions, and limits on its requests and on those of
          the address, which the edge names: out of two gateways, with shares of 64 other limits of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil
import uvicorn

from benchmarks.loadgen import LoadError, load
from benchmarks.report import Spread
from streamb.clock import SystemClock
from streamb.hashing import BASIS_POINTS, sha256_hex
from streamb.metrics import VersionRecorder
from streamb.models.schema import FeatureSchema
from streamb.serving import Batch, BatchReply, GatewayApp, GatewayLimits, targets
from streamb.serving.callers import CLIENT_HEADER, CallerLimits
from streamb.serving.http.listener import listener_config
from streamb.serving.links.link import Link, LinkAddress, LinkServer
from streamb.serving.predicting import PredictThread
from streamb.serving.replica import BatchPredictor
from streamb.traffic import (
    BreakerPolicy,
    GatewayPolicy,
    KeyGrant,
    ModelRoute,
    RateLimits,
    RoutingTable,
    Split,
    VersionTarget,
)
from streamb.traffic.shares import Shares

GOAL: Final = 0.95
TOKEN_KEY: Final = b"k" * 32
LINK_SECRET: Final = b"s" * 32
NAMES: Final = ("plain", "duties", "canary", "callers")
CALLERS: Final = NAMES.index("callers")
EDGE_SECRET: Final = "e" * 64
KEY: Final = "sb_0123456789ab_" + "0" * 72
FEATURES: Final = 30
PATH: Final = "/v2/models/m/predict"
BODY: Final = json.dumps({"instances": [[round(0.1 * index, 3) for index in range(FEATURES)]]}).encode()
_START_S: Final = 30.0


class Logistic:
    """A model as light as they come, so that the gateway is what is measured."""

    schema = FeatureSchema.numbers(FEATURES)
    has_probabilities = False

    def predict(self, X: Any) -> Any:  # noqa: N803 - the ecosystem's name
        """One number per row."""
        return 1.0 / (1.0 + np.exp(-X.sum(axis=1)))


class Uncounted(VersionRecorder):
    """Counts nothing of what happens on every request."""

    def answered(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def called(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def predicted(self, *_: Any, **__: Any) -> None:
        """Nothing."""


class OneReplica:
    """Every version is answered by the same replica."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def replicas(self, target: VersionTarget) -> int:  # noqa: ARG002 - the protocol names it
        """There is one."""
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:  # noqa: ARG002
        """Over the link."""
        return await self._link.call(batch)


def _target(version: str) -> VersionTarget:
    return VersionTarget(version, f"m--{version}", Logistic.schema.to_json(), "regression")


def plain_table() -> RoutingTable:
    """One version and nothing else."""
    route = ModelRoute("m", "salt", Split.all_to("1.0.0"), {"1.0.0": _target("1.0.0")})
    return RoutingTable(1, {"m": route}, GatewayPolicy(token_key=TOKEN_KEY))


def full_table(canary: int) -> RoutingTable:
    """Everything that a deployment brings along, with so many ten-thousandths for its version."""
    route = ModelRoute(
        "m",
        "salt",
        Split.by_shares([("2.0.0", canary), ("1.0.0", BASIS_POINTS - canary)]),
        {version: _target(version) for version in ("1.0.0", "2.0.0")},
        fallback="1.0.0",
    )
    return RoutingTable(1, {"m": route}, GatewayPolicy(breaker=BreakerPolicy(), token_key=TOKEN_KEY))


def callers_table() -> RoutingTable:
    """The table of `duties`, with keys and with limits that are never reached."""
    grant = KeyGrant("0123456789ab", "bench", frozenset({"predict"}), ("m*",))
    keys = {sha256_hex(f"other {number}".encode()): grant for number in range(1_000)} | {
        sha256_hex(KEY.encode()): grant
    }
    limits = RateLimits(10**9, 10**9, 10**9, 10**9, gateways=2)
    full = full_table(0)
    asked = {"api_key_required": True, "keys": keys, "check_permissions": True, "limits": limits}
    return RoutingTable(1, full.models, dataclasses.replace(full.policy, **asked))


def limited() -> CallerLimits:
    """Limits on callers, with the shares of one gateway of two."""
    callers = CallerLimits(SystemClock(), EDGE_SECRET, divided=True)
    callers.adopt(Shares(0.5, {(f"k{number}", "m"): 0.4 for number in range(64)}, filled=0.5))
    return callers


async def _replica() -> None:
    thread = PredictThread(BatchPredictor(Logistic()).run, limit_s=60.0)

    async def listen() -> LinkAddress:
        return await LinkServer(thread, replica="r", secret=LINK_SECRET).start("127.0.0.1")

    address = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(listen(), thread.loop))
    print(json.dumps(dataclasses.asdict(address)), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _gateways() -> None:
    address = LinkAddress(**json.loads(sys.stdin.readline()))
    ports = []
    servers = []
    for recorder, table, callers in (
        (Uncounted, plain_table(), None),
        (VersionRecorder, full_table(0), None),
        (VersionRecorder, full_table(1_000), None),
        (VersionRecorder, callers_table(), limited()),
    ):
        targets.VersionRecorder = recorder  # type: ignore[attr-defined, misc]
        link = await Link.connect(address, LINK_SECRET, on_lost=lambda _: sys.exit("the replica is gone"))
        app = GatewayApp(OneReplica(link), GatewayLimits(max_concurrent_requests=400), SystemClock(), callers)
        app.apply(table)
        server = uvicorn.Server(listener_config(app, host="127.0.0.1", port=0, loop="none"))
        servers.append(asyncio.ensure_future(server.serve()))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        ports.append(server.servers[0].sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def _child(role: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.gateway_overhead", "--role", role]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Run:
    """One second or two of load on one gateway.

    Attributes:
        rate: requests per second.
        cpu_us: CPU time of the gateways' process per request, in microseconds.
    """

    rate: float
    cpu_us: float


def measure(rounds: int, seconds: float, connections: int) -> list[list[Run]]:
    """The four gateways, round by round."""
    with _child("replica") as replica, _child("gateways") as gateways:
        assert replica.stdout is not None
        assert gateways.stdin is not None
        assert gateways.stdout is not None
        gateways.stdin.write(replica.stdout.readline())
        gateways.stdin.flush()
        urls = [f"http://127.0.0.1:{port}{PATH}" for port in json.loads(gateways.stdout.readline())]
        process = psutil.Process(gateways.pid)
        named = {CLIENT_HEADER.decode(): f"{EDGE_SECRET} 192.0.2.1"}  # by the edge, in any case
        headers = {url: {**named, **({"X-API-Key": KEY} if place == CALLERS else {})} for place, url in enumerate(urls)}
        found = []
        for number in range(-1, rounds):
            turns = urls if number % 2 else urls[::-1]
            runs = {url: _run(url, process, connections, seconds, headers[url]) for url in turns}
            if number >= 0:  # the first round warms up
                found.append([runs[url] for url in urls])
        return found


def _run(url: str, process: psutil.Process, connections: int, seconds: float, headers: dict[str, str]) -> Run:
    before = process.cpu_times()
    result = load(url, [BODY], connections=connections, seconds=seconds, headers=headers)
    after = process.cpu_times()
    if result.failures:
        raise LoadError(f"{result.failures} requests failed at {url}")
    used = after.user + after.system - before.user - before.system
    return Run(result.rate, used / result.requests * 1e6)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway_overhead", description="split, windows, breaker"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--role", choices=("replica", "gateways"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.role:
        import uvloop

        uvloop.run(_replica() if arguments.role == "replica" else _gateways())
        return 0
    try:
        found = measure(arguments.rounds, arguments.seconds, arguments.connections)
    except LoadError as error:
        print(f"the benchmark cannot run: {error}", file=sys.stderr)
        return 2
    print(f"{len(found)} rounds in turn at {arguments.connections} connections, median (least to greatest)")
    for name, runs in zip(NAMES, zip(*found, strict=True), strict=True):
        rate, cpu = Spread.of(run.rate for run in runs), Spread.of(run.cpu_us for run in runs)
        print(f"{name:7} {rate.format()} requests/s, {cpu.format()} us of CPU each in the gateway")
    rates = dict(zip(NAMES, zip(*([run.rate for run in runs] for runs in found), strict=True), strict=True))
    missed = 0
    for name, base, goal in (("canary", "plain", 0.0), ("duties", "plain", GOAL), ("callers", "duties", GOAL)):
        ratio = Spread.of(own / other for own, other in zip(rates[name], rates[base], strict=True))
        missed += ratio.median < goal
        word = ("PASS" if ratio.median >= goal else "FAIL") if goal else "    "
        print(f"{word}  {name} / {base}: {ratio.format(3)} of the requests/s, goal {goal:g}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
