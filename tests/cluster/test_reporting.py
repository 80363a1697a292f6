"""The heartbeat of a serving process goes on, whatever happens to its loop. No Ray runs here."""

import asyncio

import pytest

from streamb.clock import ManualClock
from streamb.cluster.reporting import STALLED_S, Heartbeat
from streamb.control.observations import NodeReport


class Beating(Heartbeat):
    """Counts its beats; the first one does not come back as it should."""

    def __init__(self, first) -> None:
        super().__init__(lambda: NodeReport("gateway", "g1", "node", 1, None))
        self._clock = ManualClock(self._since)
        self.beats, self._first = 0, first

    async def _beat(self) -> bool:
        self.beats += 1
        if self.beats == 1:
            await self._first()
        return True


async def cancelled() -> None:
    raise asyncio.CancelledError


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("first", "silent_s"), [(cancelled, 0.0), (hangs, STALLED_S + 1)])
async def test_one_that_ended_or_hangs_begins_again(first, silent_s):
    heartbeat = Beating(first)
    heartbeat.start()
    await asyncio.sleep(0.2)
    assert heartbeat.beats == 1
    heartbeat._clock.advance(silent_s)
    heartbeat.ensure()
    await asyncio.sleep(0.2)
    assert heartbeat.beats > 1
    going = heartbeat._task
    heartbeat.ensure()
    assert heartbeat._task is going, "one that is well is left alone"
    await heartbeat.stop()
    heartbeat.ensure()
    await asyncio.sleep(0.01)
    assert going.cancelled()
    assert heartbeat._task is going, "one that was stopped stays so"
