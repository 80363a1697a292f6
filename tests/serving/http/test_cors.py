"""Pages of other sites in a browser: those that are named may call the data plane, and nothing else changes."""

import asyncio
import contextlib

import httpx
import pytest

from streamb.clock import SystemClock
from streamb.cluster.listener import Listener
from streamb.config import load_settings
from streamb.errors import ConfigError
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.http.cors import with_cors
from streamb.serving.http.receive import when_gone
from tests.cluster.edge.proxies import KINDS, started, until_up
from tests.serving.gateways import ONE_ROW, PREDICT
from tests.serving.predictors import SumPredictor, table, target

APP = "https://app.example.com"
ASKS = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}


def gateway() -> GatewayApp:
    app = GatewayApp(SumPredictor(), GatewayLimits(), SystemClock())
    app.apply(table(target(schema={})))
    return app


@contextlib.asynccontextmanager
async def served(kind: str, folder, origins=(APP, "http://localhost:3000")):
    """A client of a gateway, or of an edge in front of it, under these origins."""
    listener = Listener(with_cors(gateway(), origins), "127.0.0.1")
    async with contextlib.AsyncExitStack() as stack:
        if kind == "gateway":
            url = f"http://127.0.0.1:{listener.endpoint.port}"
            yield await stack.enter_async_context(httpx.AsyncClient(base_url=url))
        else:
            proxy, client = await stack.enter_async_context(started(kind, folder, cors_origins=origins))
            for backend in ("gateways", "late"):
                await proxy.add(backend, f"{backend}-g", listener.endpoint)
                await until_up(proxy, backend, f"{backend}-g")
            yield client
    await listener.close()


@pytest.mark.parametrize("kind", ["gateway", *KINDS])
async def test_a_named_site_may_call_and_read_answers_and_errors(tmp_path, kind):
    async with served(kind, tmp_path) as client:
        preflight = await client.options(PREDICT, headers=ASKS)
        answer = await client.post(PREDICT, json=ONE_ROW, headers={"origin": APP})
        error = await client.post(PREDICT, json={}, headers={"origin": APP})
        refused = await client.get("/v2/models/a%2Fb", headers={"origin": APP})
    assert preflight.status_code == 200
    assert "x-api-key" in preflight.headers["access-control-allow-headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert [answer.status_code, error.status_code, refused.status_code] == [200, 400, 400]
    for reply in (preflight, answer, error, refused):
        assert reply.headers.get_list("access-control-allow-origin") == [APP]
        assert reply.headers.get_list("vary") == ["Origin"]
        assert "access-control-allow-credentials" not in reply.headers
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("kind", ["gateway", *KINDS])
async def test_another_site_may_not(tmp_path, kind):
    async with served(kind, tmp_path) as client:
        preflight = await client.options(PREDICT, headers={**ASKS, "origin": "https://evil.example.com"})
        answer = await client.post(PREDICT, json=ONE_ROW, headers={"origin": "https://evil.example.com"})
        plain = await client.post(PREDICT, json=ONE_ROW)
    assert (preflight.status_code, preflight.json()["code"]) == (403, "forbidden")
    assert "ML_CORS_ORIGINS" in preflight.json()["error"]
    assert [answer.status_code, plain.status_code] == [200, 200], "the browser keeps the answer from the page"
    for reply in (preflight, answer, plain):
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["vary"] == "Origin", "a cache must not mix them up"


@pytest.mark.parametrize("kind", ["gateway", *KINDS])
async def test_any_site(tmp_path, kind):
    async with served(kind, tmp_path, ("*",)) as client:
        for reply in (await client.options(PREDICT, headers=ASKS), await client.get("/v2", headers={"origin": APP})):
            assert reply.headers.get_list("access-control-allow-origin") == ["*"]
            assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_of_the_edge_itself_can_be_read_and_the_console_is_left_alone(tmp_path, kind):
    async with started(kind, tmp_path, cors_origins=(APP,)) as (_, client):
        gone = await client.get("/v2", headers={"origin": APP})
        console = await client.get("/api/models", headers={"origin": APP})
    assert (gone.status_code, gone.headers["access-control-allow-origin"]) == (503, APP)
    assert console.status_code == 503
    assert "access-control-allow-origin" not in console.headers


async def test_a_preflight_needs_no_key_and_another_options_request_is_no_preflight(tmp_path):
    async with served("gateway", tmp_path) as client:
        assert (await client.options(PREDICT, headers={"origin": APP})).status_code == 405


def test_without_the_setting_nothing_stands_in_between():
    app = gateway()
    assert with_cors(app, ()) is app
    assert load_settings().allowed_origins == ()


def test_the_setting():
    settings = load_settings(cors_origins="https://a.example.com, http://localhost:3000")
    assert settings.allowed_origins == ("https://a.example.com", "http://localhost:3000")
    assert load_settings(cors_origins="*").allowed_origins == ("*",)
    for wrong in ("a.example.com", "https://a.example.com/", "https://a b", "", "https://a,,", "none,*", "null"):
        with pytest.raises(ConfigError, match="origins such as"):
            load_settings(cors_origins=wrong)


async def test_clients_that_leave_are_noticed_behind_it():
    left = asyncio.Event()

    async def app(scope, receive, send):
        assert when_gone(scope, left.set)
        await left.wait()

    listener = Listener(with_cors(app, ("*",)), "127.0.0.1")
    _, writer = await asyncio.open_connection("127.0.0.1", listener.endpoint.port)
    writer.write(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.close()
    await asyncio.wait_for(left.wait(), 5)
    await listener.close()
