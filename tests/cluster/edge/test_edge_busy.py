"""Health checks on a busy machine: a late gateway gets nothing while another is faster, and a dead one never."""

import asyncio
import contextlib

import httpx
import pytest

from tests.cluster.edge.proxies import KINDS, Gateway, started, until_up

CHECK_S = 0.2
"""How late a check may be here; the slow gateways below take half a second for everything."""

SLOW_S = 0.5


async def two_gateways(stack, proxy) -> list[Gateway]:
    gateways = [await stack.enter_async_context(Gateway(name)) for name in ("one", "other")]
    for gateway in gateways:
        for backend in ("gateways", "feedback", "late"):
            await proxy.add(backend, f"{backend}-{gateway.name}", gateway.endpoint)
    for gateway in gateways:
        for backend in ("gateways", "feedback", "late"):
            await until_up(proxy, backend, f"{backend}-{gateway.name}")
    return gateways


async def until_down(proxy, *names: str, backend: str = "gateways") -> None:
    for _ in range(400):
        states = await proxy.sessions()
        if all("DOWN" in states[backend, f"{backend}-{name}"][1] for name in names):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await proxy.sessions())


@pytest.fixture
async def busy(tmp_path):
    """HAProxy, a client, and two gateways that answer at once."""
    async with contextlib.AsyncExitStack() as stack:
        edge = started("haproxy", tmp_path, check_timeout_s=CHECK_S)
        proxy, client = await stack.enter_async_context(edge)
        yield proxy, client, await two_gateways(stack, proxy)


async def ask(client, count: int = 12) -> list[httpx.Response]:
    return await asyncio.gather(*(client.post("/v2/models/m/predict", json={"instances": [[1]]}) for _ in range(count)))


async def test_one_slow_gateway_gets_nothing_while_another_is_fast(busy):
    proxy, client, (one, _) = busy
    one.delay = SLOW_S
    await until_down(proxy, "one")
    assert {answer.text for answer in await ask(client)} == {"other"}
    one.delay = 0
    await until_up(proxy, "gateways", "gateways-one")
    assert {answer.text for answer in await ask(client)} == {"one", "other"}


async def test_when_all_are_slow_all_are_used(busy):
    proxy, client, (one, other) = busy
    one.delay = other.delay = SLOW_S
    await until_down(proxy, "one", "other")
    answers = await ask(client)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {"one", "other"}
    feedback = [await client.post("/v2/models/m/feedback", json={"request_id": "r", "label": 1}) for _ in range(3)]
    assert len({answer.text for answer in feedback}) == 1, "what is said of one prediction still goes to one gateway"
    assert {answer.status_code for answer in feedback} == {200}


async def test_a_dead_one_among_slow_ones_gets_nothing(busy):
    proxy, client, (one, other) = busy
    one.delay = other.delay = SLOW_S
    await until_down(proxy, "one", "other")
    one.kill()
    for _ in range(3):
        assert {(answer.status_code, answer.text) for answer in await ask(client, 4)} == {(200, "other")}


async def test_one_that_says_that_it_is_not_ready_gets_nothing_either(busy):
    proxy, client, (one, other) = busy
    one.status = other.status = b"503 Service Unavailable"
    await until_down(proxy, "one", "other")
    await until_down(proxy, "one", "other", backend="late")
    answer = (await ask(client, 1))[0]
    assert answer.json() == {"error": "none of the gateways is ready; try again shortly", "code": "unavailable"}


@pytest.mark.parametrize("kind", KINDS)
async def test_when_all_are_dead_the_answer_says_so(kind, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        proxy, client = await stack.enter_async_context(started(kind, tmp_path, check_timeout_s=CHECK_S))
        for gateway in await two_gateways(stack, proxy):
            gateway.kill()
        for _ in range(3):
            for answer in await ask(client, 4):
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert answer.headers["retry-after"] == "1"
            await asyncio.sleep(1)
        answer = await client.post("/v2/models/m/feedback", json={"request_id": "r", "label": 1})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_the_stand_in_prefers_who_is_least_busy(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        proxy, client = await stack.enter_async_context(started("forwarder", tmp_path))
        one, _ = await two_gateways(stack, proxy)
        one.delay = 5
        stuck = [asyncio.ensure_future(client.get("/v2/x")) for _ in range(2)]
        await asyncio.sleep(0.2)
        assert [(await client.get("/v2/x")).text for _ in range(6)] == ["other"] * 6
        for waiting in stuck:
            waiting.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
