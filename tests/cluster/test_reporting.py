"""The heartbeat of a serving process goes on, whatever happens to its loop. No Ray runs here."""

import asyncio

import pytest

from streamb.clock import ManualClock
from streamb.cluster.reporting import STALLED_S, Heartbeat
from streamb.control.observations import NodeReport
from streamb.serving.callers import CallerLimits
from streamb.traffic import RateLimits, RoutingTable
from streamb.traffic.shares import Shares, Uses


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


class Controller:
    """Answers each heartbeat with a table, and with what has failed."""

    def __init__(self) -> None:
        self.heartbeat = self
        self.beats = 0
        self.often = asyncio.Event()

    async def remote(self, report):
        self.beats += 1
        if self.beats == 5:
            self.often.set()
        return RoutingTable(self.beats), {"m--1.0.0--x": "it has failed"}, None, True


async def test_a_table_that_waits_for_replicas_does_not_silence_the_gateway(monkeypatch, caplog):
    """A gateway that is silent for four seconds counts as gone, and adopting a table may take longer."""
    monkeypatch.setattr("streamb.cluster.reporting.INTERVAL_S", 0.02)
    monkeypatch.setattr("streamb.cluster.reporting._SOON_S", 0.02)
    heard = []

    async def adopt(table: RoutingTable) -> None:
        if table.epoch == 1:
            raise ValueError("no schema")
        await hangs()

    heartbeat = Heartbeat(lambda: NodeReport("gateway", "g1", "node", 1, None), adopt, heard.append)
    heartbeat._controller = controller = Controller()
    heartbeat.start()
    await asyncio.wait_for(controller.often.wait(), 30)
    heartbeat._task.cancel()
    assert heard[0] == {"m--1.0.0--x": "it has failed"}
    assert "a routing table could not be adopted: no schema" in caplog.text


class Dividing:
    """Gives a gateway all of every limit at first, then less of one; keeps what it was told."""

    def __init__(self) -> None:
        self.heartbeat = self
        self.told: list[Uses] = []
        self.late = asyncio.Event()

    async def remote(self, report):
        self.told.append(report.uses)
        number = len(self.told)
        if number == 4:
            await asyncio.sleep(60)  # this answer comes too late
        if number == 6:
            self.late.set()
        return None, {}, Shares(1.0 if number == 1 else 0.5, {("k", "m"): number / 100}, filled=1.0), True


async def test_shares_are_used_as_told_and_told_as_used(monkeypatch):
    monkeypatch.setattr("streamb.cluster.reporting.INTERVAL_S", 0.02)
    monkeypatch.setattr("streamb.cluster.reporting._CALL_TIMEOUT_S", 0.3)
    clock = ManualClock(100.0)
    callers = CallerLimits(clock, divided=True)
    callers.use(RateLimits(60, 10, 600, 20))
    heartbeat = Heartbeat(lambda: NodeReport("gateway", "g1", "node", 1, None), callers=callers)
    heartbeat._controller = controller = Dividing()
    monkeypatch.setattr("streamb.cluster.reporting.ray.get_actor", lambda *_: controller)
    heartbeat.start()
    await asyncio.wait_for(controller.late.wait(), 30)
    heartbeat._task.cancel()
    shares = [uses.shares for uses in controller.told]
    assert shares[0] is None
    assert [one.of["k", "m"] for one in shares[1:]] == [0.01, 0.02, 0.03, 0.03, 0.05], (
        "of a late answer nothing is used"
    )
    assert [one.default for one in shares[1:3]] == [1.0, 0.5]


async def test_a_controller_without_its_database_does_not_count_as_heard(monkeypatch):
    """It cannot know which keys are valid, so what a gateway knows of them becomes older."""
    monkeypatch.setattr("streamb.cluster.reporting.INTERVAL_S", 0.01)
    answers, heard, enough = [False, False, True], [], asyncio.Event()

    class Opening:
        def __init__(self) -> None:
            self.heartbeat = self

        async def remote(self, report):
            known = answers.pop(0) if answers else True
            return None, {}, None, known

    def hear(report: NodeReport) -> None:
        heard.append((len(answers), report.used))
        enough.set()

    used = {"0123456789ab": 5.0}
    heartbeat = Heartbeat(lambda: NodeReport("gateway", "g1", "node", 1, used=used), heard=hear)
    heartbeat._controller = Opening()
    heartbeat.start()
    await asyncio.wait_for(enough.wait(), 30)
    heartbeat._task.cancel()
    assert heard[0] == (0, used)
