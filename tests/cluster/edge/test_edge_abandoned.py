"""Clients that leave before their answer: the edge closes its side at once, and the gateway's work ends."""

import asyncio
import contextlib
import threading
from dataclasses import replace

import httpx
import pytest

from streamb.clock import SystemClock
from streamb.cluster.listener import Listener
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.http.receive import when_gone
from streamb.traffic import Batching
from tests.cluster.edge.proxies import KINDS, started, until_up
from tests.serving.answering import LinkPredictor
from tests.serving.linked import predicting
from tests.serving.predictors import SumPredictor, table, target

LEAVERS = 100
PREDICT = "/v2/models/m/predict"


class Waits:
    """An app that answers checks and /quick at once, and else waits until it is told that the client has left."""

    def __init__(self) -> None:
        self.came = self.left = 0
        self.tells = False

    async def __call__(self, scope, receive, send) -> None:
        if not scope["path"].endswith(("/ready", "/quick")):
            while (await receive()).get("more_body"):
                pass
            gone = asyncio.Event()
            self.tells = when_gone(scope, gone.set)
            self.came += 1
            await gone.wait()
            self.left += 1
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def ask_and_wait(port: int, body: bytes = b"{}") -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return writer


async def until(truth, seconds: float) -> bool:
    for _ in range(int(seconds * 100)):
        if truth():
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.fixture(params=KINDS)
async def waiting(request, tmp_path):
    """The port of an edge, in front of an app that waits."""
    app = Waits()
    listener = Listener(app, "127.0.0.1")
    async with started(request.param, tmp_path) as (proxy, client):
        await proxy.add("gateways", "g", listener.endpoint)
        await until_up(proxy, "gateways", "g")
        yield app, client
    await listener.close()


async def test_the_gateway_hears_of_every_client_that_leaves(waiting):
    app, client = waiting
    writers = [await ask_and_wait(client.base_url.port) for _ in range(LEAVERS)]
    assert await until(lambda: app.came == LEAVERS, 10)
    assert app.tells, "the listener tells; nobody has to ask"
    assert not app.left
    for writer in writers:
        writer.close()
    assert await until(lambda: app.left == LEAVERS, 5), app.left
    began = asyncio.get_running_loop().time()
    assert (await client.get("/v2/quick")).text == "ok"
    assert asyncio.get_running_loop().time() - began < 1


@pytest.mark.parametrize("size", [10, 20_000, 100_000, 3_000_000])
async def test_a_client_with_a_large_body_has_left(waiting, size):
    app, client = waiting
    writer = await ask_and_wait(client.base_url.port, b" " * size)
    assert await until(lambda: app.came == 1, 5)
    await asyncio.sleep(0.1)
    writer.close()
    assert await until(lambda: app.left == 1, 5)


async def test_a_client_that_resets_its_connection_has_left(waiting):
    app, client = waiting
    writer = await ask_and_wait(client.base_url.port)
    assert await until(lambda: app.came == 1, 5)
    writer.transport.abort()
    assert await until(lambda: app.left == 1, 5)


async def test_a_client_that_left_after_good_answers_on_the_same_connection(waiting):
    app, client = waiting
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    for _ in range(3):
        writer.write(b"GET /v2/quick HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"ok")
    writer.write(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}" % PREDICT.encode())
    assert await until(lambda: app.came == 1, 5)
    writer.close()
    assert await until(lambda: app.left == 1, 5)


async def test_clients_that_stay_are_answered_while_others_leave(waiting):
    app, client = waiting
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as good:
        for _ in range(20):
            writer = await ask_and_wait(client.base_url.port)
            assert (await good.get("/v2/quick")).text == "ok"
            writer.close()
            assert (await good.get("/v2/quick")).text == "ok"
    assert await until(lambda: app.left == app.came, 5)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@pytest.mark.parametrize("waiting", ["haproxy"], indirect=True)
async def test_a_client_of_http_2_that_cancels_one_request_keeps_the_others(waiting):
    app, client = waiting
    names = {b":method": b"GET", b":scheme": b"http", b":authority": b"x", b":path": PREDICT.encode()}
    head = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in names.items())
    _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    writer.write(b"".join(frame(1, 5, stream, head) for stream in (1, 3, 5)))  # whole requests without a body
    assert await until(lambda: app.came == 3, 5)
    writer.write(frame(3, 0, 3, (8).to_bytes(4)))  # cancel the second
    assert await until(lambda: app.left == 1, 5)
    await asyncio.sleep(0.1)
    assert app.left == 1
    writer.close()
    assert await until(lambda: app.left == 3, 5)


