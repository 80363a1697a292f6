"""A replica's server and a gateway's link to it, in one process."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np

from streamb.models.outputs import failure_of
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.link import Link, LinkServer
from streamb.serving.predicting import PredictThread

SECRET = b"known to both sides"


def batch(value: float = 0.0, rows: int = 1) -> Batch:
    return Batch(np.full((rows, 2), value), (rows,))


async def echo(asked: Batch) -> BatchReply:
    return BatchReply(np.asarray(asked.rows)[:, 0])


class Tasks:
    """Runs `predict` in a task for each call, as if all of them began at once."""

    def __init__(self, predict) -> None:
        self._predict = predict
        self.said = ""

    def submit(self, asked, told):
        return asyncio.get_running_loop().create_task(self._run(asked, told))

    async def _run(self, asked, told):
        try:
            outcome = await self._predict(asked)
        except BaseException as error:
            outcome = failure_of(error)
        told(outcome)

    def drop(self, work) -> bool:
        return False

    def trouble(self) -> str:
        return self.said


class Desk:
    """A model whose calls are answered by hand."""

    def __init__(self) -> None:
        self.calls: list[tuple[Batch, asyncio.Future[BatchReply]]] = []

    async def predict(self, asked: Batch) -> BatchReply:
        answer = asyncio.get_running_loop().create_future()
        self.calls.append((asked, answer))
        return await answer

    def answer(self, index: int) -> None:
        asked, answer = self.calls[index]
        answer.set_result(BatchReply(np.asarray(asked.rows)[:, 0]))


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@asynccontextmanager
async def linked(predict=echo, **options):
    """A server, a link to it, and the links that were lost."""
    server = LinkServer(Tasks(predict), replica="r1", secret=SECRET, **options)
    address = await server.start("127.0.0.1")
    lost: list[Link] = []
    link = await Link.connect(address, SECRET, on_lost=lost.append)
    try:
        yield server, link, lost
    finally:
        link.close()
        await server.close(0)


async def no_loss(_link):
    raise AssertionError


@asynccontextmanager
async def predicting(run, *, limit_s=30.0, **options):
    """A server whose calls `run` answers on a predicting thread, as in a replica, and a link to it from this loop."""
    thread = PredictThread(run, limit_s=limit_s, **options)
    server = LinkServer(thread, replica="r1", secret=SECRET)

    async def there(work):
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, thread.loop))

    address = await there(server.start("127.0.0.1"))
    link = await Link.connect(address, SECRET, on_lost=lambda _: None)
    try:
        yield thread, server, link
    finally:
        link.close()
        await there(server.close(0))
        thread.end()
