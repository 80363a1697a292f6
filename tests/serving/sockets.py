"""A gateway under a real uvicorn on a real socket, and raw requests to it."""

import asyncio
from contextlib import asynccontextmanager

import orjson
import uvicorn

from streamb.clock import SystemClock
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.http.listener import listener_config
from tests.serving.predictors import SumPredictor, table, target

PREDICT = "/v2/models/m/predict"
BODY = b'{"instances": [[1, 2]]}'


@asynccontextmanager
async def listening(predictor=None, *, keep_alive_s=75, **limits):
    app = GatewayApp(predictor or SumPredictor(), GatewayLimits(**limits), SystemClock())
    app.apply(table(target(schema={})))
    server = uvicorn.Server(listener_config(app, host="127.0.0.1", port=0, timeout_keep_alive=keep_alive_s))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield app, port
    finally:
        server.should_exit = True
        await serving


async def post(port, body=BODY):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(raw(body))
    reply = await read_reply(reader)
    writer.close()
    return reply


def raw(body=BODY, *headers):
    lines = [f"POST {PREDICT} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_reply(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return int(head.split()[1]), head, orjson.loads(await reader.readexactly(length))