@contextlib.asynccontextmanager
async def held_gateway(kind, folder):
    """A gateway behind an edge, whose version answers nothing until it is let go."""
    predictor = SumPredictor()
    app = GatewayApp(predictor, GatewayLimits(), SystemClock())
    app.apply(table(target(schema={})))
    listener = Listener(app, "127.0.0.1")
    async with started(kind, folder) as (proxy, client):
        await proxy.add("gateways", "g", listener.endpoint)
        await until_up(proxy, "gateways", "g")
        predictor.hold()
        yield predictor, app, client
    await listener.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_that_wait_in_a_gateway_are_given_up_with_their_clients(kind, tmp_path):
    async with held_gateway(kind, tmp_path) as (predictor, app, client):
        body = b'{"instances": [[1, 2]]}'
        writers = [await ask_and_wait(client.base_url.port, body) for _ in range(LEAVERS)]
        assert await until(lambda: app.in_flight("m-1.0.0") == LEAVERS, 10)
        for writer in writers:
            writer.close()
        assert await until(lambda: app.in_flight("m-1.0.0") == 0, 5), "queued or called, nobody waits for them any more"
        good = asyncio.ensure_future(client.post(PREDICT, json={"instances": [[3, 4]]}))
        await asyncio.sleep(0.2)
        predictor.let_go()
        assert (await asyncio.wait_for(good, 2)).json()["predictions"] == [7.0]
        assert await until(lambda: app.in_flight("m-1.0.0") == 0, 2)
        (found,) = [one for one in app.snapshot() if one.version]
        assert (found.counts, found.error_rate, found.client_errors) == ({"ok": 1, "abandoned": LEAVERS}, 0.0, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_requests_own_time_limit_reaches_the_gateway(kind, tmp_path):
    async with held_gateway(kind, tmp_path) as (_, app, client):
        late = await client.post(PREDICT, json={"instances": [[1, 2]]}, headers={"X-Request-Timeout-Ms": "50"})
        assert (late.status_code, late.json()["limit_s"], late.json()["limit_of"]) == (504, 0.05, "request")
        assert app.in_flight("m-1.0.0") == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_clients_that_left_had_asked_is_not_computed(kind, tmp_path):
    """Every hop: edge, gateway, link, replica. Only the call that had begun is computed to its end."""
    computed, begun, go_on = [], threading.Event(), threading.Event()

    def run(batch):
        begun.set()
        go_on.wait(20)
        computed.append(batch.rows.tolist())
        return BatchReply(batch.rows.sum(axis=1))

    async with predicting(run) as (_, _, link):
        app = GatewayApp(LinkPredictor(link), GatewayLimits(), SystemClock())
        app.apply(table(replace(target(schema={}), batching=Batching(join=False))))
        listener = Listener(app, "127.0.0.1")
        async with started(kind, tmp_path) as (proxy, client):
            await proxy.add("gateways", "g", listener.endpoint)
            await until_up(proxy, "gateways", "g")
            writers = [await ask_and_wait(client.base_url.port, b'{"instances": [[%d, 2]]}' % n) for n in range(8)]
            assert await until(lambda: app.in_flight("m-1.0.0") == 8 and begun.is_set(), 10)
            for writer in writers:
                writer.close()
            assert await until(lambda: app.in_flight("m-1.0.0") == 0, 5)
            good = asyncio.ensure_future(client.post(PREDICT, json={"instances": [[30, 4]]}))
            assert await until(lambda: app.in_flight("m-1.0.0") == 1, 5)
            go_on.set()
            assert (await asyncio.wait_for(good, 5)).json()["predictions"] == [34.0]
        await listener.close()
    assert len(computed) == 2, "of eight, the one that had begun; and the good client's"
