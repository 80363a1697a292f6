"""The edge, as HAProxy and as its stand-in in Python: given servers while it runs, and asked over HTTP."""

import asyncio
import contextlib
import datetime as dt
import os
import socket

import httpx
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamb.cluster import listener
from streamb.cluster.edge.configuration import EdgeConfig, Server, render
from streamb.cluster.edge.edge import haproxy_binary
from streamb.cluster.edge.forwarder import Forwarder
from streamb.cluster.edge.haproxy import HAProxy
from streamb.control.observations import Endpoint
from streamb.errors import StartFailed
from tests.cluster.edge.proxies import KINDS, Quitter, Upstream, free_port, started, until_up


@pytest.fixture(params=KINDS)
async def edge(tmp_path, request):
    async with started(request.param, tmp_path) as running:
        yield running


async def test_routes_data_and_control_paths_to_their_backends(edge):
    proxy, client = edge
    async with Upstream("gateway") as gateway, Upstream("console") as console:
        await proxy.add("gateways", "g1", gateway.endpoint)
        await proxy.add("consoles", "c1", console.endpoint)
        await until_up(proxy, "gateways", "g1")
        await until_up(proxy, "consoles", "c1")
        answers = {path: (await client.get(path)).text for path in ("/v2", "/v2/models/m", "/v2x", "/", "/api/models")}
    assert [path for path, text in answers.items() if text == "gateway"] == ["/v2", "/v2/models/m"]
    assert [path for path, text in answers.items() if text == "console"] == ["/v2x", "/", "/api/models"]


async def test_what_is_said_of_one_prediction_goes_to_one_gateway(edge):
    proxy, client = edge
    async with Upstream("g1") as one, Upstream("g2") as other:
        for name, upstream in (("g1", one), ("g2", other)):
            for backend in ("gateways", "feedback"):
                await proxy.add(backend, f"{backend}-{name}", upstream.endpoint)
                await until_up(proxy, backend, f"{backend}-{name}")

        async def tell(request_id: str) -> str:
            body = {"label": 1, "request_id": request_id}
            return (await client.post("/v2/models/m/feedback", json=body)).text

        heard = {f"id-{i}": await tell(f"id-{i}") for i in range(40)}
        assert set(heard.values()) == {"g1", "g2"}, "the work is shared"
        assert {request_id: await tell(request_id) for request_id in heard} == heard


async def test_headers_that_steer_serve_are_stripped(edge):
    proxy, client = edge
    async with Upstream("gateway") as gateway:
        await proxy.add("gateways", "g1", gateway.endpoint)
        await until_up(proxy, "gateways", "g1")
        steering = {"X-Request-Timeout-Seconds": "0", "X-Serve-Route": "x", "serve_multiplexed_model_id": "m"}
        await client.get("/v2/steer?a=b%20c", headers={**steering, "X-Keep": "1"})
        request = next(head for head in gateway.seen if "/v2/steer?a=b%20c" in head)
    assert "x-keep: 1" in request
    assert not [word for word in ("x-serve-route", "timeout-seconds", "multiplexed") if word in request]


@pytest.mark.skipif(haproxy_binary() is None, reason="the stand-in does not check its servers")
async def test_a_new_gateway_gets_nothing_before_its_first_check_passes(tmp_path):
    config = EdgeConfig("127.0.0.1", free_port(), tmp_path / "a.sock", None, answer_timeout_s=10)
    proxy = HAProxy(haproxy_binary(), config, tmp_path)
    await proxy.start()
    async with Upstream("not ready", status="503 Service Unavailable") as gateway:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=60) as client:
            await proxy.add("gateways", "g1", gateway.endpoint)
            for number in range(2000):
                assert (await client.get("/v2/x")).json()["code"] == "unavailable", "the edge answers for itself"
                await asyncio.sleep(0.01)
                if number >= 100 and gateway.seen:
                    break
        assert all("/v2/health/ready" in head for head in gateway.seen), "nothing but checks"
        assert gateway.seen
    await proxy.stop()


async def test_without_a_gateway_the_answer_is_a_typed_503(edge):
    _, client = edge
    answer = await client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"error": "none of the gateways is ready; try again shortly", "code": "unavailable"}
    assert answer.headers["retry-after"] == "1"


