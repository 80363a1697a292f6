"""Which replica a batch goes to, over real links in one process."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from streamb.clock import ManualClock, SystemClock
from streamb.cluster import links as module
from streamb.cluster.links import LinkPredictor, _AppLinks
from streamb.errors import Unavailable
from streamb.serving.batch import BatchReply
from streamb.serving.links import server as server_module
from streamb.traffic import VersionTarget
from tests.serving.linked import SECRET, batch, echo, linked, until


async def hangs(_batch) -> BatchReply:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_a_replica_that_hangs_is_asked_once_while_another_answers():
    """Its calls are given up at their deadline; with none left on its link it would look like the idle one."""
    target, predictor = VersionTarget("1.0.0", "app", {}), LinkPredictor(lambda replica: replica.encode())
    async with AsyncExitStack() as stack:
        links = _AppLinks("app", lambda replica: replica.encode(), SystemClock())
        for name, predict in (("stuck", hangs), ("quick", echo)):
            _, link, _ = await stack.enter_async_context(linked(predict))
            links._links[name] = link
        predictor._apps["app"] = links
        late = 0
        for _ in range(10):
            try:
                await asyncio.wait_for(predictor.predict(target, batch()), 0.05)
            except TimeoutError:
                late += 1
        assert (late, links._links["stuck"].load, links._links["quick"].load) == (1, 1, 0)
        predictor.close()


async def test_a_request_does_not_wait_for_an_app_that_has_failed():
    """Neither one that comes later nor one that waits already; one that is started again is waited for."""
    target, predictor = VersionTarget("1.0.0", "app", {}), LinkPredictor(lambda replica: replica.encode())
    predictor._apps["app"] = links = _AppLinks("app", lambda replica: replica.encode(), SystemClock())
    early = asyncio.create_task(predictor.predict(target, batch()))
    await asyncio.sleep(0)
    predictor.hear_failed({"app": "its environment is broken"})
    for call in (early, predictor.predict(target, batch())):
        with pytest.raises(Unavailable, match=r"version 1\.0\.0 does not run: its environment is broken"):
            await asyncio.wait_for(call, 30)
    predictor.hear_failed({})
    late = asyncio.create_task(predictor.predict(target, batch()))
    async with linked(echo) as (_, link, _):
        links._links["new"] = link
        links.found.set()
        assert (await asyncio.wait_for(late, 30)).predictions is not None
    predictor.close()


@asynccontextmanager
async def with_one_replica(predict=echo):
    """A predictor whose app has one replica, the app's links, its server, and the target."""
    clock = ManualClock()
    predictor = LinkPredictor(lambda replica: replica.encode(), clock)
    predictor._apps["app"] = links = _AppLinks("app", lambda _: SECRET, clock)
    async with linked(predict) as (server, link, _):
        await links._connect(link.address)
        yield predictor, links, server, VersionTarget("1.0.0", "app", {})
        predictor.close()


def kill(server) -> None:
    """End the connections of a replica as the end of its process does."""
    server._server.close()
    for side in list(server._sides):
        side._socket.abort()


class TestAnOnlyReplicaThatIsKilled:
    async def test_what_waits_for_it_is_refused_within_two_seconds_and_what_comes_later_at_once(self, monkeypatch):
        monkeypatch.setattr(module, "GONE_S", 0.2)
        async with with_one_replica(hangs) as (predictor, links, server, target):
            calls = [asyncio.create_task(predictor.predict(target, batch())) for _ in range(3)]
            await until(lambda: links._links["r1"].load == 3)
            kill(server)
            for call in calls:
                with pytest.raises(Unavailable, match="was lost before it answered"):
                    await asyncio.wait_for(call, 30)
            assert predictor.replicas(target) == 0
            with pytest.raises(Unavailable, match=r"no replica of version 1\.0\.0 answers at present") as refused:
                await asyncio.wait_for(predictor.predict(target, batch()), 30)
            assert refused.value.details["retry_after_s"] == 1
            links._clock.advance(10)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(predictor.predict(target, batch()), 0.1)

    async def test_another_one_that_comes_meanwhile_answers(self):
        async with with_one_replica() as (predictor, links, server, target):
            kill(server)
            await until(lambda: not predictor.replicas(target))
            waits = asyncio.create_task(predictor.predict(target, batch()))
            await asyncio.sleep(0)
            async with linked(echo) as (_, link, _):
                await links._connect(link.address)
                assert (await asyncio.wait_for(waits, 30)).predictions is not None
                assert links._gone_at is None

    async def test_a_version_whose_first_replica_starts_is_waited_for(self, monkeypatch):
        monkeypatch.setattr(module, "GONE_S", 0.0)
        predictor = LinkPredictor(lambda _: SECRET)
        predictor._apps["app"] = _AppLinks("app", lambda _: SECRET, SystemClock())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(predictor.predict(VersionTarget("1.0.0", "app", {}), batch()), 0.1)
        predictor.close()

    async def test_one_that_is_stuck_is_not_counted_and_says_why(self, monkeypatch):
        monkeypatch.setattr(module, "GONE_S", 0.2)
        monkeypatch.setattr(server_module, "_LOOK_S", 0.05)
        async with with_one_replica(hangs) as (predictor, _, server, target):
            server._desk.said = "a call has been running for 31 s"
            await until(lambda: not predictor.replicas(target))
            with pytest.raises(Unavailable, match="answers at present: a call has been running for 31 s"):
                await asyncio.wait_for(predictor.predict(target, batch()), 30)
