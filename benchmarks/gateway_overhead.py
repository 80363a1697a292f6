"""What splitting, counting and circuit breaking cost: a gateway with all of it beside one with a plain route.

    python -m benchmarks.gateway_overhead [--rounds 12] [--seconds 2] [--connections 64]

One process holds both gateways, each on a port of its own; one replica process answers both over links. wrk loads the
two in turn, the first of each round first in one and second in the next. Needs no Ray. Exit code 0: the goal is met.

- plain: one version; no breaker, plain request ids, nothing counted.
- full:  a canary at 10 % with fallback, a breaker for each version, signed request ids, everything counted.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import uvicorn

from benchmarks.loadgen import LoadError, load
from streamb.clock import SystemClock
from streamb.metrics import VersionRecorder
from streamb.models.schema import FeatureSchema
from streamb.serving import Batch, BatchReply, GatewayApp, GatewayLimits, targets
from streamb.serving.link import Link, LinkAddress, LinkServer
from streamb.serving.listener import listener_config
from streamb.serving.replica import BatchPredictor
from streamb.traffic import BreakerPolicy, GatewayPolicy, ModelRoute, Override, RoutingTable, Split, VersionTarget

GOAL: Final = 0.95
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
    return RoutingTable(1, {"m": ModelRoute("m", "salt", Split.all_to("1.0.0"), {"1.0.0": _target("1.0.0")})})


def full_table() -> RoutingTable:
    """A canary with everything that a deployment brings along."""
    route = ModelRoute(
        "m",
        "salt",
        Split.by_weights([("2.0.0", 1_000), ("1.0.0", 9_000)]),
        {version: _target(version) for version in ("1.0.0", "2.0.0")},
        overrides=(Override("2.0.0", header=("x-model-version", "2.0.0")),),
        fallback="1.0.0",
    )
    return RoutingTable(1, {"m": route}, GatewayPolicy(breaker=BreakerPolicy(), token_key=b"k" * 32))


async def _replica() -> None:
    predictor, thread = BatchPredictor(Logistic()), ThreadPoolExecutor(1)

    async def infer(batch: Batch) -> BatchReply:
        return await asyncio.get_running_loop().run_in_executor(thread, predictor.run, batch)

    address = await LinkServer(infer, replica="r").start("127.0.0.1")
    print(json.dumps({**dataclasses.asdict(address), "secret": address.secret.hex()}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _gateways() -> None:
    told = json.loads(sys.stdin.readline())
    address = LinkAddress(**{**told, "secret": bytes.fromhex(told["secret"])})
    ports = []
    servers = []
    for recorder, table in ((Uncounted, plain_table()), (VersionRecorder, full_table())):
        targets.VersionRecorder = recorder  # type: ignore[attr-defined, misc]
        link = await Link.connect(address, on_lost=lambda _: sys.exit("the replica is gone"))
        app = GatewayApp(OneReplica(link), GatewayLimits(max_concurrent_requests=400), SystemClock())
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


def measure(rounds: int, seconds: float, connections: int) -> list[tuple[float, float]]:
    """Requests per second of the plain gateway and of the full one, round by round."""
    with _child("replica") as replica, _child("gateways") as gateways:
        assert replica.stdout is not None
        assert gateways.stdin is not None
        assert gateways.stdout is not None
        gateways.stdin.write(replica.stdout.readline())
        gateways.stdin.flush()
        urls = [f"http://127.0.0.1:{port}{PATH}" for port in json.loads(gateways.stdout.readline())]
        found = []
        for number in range(-1, rounds):
            rates = {}
            for url in urls if number % 2 else urls[::-1]:
                result = load(url, [BODY], connections=connections, seconds=seconds)
                if result.failures:
                    raise LoadError(f"{result.failures} requests failed at {url}")
                rates[url] = result.rate
            if number >= 0:  # the first round warms up
                found.append((rates[urls[0]], rates[urls[1]]))
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway_overhead", description="split, windows, breaker"
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
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
    plain, full = np.median(found, axis=0)
    ratios = sorted(full / plain for plain, full in found)
    middle = float(np.median(ratios))
    print(f"plain {plain:,.0f}/s, full {full:,.0f}/s at {arguments.connections} connections")
    print(
        f"{'PASS' if middle >= GOAL else 'FAIL'}  full / plain: {middle:.3f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) "
        f"in {len(ratios)} rounds in turn (goal {GOAL:g})"
    )
    return 0 if middle >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