async def test_swapping_gateways_under_load_drops_nothing(edge):
    proxy, client = edge
    async with contextlib.AsyncExitStack() as stack:
        pid, served, failed = proxy.pid, [], []
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                answer = await client.get("/v2/x")
                (served if answer.status_code == 200 else failed).append(answer.text)

        current = await stack.enter_async_context(Upstream("g0", delay=0.005))
        await proxy.add("gateways", "g0", current.endpoint)
        await until_up(proxy, "gateways", "g0")
        workers = [asyncio.create_task(load()) for _ in range(8)]
        await asyncio.sleep(0.1)
        for i in range(1, 4):
            following = await stack.enter_async_context(Upstream(f"g{i}", delay=0.005))
            await proxy.add("gateways", f"g{i}", following.endpoint)
            await until_up(proxy, "gateways", f"g{i}")
            await proxy.drain("gateways", f"g{i - 1}")
            for _ in range(1000):
                if (await proxy.sessions())[("gateways", f"g{i - 1}")][0] == 0:
                    break
                await asyncio.sleep(0.02)
            assert await proxy.remove("gateways", f"g{i - 1}")
            await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*workers)
    assert not failed
    assert set(served) == {"g0", "g1", "g2", "g3"}
    assert proxy.pid == pid, "gateways come and go without a reload"


async def test_a_gateway_that_is_gone_is_not_noticed_while_another_is_there(edge):
    proxy, client = edge
    async with Upstream("steady") as steady:
        async with Upstream("dying", delay=0.01) as dying:
            for name, upstream in (("s", steady), ("d", dying)):
                await proxy.add("gateways", name, upstream.endpoint)
                await until_up(proxy, "gateways", name)
        answers = [await client.get("/v2/x") for _ in range(50)]
    assert {a.status_code for a in answers} == {200}


