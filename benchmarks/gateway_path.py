"""What the gateway itself costs a request, without Ray: CPU time on top of a bare ASGI echo, and speed beside FastAPI.

    python -m benchmarks.gateway_path [--seconds 4] [--rounds 3] [--connections 64]

Three servers, each one uvicorn process (uvloop, httptools), loaded by wrk in turn, round after round:

- echo:    the least an ASGI app can do: read the body, answer a fixed one.
- gateway: `GatewayApp` with a predictor that answers a whole batch after `asyncio.sleep(0.001)`.
- fastapi: the usual endpoint: a pydantic body, the same numpy work on one row, a dict as the answer.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvicorn

FEATURES = 30
KINDS = ("echo", "gateway", "fastapi")
BODY = json.dumps({"instances": [[round(0.1234567 * (index + 1), 7) for index in range(FEATURES)]]})
PATH = "/v2/models/m/predict"
BEST = {"rps": max, "cpu_us": min, "p50_ms": min, "p99_ms": min}
"""Of several rounds the best counts: what other processes take away is no property of the gateway."""
WEIGHTS = np.linspace(-1.0, 1.0, FEATURES)


def score(rows: np.ndarray) -> np.ndarray:
    """The work of the model: a matrix product and a logistic function."""
    return 1.0 / (1.0 + np.exp(-(rows @ WEIGHTS)))


# --- the three apps -----------------------------------------------------------------------------------------------


async def echo(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    body = b'{"predictions":[0.5]}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class SleepingPredictor:
    def replicas(self, target: object) -> int:  # noqa: ARG002 - the protocol names it
        return 1

    async def predict(self, _target, batch):
        from streamb.serving import BatchReply

        await asyncio.sleep(0.001)
        return BatchReply(score(batch.rows))


def gateway():
    from streamb.clock import SystemClock
    from streamb.hashing import sha256_hex
    from streamb.models.schema import FeatureSchema
    from streamb.serving import GatewayApp, GatewayLimits
    from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget

    target = VersionTarget("1.0.0", "m-1", FeatureSchema.numbers(FEATURES).to_json(), "regression")
    route = ModelRoute("m", "salt", Split.all_to("1.0.0"), {"1.0.0": target})
    app = GatewayApp(SleepingPredictor(), GatewayLimits(), SystemClock())
    app.apply(RoutingTable(1, {"m": route}, GatewayPolicy(True, frozenset({sha256_hex(b"bench-key")}))))
    return app


def fastapi():
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Body(BaseModel):
        instances: list[list[float]]

    app = FastAPI()

    @app.post(PATH)
    async def predict(body: Body) -> dict[str, object]:
        return {"predictions": score(np.asarray(body.instances)).tolist(), "model": "m", "version": "1.0.0"}

    return app


def serve(kind: str, port: int) -> None:
    if kind == "gateway":
        from streamb.serving.http.listener import listener_config

        config = listener_config(gateway(), host="127.0.0.1", port=port)
    else:
        app = echo if kind == "echo" else fastapi()
        config = uvicorn.Config(app, port=port, http="httptools", access_log=False, lifespan="off", log_config=None)
    uvicorn.Server(config).run()


# --- the load -----------------------------------------------------------------------------------------------------


@contextmanager
def running(kind: str) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.gateway_path", "--serve", kind, "--port", str(port)])
    try:
        for _ in range(300):
            with suppress(httpx.HTTPError):
                reply = httpx.post(f"http://127.0.0.1:{port}{PATH}", content=BODY, headers=headers())
                assert reply.status_code == 200, reply.text
                break
            time.sleep(0.1)
        yield port, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def headers() -> dict[str, str]:
    return {"content-type": "application/json", "x-api-key": "bench-key"}


def load(port: int, process: psutil.Process, script: Path, seconds: float, connections: int) -> dict[str, float]:
    """One run of wrk: requests per second, CPU microseconds per request, p50 and p99 in milliseconds."""
    before = process.cpu_times()
    threads, url = "1", f"http://127.0.0.1:{port}{PATH}"
    command = ["wrk", "-t", threads, "-c", str(connections), "-d", f"{seconds:g}s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = process.cpu_times()
    count, micros, p50, p99, failed = (float(word) for word in output.rsplit("RESULT", 1)[1].split())
    cpu = (after.user + after.system) - (before.user + before.system)
    if failed:
        print(f"{failed:g} requests failed", file=sys.stderr)
    return {"rps": count / micros * 1e6, "cpu_us": cpu / count * 1e6, "p50_ms": p50 / 1e3, "p99_ms": p99 / 1e3}


def wrk_script(folder: Path) -> Path:
    lines = ['wrk.method = "POST"', f"wrk.body = '{BODY}'"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers().items()]
    lines.append(
        "done = function(s, l, r) local e = s.errors; io.write(string.format('RESULT %d %d %d %d %d', s.requests, "
        "s.duration, l:percentile(50), l:percentile(99), e.connect + e.read + e.write + e.status + e.timeout)) end"
    )
    script = folder / "post.lua"
    script.write_text("\n".join(lines))
    return script


def measure(seconds: float, rounds: int, connections: int) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with (
        tempfile.TemporaryDirectory() as folder,
        running("echo") as a,
        running("gateway") as b,
        running("fastapi") as c,
    ):
        script = wrk_script(Path(folder))
        for _ in range(rounds):
            for kind, (port, process) in zip(KINDS, (a, b, c), strict=True):
                found[kind].append(load(port, process, script, seconds, connections))
    return {kind: {name: BEST[name](run[name] for run in runs) for name in runs[0]} for kind, runs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.port)
        return
    results = measure(arguments.seconds, arguments.rounds, arguments.connections)
    for kind, numbers in results.items():
        print(f"{kind:8}" + "".join(f"  {name} {value:10.1f}" for name, value in numbers.items()))
    own = results["gateway"]["cpu_us"] - results["echo"]["cpu_us"]
    print(f"the gateway's own cost: {own:.1f} us of CPU a request (target: at most 60)")
    print(f"gateway / fastapi: {results['gateway']['rps'] / results['fastapi']['rps']:.2f} x the requests a second")


if __name__ == "__main__":
    main()
