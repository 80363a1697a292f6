"""Whatever is sent to HAProxy, to its stand-in or to a gateway's own listener, an error that comes back is JSON."""

import asyncio
import contextlib

import httpx
import orjson
import pytest

from streamb.clock import SystemClock
from streamb.cluster.edge import forwarder, haproxy
from streamb.cluster.listener import Listener
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.http import listener as listening
from tests.cluster.edge.proxies import KINDS, Gateway, started, until_up
from tests.serving.predictors import SumPredictor, table, target

POST = b"POST /v2/models/m/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
GET = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"

ATTACKS = {
    "garbage": (b"\x00\x01\x02garbage\r\n\r\n", {400}),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 200, {400}),
    "method_with_space": (b"GE T /v2 HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "unknown_method": (b"FOO /v2 HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "patch": (b"PATCH /v2 HTTP/1.1\r\nhost: x\r\n\r\n", {405}),
    "connect": (b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", {405, 503}),
    "http_0_9": (b"GET /v2\r\n\r\n", {200, 400}),
    "http_1_2": (b"GET /v2 HTTP/1.2\r\nhost: x\r\n\r\n", {200, 400}),
    "http_2_0": (b"GET /v2/x HTTP/2.0\r\nhost: x\r\n\r\n", {400, 404}),
    "two_hosts": (b"GET /v2/x HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", {400, 404}),
    "bad_header": (GET + b"bad header: y\r\n\r\n", {400}),
    "nul_in_header": (GET + b"a: \x00y\r\n\r\n", {400}),
    "length_of_letters": (POST + b"content-length: abc\r\n\r\n", {400}),
    "negative_length": (POST + b"content-length: -1\r\n\r\n", {400}),
    "two_lengths": (POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx", {400}),
    "length_and_chunks": (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400}),
    "unknown_transfer": (POST + b"transfer-encoding: foo\r\n\r\n0\r\n\r\n", {400}),
    "bad_chunk": (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", {400}),
    "unfinished_chunk": (POST + b"transfer-encoding: chunked\r\n\r\n5\r\n{", {408}),
    "unfinished_body": (POST + b"content-length: 10\r\n\r\n{", {408}),
    "unfinished_head": (GET, {408}),
    "large_body": (POST + b"content-length: 300000\r\n\r\n" + b" " * 300_000, {413}),
    "large_head": (GET + b"a: " + b"y" * 70_000 + b"\r\n\r\n", {200, 400}),
    "very_large_head": (GET + b"a: " + b"y" * 200_000 + b"\r\n\r\n", {400}),
    "long_path": (b"GET /v2/" + b"y" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404}),
    "many_headers": (
        b"GET /v2/x HTTP/1.1\r\nhost: x\r\n" + b"".join(b"a%d: y\r\n" % i for i in range(400)) + b"\r\n",
        {404},
    ),
    "raw_utf8": ("GET /v2/models/ü HTTP/1.1\r\nhost: x\r\n\r\n".encode(), {400}),
    "encoded_slash": (b"POST /v2/models/a%2Fb/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", {400}),
    "encoded_separator": (b"GET /v2%2fmodels%2fm HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "encoded_nul": (b"GET /v2/models/m%00 HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "encoded_twice": (b"GET /v2/models/a%252Fb HTTP/1.1\r\nhost: x\r\n\r\n", {400}),
    "unicode_name": (b"GET /v2/models/%C3%BC HTTP/1.1\r\nhost: x\r\n\r\n", {404}),
    "no_json": (POST + b"content-length: 1\r\n\r\n{", {400}),
    "unknown_model": (
        b"POST /v2/models/x/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 19\r\n\r\n" + b'{"instances":[[1]]}',
        {404},
    ),
}

SILENT = {
    *("garbage", "tls", "method_with_space", "http_0_9", "two_hosts", "bad_header", "nul_in_header", "raw_utf8"),
    *("length_of_letters", "negative_length", "two_lengths", "unknown_transfer", "bad_chunk"),
    *("unfinished_head", "large_head", "very_large_head", "long_path"),
}
"""What HAProxy answers with a closed connection, because this version could only send a page of its own."""


async def attack(port: int, data: bytes) -> bytes:
    """What comes back to `data`, until the connection is closed or a reply is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(10):
            while not complete(answer) and (part := await reader.read(65536)):
                answer += part
    writer.close()
    return answer


def complete(answer: bytes) -> bool:
    try:
        orjson.loads(answer.partition(b"\r\n\r\n")[2])
    except orjson.JSONDecodeError:
        return False
    return True


@contextlib.asynccontextmanager
async def all_three(folder):
    """The ports of HAProxy, of its stand-in, and of the gateway that is behind both."""
    app = GatewayApp(SumPredictor(), GatewayLimits(body_timeout_s=2.0, max_body_bytes=200_000), SystemClock())
    app.apply(table(target(schema={})))
    gateway = Listener(app, "127.0.0.1")
    async with contextlib.AsyncExitStack() as stack:
        ports = {"gateway": gateway.endpoint.port}
        for kind in KINDS:
            proxy, client = await stack.enter_async_context(started(kind, folder, max_body_bytes=200_000))
            for backend in ("gateways", "feedback", "late"):
                await proxy.add(backend, f"{backend}-g", gateway.endpoint)
                await until_up(proxy, backend, f"{backend}-g")
            ports[kind] = client.base_url.port
        yield ports
    await gateway.close()


def fault(kind: str, name: str, answer: bytes) -> str:
    """What is wrong with an answer; "" if nothing is."""
    if kind == "haproxy" and name in SILENT:
        return "it is not silent any more: make it JSON" if answer else ""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head or int(head.split()[1]) not in ATTACKS[name][1]:
        return "the status is another one"
    if b"content-type: application/json" not in head.lower():
        return "it is not JSON"
    if int(head.split()[1]) < 400:
        return ""
    document = orjson.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    return "" if len(document["error"]) > 10 and document["code"] else "it does not say enough"


async def test_an_error_is_json_whoever_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "_HEAD_S", 2.0)
    monkeypatch.setattr(forwarder, "_BODY_S", 2.0)
    rendered = haproxy.render
    monkeypatch.setattr(haproxy, "render", lambda *a, **k: rendered(*a, **k).replace("request 30s", "request 2s"))
    at_once = asyncio.Semaphore(8)  # a busy machine must not let a whole request look like an unfinished one

    async def tried(kind: str, name: str) -> bytes:
        async with at_once:
            return await attack(ports[kind], ATTACKS[name][0])

    async with all_three(tmp_path) as ports:
        names = [(kind, name) for kind in ports for name in ATTACKS]
        answers = await asyncio.gather(*(tried(kind, name) for kind, name in names))
    faults = {
        f"{kind} {name}": (why, answer[:200])
        for (kind, name), answer in zip(names, answers, strict=True)
        if (why := fault(kind, name, answer))
    }
    assert not faults


class Holding(Gateway):
    """A gateway that answers its checks and keeps everything else waiting."""

    async def has_seen(self, count: int) -> None:
        for _ in range(1000):
            if len(self.seen) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.seen)

    async def _serve(self, reader, writer) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while b"/ready" in (head := await reader.readuntil(b"\r\n\r\n")):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            self.seen.append(head.decode())
            await reader.read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [10, 150_000])
async def test_a_gateway_killed_with_requests_on_it(tmp_path, kind, size):
    async with started(kind, tmp_path) as (proxy, client), Holding("dies") as dying, Gateway("lives") as living:
        await proxy.add("gateways", "dies", dying.endpoint)
        await until_up(proxy, "gateways", "dies")
        asked = [asyncio.ensure_future(client.post("/v2/models/m/predict", content=b" " * size)) for _ in range(8)]
        await dying.has_seen(8)
        await proxy.add("gateways", "lives", living.endpoint)
        await until_up(proxy, "gateways", "lives")
        dying.kill()
        answers = await asyncio.wait_for(asyncio.gather(*asked), 10)
    for answer in answers:
        if answer.status_code == 200:
            assert answer.text == "lives"
        else:
            assert (answer.status_code, answer.json()["code"]) == (502, "unavailable")
            assert "server ended" in answer.json()["error"]
    if size == 10:
        assert {answer.status_code for answer in answers} == {200}, "a small request is asked elsewhere"


@pytest.mark.parametrize("kind", KINDS)
async def test_without_another_gateway_the_killed_one_is_a_typed_error(tmp_path, kind):
    async with started(kind, tmp_path) as (proxy, client), Holding("dies") as dying:
        await proxy.add("gateways", "dies", dying.endpoint)
        await until_up(proxy, "gateways", "dies")
        asked = asyncio.ensure_future(client.post("/v2/models/m/predict", json={}))
        await dying.has_seen(1)
        dying.kill()
        answer: httpx.Response = await asyncio.wait_for(asked, 10)
    assert answer.status_code in (502, 503)
    assert answer.json()["code"] == "unavailable"
