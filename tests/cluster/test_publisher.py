"""The push of routing tables, without Ray: what fails once is tried again."""

import asyncio
import contextlib

import pytest

from streamb.clock import ManualClock
from streamb.cluster import publisher as module
from streamb.cluster.publisher import TablePublisher
from streamb.control.observations import Observations
from streamb.traffic import RoutingTable


class Tables:
    """The first look at the newest table fails, as when its database is away."""

    def __init__(self) -> None:
        self.looks = 0

    def newest(self) -> RoutingTable:
        self.looks += 1
        if self.looks == 1:
            raise ValueError("the database is away")
        return RoutingTable(epoch=self.looks)


@pytest.fixture
def pushed(monkeypatch):
    """The epochs that were pushed, in a queue."""
    found = asyncio.Queue()

    async def push(self, table):
        await found.put(table.epoch)
        return True

    monkeypatch.setattr(TablePublisher, "_push", push)
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    return found


async def test_a_failed_look_at_the_table_does_not_end_the_pushes(pushed, caplog):
    tables = Tables()
    task = asyncio.create_task(TablePublisher(tables.newest, Observations(ManualClock()), lambda: None).run())
    epochs = [await asyncio.wait_for(pushed.get(), 30) for _ in range(2)]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert epochs == [2, 3]
    assert "could not be pushed" in caplog.text


async def test_a_newer_table_does_not_wait_for_a_gateway_that_is_slow_with_the_one_before(monkeypatch):
    """It may end a key, and the slow gateway may wait for seconds for the replicas of a version."""
    begun, newest = asyncio.Queue(), [1]

    async def push(self, table):
        await begun.put(table.epoch)
        await asyncio.sleep(3600 if table.epoch < module.MOST_PUSHES else 0)
        return True

    monkeypatch.setattr(TablePublisher, "_push", push)
    publisher = TablePublisher(lambda: RoutingTable(newest[0]), Observations(ManualClock()), lambda: None)
    task = asyncio.create_task(publisher.run())
    for epoch in range(1, module.MOST_PUSHES + 3):
        newest[0] = epoch
        publisher.announce()
        assert await asyncio.wait_for(begun.get(), 30) == epoch
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_push_that_fails_is_repeated_but_not_without_a_pause(monkeypatch):
    begun = []

    async def push(self, table):
        begun.append(table.epoch)
        if len(begun) == 1:
            raise ValueError("no gateway")
        return len(begun) > 2

    monkeypatch.setattr(TablePublisher, "_push", push)
    monkeypatch.setattr(module, "_AGAIN_S", 0.2)
    publisher = TablePublisher(lambda: RoutingTable(7), Observations(ManualClock()), lambda: None)
    task = asyncio.create_task(publisher.run())
    await asyncio.sleep(0.1)
    assert begun == [7]
    for _ in range(300):
        if len(begun) == 3:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    assert begun == [7] * 3
    task.cancel()
