import dataclasses

from streamb.clock import ManualClock
from streamb.metrics import VersionRecorder
from streamb.wiring.observations import SILENCE_S, Endpoint, NodeReport, Observations


def report(source: str = "g1", **changes) -> NodeReport:
    return dataclasses.replace(NodeReport("gateway", source, "node", 1, Endpoint("127.0.0.1", 1)), **changes)


def snapshot(requests: int):
    recorder = VersionRecorder("m", "1.0.0")
    for _ in range(requests):
        recorder.answered(0.001, 1)
    return recorder.snapshot(in_flight=2, queued=1)


def total(observations: Observations) -> int:
    return sum(sum(s.counts.values()) for s in observations.snapshots())


def test_a_silent_source_is_gone_and_its_counts_stay():
    clock = ManualClock()
    observations = Observations(clock)
    observations.receive(report("g1", snapshots=(snapshot(3),)))
    clock.advance(SILENCE_S - 1)
    observations.receive(report("g2", snapshots=(snapshot(2),)))
    assert total(observations) == 5
    clock.advance(2)
    assert [r.source for r in observations.live("gateway")] == ["g2"]
    assert total(observations) == 5
    observations.receive(report("g2", snapshots=(snapshot(4),)))
    assert total(observations) == 7


def test_a_report_replaces_the_sources_earlier_one():
    observations = Observations(ManualClock())
    observations.receive(report(in_flight={"app": 3}))
    observations.receive(report(in_flight={"app": 1}))
    assert observations.in_flight("app") == 1


def test_a_goodbye_counts_once_however_often_it_is_said():
    observations = Observations(ManualClock())
    observations.receive(report(snapshots=(snapshot(3),)))
    observations.forget("g1")
    observations.forget("g1")
    assert not observations.live()
    assert [s.in_flight for s in observations.snapshots()] == [0], "nobody is in flight at a gateway that is gone"
    assert total(observations) == 3


def test_acknowledged_needs_every_live_gateway_and_at_least_one():
    observations = Observations(ManualClock())
    assert not observations.acknowledged(0)
    observations.receive(report("g1", epoch=5))
    assert observations.acknowledged(5)
    observations.receive(report("g2", epoch=4))
    assert not observations.acknowledged(5)
    observations.receive(NodeReport("console", "c", "n", 1, epoch=0))
    assert observations.acknowledged(4)
