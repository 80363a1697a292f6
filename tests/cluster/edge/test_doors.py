"""Host, Origin and media type at both doors, in front of each and behind each kind of edge: a matrix of requests."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from streamb.api import create_app
from streamb.clock import SystemClock
from streamb.cluster.listener import Listener
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.http.cors import with_cors
from streamb.serving.http.origins import origins_of
from tests.api.fakes import InProcess
from tests.cluster.edge.proxies import KINDS, started, until_up
from tests.serving.predictors import SumPredictor, table, target

APP = "https://app.example.com"
OWN = ["{self}", "localhost:8000", "ml.example.com"]
FOREIGN = ["evil.example", "evil.example:8000", "169.254.169.254", "localhost.evil.example"]
PAGES = [None, "http://{host}", "https://evil.example", "null", "http://127.0.0.1:1", APP]
READS = [
    "/v2",
    "/v2/models",
    "/v2/health/ready",
    "/v2/models/m",
    "/healthz",
    "/",
    "/metrics",
    "/api/models",
    "/api/status",
]
CHANGES = [
    ("/v2/models/m/predict", {"instances": [[1, 2]]}),
    ("/v2/models/m/infer", {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}),
    ("/v2/models/m/feedback", {"request_id": "nobody-knows", "label": 1}),
    ("/api/models", {"model_id": "new"}),
    ("/api/models/m/undeploy", {}),
    ("/api/monitoring/baseline", {"model_id": "m", "from_window_minutes": 5}),
]


@contextlib.asynccontextmanager
async def doors(kind, folder, **settings):
    """The client of a path, and the control side."""
    backend = InProcess(folder / "state", allowed_hosts="ml.example.com", cors_origins=APP, **settings)
    rules = origins_of(backend.settings, data_plane=True)
    gateway = GatewayApp(SumPredictor(), GatewayLimits(), SystemClock(), origins=rules)
    gateway.apply(table(target(schema={})))
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    data = Listener(with_cors(gateway, backend.settings.allowed_origins, rules), "127.0.0.1")
    console = Listener(app, "127.0.0.1")
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(backend.close)
        stack.push_async_callback(data.close)
        stack.push_async_callback(console.close)
        if kind in KINDS:
            proxy, client = await stack.enter_async_context(started(kind, folder))
            for backend_name, listener in (("gateways", data), ("feedback", data), ("consoles", console)):
                await proxy.add(backend_name, f"{backend_name}-1", listener.endpoint)
                await until_up(proxy, backend_name, f"{backend_name}-1")
            yield (lambda path: client), backend
        else:
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{one.endpoint.port}"))
                for one in (data, console)
            ]
            yield (lambda path: clients[not path.startswith("/v2")]), backend


async def status_of(url, path, hosts):
    reader, writer = await asyncio.open_connection(url.host, url.port)
    lines = [f"GET {path} HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close"]
    writer.write("\r\n".join((*lines, "\r\n")).encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer[9:12]


@pytest.mark.parametrize("kind", ["direct", *KINDS])
async def test_every_host_with_every_page_at_every_door(tmp_path, kind):
    async with doors(kind, tmp_path) as (client_at, _):
        for named in (*OWN, *FOREIGN):
            for page in PAGES:
                for path, body in (*((path, None) for path in READS), *CHANGES):
                    client = client_at(path)
                    host = named.replace("{self}", client.base_url.netloc.decode())
                    headers = {"host": host}
                    if page is not None:
                        headers["origin"] = page.replace("{host}", host)
                    answer = await client.request("GET" if body is None else "POST", path, json=body, headers=headers)
                    may = named in OWN and (
                        body is None or page in (None, "http://{host}") or (page == APP and path.startswith("/v2"))
                    )
                    got = (answer.status_code, answer.json()["code"] if answer.status_code == 403 else "")
                    assert (got != (403, "forbidden")) is may, (named, page, path, answer.text)
                    allowed = "access-control-allow-origin" in answer.headers
                    assert allowed is (page == APP and path.startswith("/v2")), (named, page, path)


@pytest.mark.parametrize("kind", ["direct", *KINDS])
async def test_a_body_says_that_it_is_json(tmp_path, kind):
    async with doors(kind, tmp_path) as (client_at, _):
        for path, body in CHANGES:
            client, content = client_at(path), httpx.Request("POST", "http://x", json=body).content
            for media in (None, "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded"):
                headers = {} if media is None else {"content-type": media}
                answer = await client.post(path, content=content, headers=headers)
                if media is None and path.endswith("/infer"):  # tritonclient names none
                    headers["origin"] = str(client.base_url)
                    assert answer.status_code == 200
                    answer = await client.post(path, content=content, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), (path, media)
            others = ["application/json, text/plain", "application/xml", "json", ""]
            if path != "/api/monitoring/baseline":  # takes a table as a form
                others.append("multipart/form-data; boundary=x")
            for media in others:
                assert (await client.post(path, content=content, headers={"content-type": media})).status_code == 415
            for media in ("application/json; charset=utf-8", "APPLICATION/JSON"):
                answer = await client.post(path, content=content, headers={"content-type": media})
                assert answer.status_code not in (403, 415), (path, media, answer.text)
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await client_at("/api").post("/api/models/m/undeploy", headers=form)).status_code == 415
        assert (await client_at("/api").post("/api/models/m/undeploy")).status_code != 415


@pytest.mark.parametrize("kind", ["direct", *KINDS])
@pytest.mark.parametrize("path", ["/v2/models", "/api/models"])
async def test_what_is_checked_is_what_was_sent(tmp_path, kind, path):
    """Neither a second Host nor a Connection header that names it hides a foreign one."""
    async with doors(kind, tmp_path) as (client_at, _):
        client = client_at(path)
        twice = [client.base_url.netloc.decode(), "evil.example"]
        for names in (twice, twice[::-1]):
            assert await status_of(client.base_url, path, names) in (b"400", b"403", b"")  # "": HAProxy closes
        hidden = {"host": "evil.example", "connection": "close, host, origin"}
        assert (await client.get(path, headers=hidden)).status_code == 403


async def test_a_preflight_under_a_foreign_name(tmp_path):
    asks = {"origin": APP, "access-control-request-method": "POST"}
    async with doors("direct", tmp_path) as (client_at, _):
        client = client_at("/v2")
        assert (await client.options("/v2/models/m/predict", headers=asks)).status_code == 200
        foreign = await client.options("/v2/models/m/predict", headers={**asks, "host": "evil.example"})
        assert foreign.status_code == 403
        assert "access-control-allow-origin" not in foreign.headers
