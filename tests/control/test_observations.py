import dataclasses
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streamb.clock import ManualClock
from streamb.control.observations import SILENCE_S, Endpoint, NodeReport, Observations
from streamb.metrics import VersionRecorder
from streamb.metrics.export import prometheus_text
from streamb.metrics.predictions import MOST_LABELS
from streamb.metrics.windows import REMEMBERED_SOURCES


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


def listening_for(seconds: float) -> Observations:
    """Observations that are older than whoever reports less uptime."""
    clock = ManualClock()
    observations = Observations(clock)
    clock.advance(seconds)
    return observations


def test_counts_told_with_the_goodbye_and_after_it_are_not_lost():
    observations = listening_for(10)
    observations.receive(report(snapshots=(snapshot(3),), uptime_s=1))
    observations.goodbye(report(snapshots=(snapshot(4),), uptime_s=2))
    assert not observations.live()
    observations.goodbye(report(snapshots=(snapshot(6),), uptime_s=4))
    assert not observations.live()
    assert total(observations) == observations.windows.total("m", "1.0.0").ok == 6


def test_a_report_that_was_overtaken_says_nothing():
    observations = listening_for(10)
    observations.receive(report(snapshots=(snapshot(5),), uptime_s=2, epoch=2))
    observations.receive(report(snapshots=(snapshot(3),), uptime_s=1, epoch=1))
    assert (total(observations), observations.acknowledged(2)) == (5, True)
    observations.goodbye(report(snapshots=(snapshot(6),), uptime_s=3))
    observations.receive(report(snapshots=(snapshot(5),), uptime_s=2))
    assert not observations.live(), "it has said goodbye since"
    assert total(observations) == observations.windows.total("m", "1.0.0").ok == 6


def test_a_source_that_returns_after_silence_is_counted_once():
    clock = ManualClock()
    observations = Observations(clock)
    observations.receive(report(snapshots=(snapshot(3),)))
    clock.advance(SILENCE_S + 1)
    assert not observations.live()
    assert total(observations) == 3
    observations.receive(report(snapshots=(snapshot(5),)))
    assert [r.source for r in observations.live()] == ["g1"]
    assert total(observations) == observations.windows.total("m", "1.0.0").ok == 5


def test_counts_of_the_many_that_are_gone_stay():
    observations = Observations(ManualClock())
    for number in range(100):
        observations.receive(report(f"g{number}", snapshots=(snapshot(1),)))
        observations.forget(f"g{number}")
    assert total(observations) == observations.windows.total("m", "1.0.0").ok == 100


def test_counts_that_a_gateway_tells_no_more_stay_and_are_added_to_when_it_counts_anew():
    observations = Observations(ManualClock())
    other = dataclasses.replace(snapshot(1), version="2.0.0")
    for told in ((snapshot(3), other), (other,), (other,), (snapshot(2), other)):
        observations.receive(report(snapshots=told))
    assert {one.version: one.ok for one in observations.snapshots()} == {"1.0.0": 5, "2.0.0": 1}
    assert observations.windows.total("m", "1.0.0").ok == 5


def test_of_versions_that_nobody_tells_of_only_the_newest_are_kept(monkeypatch):
    monkeypatch.setattr("streamb.control.observations.RETIRED_VERSIONS", 3)
    observations = Observations(ManualClock())
    for number in range(10):
        observations.receive(report(snapshots=(dataclasses.replace(snapshot(1), version=f"{number}.0.0"),)))
    assert [one.version for one in observations.snapshots()] == ["6.0.0", "7.0.0", "8.0.0", "9.0.0"]


def test_windows_are_of_the_last_seconds():
    clock = ManualClock(100.0)
    observations = Observations(clock)
    for second in range(1, 21):
        clock.advance(1)
        for source in ("g1", "g2"):
            observations.receive(report(source, snapshots=(snapshot(second),), uptime_s=second))
    assert observations.recent("m", "1.0.0", 10).ok == 20
    assert observations.windows.total("m", "1.0.0").ok == 40
    assert total(observations) == 40


def test_what_a_gateway_counted_before_this_controller_started_is_in_no_window():
    clock = ManualClock(1000.0)
    observations = Observations(clock)
    clock.advance(1)
    observations.receive(report(snapshots=(snapshot(50),), uptime_s=500))
    clock.advance(1)
    observations.receive(report(snapshots=(snapshot(53),), uptime_s=501))
    observations.receive(report("fresh", snapshots=(snapshot(2),), uptime_s=0.5))
    assert total(observations) == 55
    assert observations.windows.total("m", "1.0.0").ok == observations.recent("m", "1.0.0", 10).ok == 5


# --- class labels -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.integers(0, 200), min_size=1, max_size=60), st.booleans()), max_size=25
)


@given(STEPS, st.sampled_from([None, ["7", "190"]]))
def test_no_series_of_predictions_decreases_and_the_total_is_exact(steps, classes):
    """Gateways count labels, report, die and start anew, in any order: what is exported only grows."""
    clock = ManualClock()
    observations, recorders, born, before = Observations(clock), {}, Counter(), {}
    clock.advance(100)  # so that no gateway is older than the Controller
    for number, (place, batch, dies) in enumerate(steps, 1):
        recorder = recorders.setdefault(place, VersionRecorder("m", "1.0.0", classes))
        recorder.predicted(np.array(batch), "classification")
        told = report(f"g{place}-{born[place]}", snapshots=(recorder.snapshot(),), uptime_s=number)
        if dies:
            observations.goodbye(told)
            del recorders[place]
            born[place] += 1
        else:
            observations.receive(told)
        series = series_of(observations)
        assert all(series[label] >= count for label, count in before.items())
        assert sum(series.values()) == sum(len(batch) for _, batch, _ in steps[:number])
        assert len(series) <= MOST_LABELS + 1
        assert observations.windows.total("m", "1.0.0").predictions == series
        before = series


def series_of(observations: Observations) -> dict[str, float]:
    text = prometheus_text(observations.snapshots(), gateways=1, version="1").decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "streamb_predictions_total":
                found[sample.labels["prediction"]] = sample.value
    return found


def test_a_label_that_found_no_room_is_other_for_good():
    observations = Observations(ManualClock())
    first, second = VersionRecorder("m", "1.0.0"), VersionRecorder("m", "1.0.0")
    first.predicted(np.array([f"b{number}" for number in range(MOST_LABELS)]), "classification")
    observations.receive(report("g1", snapshots=(first.snapshot(),)))
    second.predicted(np.array(["a", "a", "b7"]), "classification")
    observations.receive(report("g2", snapshots=(second.snapshot(),)))
    series = series_of(observations)
    assert (series["other"], series["b7"], "a" in series) == (2, 2, False)


def test_requests_above_limits_are_summed_over_processes_and_never_fewer():
    clock = ManualClock()
    observations = Observations(clock)

    def told(source, count, uptime_s, role="gateway"):
        report = NodeReport(role, source, "node", 1, limited={("key", "refused"): count}, uptime_s=uptime_s)
        observations.receive(report)

    told("g1", 5, 1.0)
    told("g2", 2, 1.0)
    told("c1", 1, 1.0, role="console")
    told("g1", 6, 2.0)
    assert observations.limited() == {("gateway", "key", "refused"): 8, ("console", "key", "refused"): 1}
    clock.advance(SILENCE_S + 1)
    for number in range(REMEMBERED_SOURCES + 2):
        told(f"new-{number}", 0, 1.0)
        observations.forget(f"new-{number}")
    told("g1", 7, 3.0)  # of those forgotten for good: it begins anew, and may be counted again
    assert observations.limited()["gateway", "key", "refused"] >= 8
