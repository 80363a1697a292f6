"""Which replica a batch goes to, over real links in one process."""

import asyncio
from contextlib import AsyncExitStack

from streamb.cluster.links import LinkPredictor, _AppLinks
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
