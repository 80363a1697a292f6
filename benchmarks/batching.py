"""How many calls at once a replica should have: the measured depth beside fixed ones, in process but for the replica.

    python -m benchmarks.batching [--seconds 1] [--rounds 5] [--warm-up 3] [--only 30:0:16]

A real gateway app, asked by clients in its own process that send again when they are answered; a real link leads to a
replica in another process, whose model sleeps so long for each call and so long for each row. Three gateways differ in
one thing: one call at a time, two, or what is measured (`streamb.serving.depth`). They take turns, round after round,
in another order each time. The third one has a few seconds before, in which it finds out; what it answers in them is
shown as well, beside the same seconds of the better fixed depth.

The goal: in no case less than 0.97 of the better fixed depth (the median of the rounds; their range is shown).
"""

import argparse
import asyncio
import multiprocessing
import random
import statistics
import sys
import time
from dataclasses import dataclass

import orjson
import uvloop

from benchmarks.report import Spread
from streamb.clock import SystemClock
from streamb.models.schema import FeatureSchema
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.links.link import Link, LinkServer
from streamb.serving.predicting import PredictThread
from streamb.traffic import ModelRoute, RoutingTable, Split, VersionTarget

SECRET = b"of this benchmark"
GOAL = 0.97
DEPTHS = {
    "one": GatewayLimits(calls_per_replica=1),
    "two": GatewayLimits(adapts_depth=False),
    "measured": GatewayLimits(),
}
PAUSE_S = 0.003
"""A client sends again after up to this many seconds: the way to it and back. (Without, all would stay in step.)"""
CALL_MS, ROW_MS, CLIENTS = (0, 5, 30), (0, 1), (1, 16, 64)


# --- the replica --------------------------------------------------------------------------------------------------


def replica(told) -> None:
    """Run a replica until the parent ends; the first two columns of the rows say what a call and a row cost."""

    def compute(batch):
        seconds = float(batch.rows[:, 0].max() + batch.rows[:, 1].sum())
        if seconds:
            time.sleep(seconds)
        return BatchReply(batch.rows[:, 2])

    thread = PredictThread(compute, limit_s=60.0, loop=uvloop.new_event_loop())
    server = LinkServer(thread, replica="r", secret=SECRET)
    told.send(asyncio.run_coroutine_threadsafe(server.start("127.0.0.1"), thread.loop).result())
    told.recv()


# --- the gateway and its clients ----------------------------------------------------------------------------------


class Linked:
    """A predictor with one replica."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.rows = self.calls = 0

    def replicas(self, _target) -> int:
        return 1

    async def predict(self, _target, batch):
        self.calls += 1
        self.rows += len(batch.rows)
        return await self.link.call(batch)


@dataclass
class Gateway:
    """A gateway with its own link."""

    app: GatewayApp
    predictor: Linked

    @classmethod
    async def open(cls, address, limits) -> "Gateway":
        predictor = Linked(await Link.connect(address, SECRET, on_lost=lambda _: None))
        app = GatewayApp(predictor, limits, SystemClock())
        target = VersionTarget("1.0.0", "m-1", FeatureSchema.numbers(3).to_json(), "regression")
        app.apply(RoutingTable(1, {"m": ModelRoute("m", "salt", Split.all_to("1.0.0"), {"1.0.0": target})}))
        return cls(app, predictor)

    async def run(self, body: bytes, clients: int, seconds: float) -> tuple[float, float]:
        """Return the requests answered a second, and the rows of a call."""
        end, answered = time.perf_counter() + seconds, 0
        self.predictor.rows = self.predictor.calls = 0

        async def client() -> None:
            nonlocal answered
            while time.perf_counter() < end:
                await ask(self.app, body)
                answered += 1
                await asyncio.sleep(random.uniform(0, PAUSE_S))  # else all that were answered at once ask at once

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return answered / (time.perf_counter() - began), self.predictor.rows / self.predictor.calls

    async def close(self) -> None:
        await self.app.close()
        self.predictor.link.close()


async def ask(app, body: bytes) -> None:
    """Send one request, and check that it is answered."""
    message = {"type": "http.request", "body": body, "more_body": False}
    status = 0

    async def receive():
        nonlocal message
        if message is None:
            await asyncio.get_running_loop().create_future()
        given, message = message, None
        return given

    async def send(reply):
        nonlocal status
        status = reply.get("status", status)

    path = "/v2/models/m/predict"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    await app(scope, receive, send)
    if status != 200:
        raise RuntimeError(f"a request was answered {status}")


async def compare(address, call_ms, row_ms, clients, options) -> float:
    """Print one case, and return the ratio to the better fixed depth."""
    body = orjson.dumps({"instances": [[call_ms / 1000, row_ms / 1000, 1.0]]})
    gateways = {name: await Gateway.open(address, limits) for name, limits in DEPTHS.items()}
    first = {name: (await one.run(body, clients, options.warm_up))[0] for name, one in gateways.items()}
    rates = {name: [] for name in DEPTHS}
    sizes = {name: [] for name in DEPTHS}
    for _ in range(options.rounds):
        for name in random.sample(list(DEPTHS), len(DEPTHS)):
            rate, size = await gateways[name].run(body, clients, options.seconds)
            rates[name].append(rate)
            sizes[name].append(size)
    for one in gateways.values():
        await one.close()
    best = max(("one", "two"), key=lambda name: statistics.median(rates[name]))
    ratio = Spread.of(mine / other for mine, other in zip(rates["measured"], rates[best], strict=True))
    told = " | ".join(
        f"{statistics.median(rates[name]):,.0f} ({statistics.median(sizes[name]):.1f})" for name in DEPTHS
    )
    begin = first["measured"] / max(first["one"], first["two"])
    print(f"| {call_ms} | {row_ms} | {clients} | {told} | {ratio.format(2)} | {begin:.2f} |", flush=True)
    return ratio.median


async def main(address, options) -> int:
    """Compare all cases; return 1 if one misses the goal."""
    print("| ms a call | ms a row | clients | one: requests/s (rows a call) | two | measured | ratio | at first |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    cases = [(c, r, n) for c in CALL_MS for r in ROW_MS for n in CLIENTS]
    if options.only:
        cases = [tuple(float(part) if "." in part else int(part) for part in options.only.split(":"))]
    ratios = {case: await compare(address, *case, options) for case in cases}
    missed = {case: round(ratio, 3) for case, ratio in ratios.items() if ratio < GOAL}
    print(f"least ratio {min(ratios.values()):.2f}; goal {GOAL}: {'missed by ' + str(missed) if missed else 'kept'}")
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before the first round")
    parser.add_argument("--only", default="", help="one case: ms a call, ms a row, clients")
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=replica, args=(there,), daemon=True)
    process.start()
    try:
        sys.exit(uvloop.run(main(here.recv(), given)))
    finally:
        here.send("end")
        process.join(5)
