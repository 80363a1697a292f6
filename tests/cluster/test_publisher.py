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
