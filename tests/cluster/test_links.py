"""Which replica a batch goes to, over real links in one process."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from streamb.cluster.links import LinkPredictor, _AppLinks
from streamb.errors import Unavailable
from streamb.serving.batch import BatchReply
from streamb.traffic import VersionTarget
from tests.serving.linked import batch, echo, linked


async def hangs(_batch) -> BatchReply:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def test_a_replica_that_hangs_is_asked_once_while_another_answers():
    """Its calls are given up at their deadline; with none left on its link it would look like the idle one."""
    target, predictor = VersionTarget("1.0.0", "app", {}), LinkPredictor(lambda replica: replica.encode())
    async with AsyncExitStack() as stack:
        links = _AppLinks("app", lambda replica: replica.encode())
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
    predictor._apps["app"] = links = _AppLinks("app", lambda replica: replica.encode())
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