async def test_bodies_pass_in_both_directions(edge):
    proxy, client = edge
    seen = bytearray()

    async def echo(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"POST" in head:
            seen.extend(await reader.readexactly(1 << 20))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(seen) + bytes(seen))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        await proxy.add("gateways", "e", Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
        await until_up(proxy, "gateways", "e")
        body = bytes(range(256)) * 4096
        assert (await client.post("/v2/x", content=body)).content == body


@pytest.mark.parametrize(("backend", "path"), [("consoles", "/api/models"), ("feedback", "/v2/models/m/feedback")])
async def test_what_may_have_been_done_is_not_asked_of_another(edge, backend, path):
    proxy, client = edge
    async with Quitter("one") as one, Quitter("other") as other:
        for name, upstream in (("a", one), ("b", other)):
            for also in {backend, "gateways" if backend == "feedback" else backend}:
                await proxy.add(also, f"{also}-{name}", upstream.endpoint)
                await until_up(proxy, also, f"{also}-{name}")
        answer = await client.post(path, json={"request_id": "r", "label": 1})
    assert (answer.status_code, answer.json()["code"]) == (502, "unavailable")
    assert len(one.seen) + len(other.seen) == 1


async def test_a_prediction_is_asked_of_another_when_a_gateway_hangs_up(edge):
    proxy, client = edge
    async with Quitter("quits") as quits, Upstream("steady") as steady:
        for name, upstream in (("a", quits), ("b", steady)):
            await proxy.add("gateways", name, upstream.endpoint)
            await until_up(proxy, "gateways", name)
        answers = [(await client.post("/v2/x", json={"instances": [[1]]})).text for _ in range(6)]
    assert answers == ["steady"] * 6
    assert quits.seen, "it was asked first at least once"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_gateway_that_is_silent_is_a_typed_504(tmp_path, kind):
    async with started(kind, tmp_path, answer_timeout_s=1) as (proxy, client), Upstream("slow", delay=0.0) as slow:
        await proxy.add("gateways", "g", slow.endpoint)
        await until_up(proxy, "gateways", "g")
        slow.delay = 5.0
        answer = await client.post("/v2/x", json={})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")


async def test_a_part_of_a_body_does_not_pass_for_the_whole(edge):
    proxy, client = edge
    whole = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while b"POST" not in (head := await reader.readuntil(b"\r\n\r\n")):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            assert b"chunked" in head.lower()
            whole.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        await proxy.add("consoles", "c", Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
        await until_up(proxy, "consoles", "c")
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /api/models HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.3)
    assert not whole


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(listener, "_PATIENCE_S", 1)

    async def app(_scope, _receive, send):
        body = bytes(20_000_000)
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    listening = listener.Listener(app, "127.0.0.1")
    connections = listening._server.server_state.connections
    with socket.create_connection(("127.0.0.1", listening.endpoint.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(30):
            while not connections:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while connections:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await listening.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_taken_port_says_so(tmp_path, kind):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = EdgeConfig("127.0.0.1", taken.getsockname()[1], tmp_path / "a.sock", None, answer_timeout_s=10)
        proxy = HAProxy(haproxy_binary(), config, tmp_path) if kind == "haproxy" else Forwarder(config)
        with pytest.raises(StartFailed, match=str(config.port)):
            await proxy.start()
        await proxy.stop()


@pytest.mark.parametrize("edge", ["haproxy"], indirect=True)
async def test_the_admin_socket_is_ours_alone_and_no_other_port_is_open(edge, tmp_path):
    proxy, _ = edge
    assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o600
    listening = [c for c in psutil.Process(proxy.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 1


def test_an_ipv6_host_is_bracketed(tmp_path):
    assert "bind [::1]:80" in render(EdgeConfig("::1", 80, tmp_path / "s", None, 5))


async def test_a_second_haproxy_cannot_share_the_port(tmp_path):
    port, proxies = free_port(), []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        config = EdgeConfig("127.0.0.1", port, tmp_path / name / "a.sock", None, answer_timeout_s=10)
        proxies.append(HAProxy(haproxy_binary(), config, tmp_path / name))
    await proxies[0].start()
    with pytest.raises(StartFailed, match=str(port)):
        await proxies[1].start()
    for proxy in proxies:
        await proxy.stop()


async def test_a_killed_haproxy_is_replaced_with_its_servers_and_refuses_nobody(tmp_path):
    config = EdgeConfig("127.0.0.1", free_port(), tmp_path / "a.sock", None, answer_timeout_s=10)
    proxy = HAProxy(haproxy_binary(), config, tmp_path)
    await proxy.start()
    async with Upstream("gateway") as gateway, Upstream("console") as console:
        known = {"g1": Server("gateways", gateway.endpoint), "c1": Server("consoles", console.endpoint)}
        for name, server in known.items():
            await proxy.add(server.backend, name, server.endpoint)
            await until_up(proxy, server.backend, name)
        psutil.Process(proxy.pid).kill()
        await asyncio.wait_for(proxy.ended(30), 10)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=60) as client:
            asked = asyncio.ensure_future(client.get("/v2/x"))
            await asyncio.sleep(0.2)
            assert proxy.pid is None
            assert not asked.done(), "the connection waits for the next one"
            await proxy.start(known=known)
            assert (await asked).text == "gateway"
            assert (await client.get("/healthz")).text == "console"
        for name, server in known.items():  # those of the configuration leave as the others do
            await proxy.drain(server.backend, name)
            for _ in range(200):
                if await proxy.remove(server.backend, name):
                    break
                await asyncio.sleep(0.05)
        assert not [name for _, name in await proxy.sessions() if name in known]
    await proxy.stop()


async def test_tls_ends_at_the_edge(tmp_path):
    config = EdgeConfig("127.0.0.1", free_port(), tmp_path / "a.sock", self_signed(tmp_path), answer_timeout_s=10)
    proxy = HAProxy(haproxy_binary(), config, tmp_path)
    await proxy.start()
    try:
        async with Upstream("gateway") as gateway, httpx.AsyncClient(verify=False) as client:
            await proxy.add("gateways", "g", gateway.endpoint)
            await until_up(proxy, "gateways", "g")
            assert (await client.get(f"https://127.0.0.1:{config.port}/v2")).text == "gateway"
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{config.port}/v2")
    finally:
        await proxy.stop()


def self_signed(folder):
    """A PEM file with a certificate for localhost and its key, as the edge joins them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    lasting = unsigned.not_valid_before(now).not_valid_after(now + dt.timedelta(hours=1))
    certificate = lasting.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "edge.pem"
    file.write_bytes(certificate + key.private_bytes(*encoding))
    return file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("secret", ["s" * 64, ""])
async def test_the_edge_says_where_a_request_comes_from_and_a_client_cannot(tmp_path, kind, secret):
    forged = {"X-Streamb-Client": f"{'s' * 64} 203.0.113.9"}
    async with started(kind, tmp_path, secret=secret) as (proxy, client), Upstream("gateway") as gateway:
        for backend in ("gateways", "consoles"):
            await proxy.add(backend, f"{backend}-1", gateway.endpoint)
            await until_up(proxy, backend, f"{backend}-1")
        for path in ("/v2/models/m", "/api/models"):
            hop = ("Connection", "keep-alive, X-Streamb-Client")  # as if it were for this hop only
            await client.get(path, headers=[*forged.items(), *forged.items(), ("X-Mark", path), hop])
    for path in ("/v2/models/m", "/api/models"):
        head = next(head for head in gateway.seen if f"x-mark: {path}" in head)
        said = [line for line in head.split("\r\n") if line.startswith("x-streamb-client")]
        assert said == ([f"x-streamb-client: {secret} 127.0.0.1"] if secret else [])


@pytest.mark.skipif(haproxy_binary() is None, reason="the stand-in has no such file")
async def test_the_configuration_with_its_secret_is_for_its_owner_only(tmp_path):
    before = os.umask(0)
    try:
        async with started("haproxy", tmp_path, secret="s" * 64):
            (written,) = tmp_path.glob("*.cfg")
            assert written.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert "s" * 64 not in repr(EdgeConfig("127.0.0.1", 1, tmp_path / "a", None, 1.0, secret="s" * 64))
