"""What the Controller tells the Monitor of deployments, and shows as metrics: from the real rollouts."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from streamb.control.news import LATELY_S, DeploymentDesk
from streamb.errors import StorageFailed
from streamb.rollouts.runtime import AppPhase
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House


def desk_of(house: House) -> DeploymentDesk:
    return DeploymentDesk(house.rollouts, house.clock)


def metrics(desk: DeploymentDesk) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(desk.metrics().decode())
    order = ("model", "version", "criterion", "strategy", "state", "result", "verdict")
    return {
        (one.name, *(one.labels[name] for name in order if name in one.labels)): one.value
        for family in families
        for one in family.samples
    }


def test_one_that_waits_is_told_with_its_gate_and_its_end():
    house = House()
    house.serve()
    desk = desk_of(house)
    made = house.create("2.0.0", Strategy.BLUE_GREEN, approval_required=True, approval_timeout_s=1_000.0)
    waits = house.until(made.id, "awaiting_approval")
    (news,) = [one for one in desk.news().deployments if one.deployment_id == made.id]
    assert (news.state, news.version, news.waiting_for, news.ended_at) == ("awaiting_approval", "2.0.0", "100 %", None)
    assert news.approval_expires_at == waits.phase_since + 1_000
    assert not news.expiring
    assert desk.news().versions == {("m", "1.0.0"), ("m", "2.0.0")}
    house.clock.advance(901 - (house.clock.now() - waits.phase_since))
    (news,) = [one for one in desk.news().deployments if one.deployment_id == made.id]
    assert news.expiring, "the last tenth"
    assert metrics(desk)["streamb_deployment_waits", "m", "2.0.0"] == 1


def test_one_that_has_ended_is_told_for_half_an_hour_also_by_the_next_controller():
    house = House()
    house.serve()
    made = house.create("2.0.0", Strategy.CANARY, traffic_split_percentage=10)
    house.failing.add("2.0.0")
    ended = house.until(made.id, "rolled_back")
    house.restart()
    desk = desk_of(house)
    (news,) = [one for one in desk.news().deployments if one.deployment_id == made.id]
    assert (news.state, news.reason) == ("rolled_back", ended.reason)
    assert news.ended_at is not None
    assert house.clock.now() - news.ended_at < 5
    assert "rolled back" in desk.news().happenings["m"][0].words
    house.clock.advance(LATELY_S + 1)
    assert desk.news().deployments == ()
    assert ("streamb_deployment_state", "m", "2.0.0", "rolled_back") not in metrics(desk)


def test_one_that_the_platform_paused_needs_somebody_and_one_that_a_person_paused_does_not():
    house = House()
    house.serve()
    made = house.create("2.0.0", Strategy.CANARY, traffic_split_percentage=10, rollback_on_failure=False)
    house.settle(3)
    house.rollouts.pause(made.id, "ann", "lunch")
    assert [one.stuck for one in desk_of(house).news().deployments if one.state == "paused"] == [""]
    house.rollouts.resume(made.id, "ann")
    house.failing.add("2.0.0")
    house.until(made.id, "paused")
    (stuck,) = [one.stuck for one in desk_of(house).news().deployments if one.state == "paused"]
    assert "resume, promote or abort" in stuck


def test_the_metrics_of_a_deployment_follow_it_and_its_end_is_counted_once():
    house = House()
    house.serve()
    desk = desk_of(house)
    made = house.create("2.0.0", Strategy.CANARY, traffic_split_percentage=10)
    house.settle(6)
    seen, now = metrics(desk), house.rollouts.get(made.id)
    assert seen["streamb_deployment_state", "m", "2.0.0", "progressing"] == 1
    assert seen["streamb_deployment_weight", "m", "2.0.0"] == now.weight
    assert seen["streamb_deployment_share", "m", "2.0.0"] == now.weight / 100
    assert seen["streamb_deployment_step", "m", "2.0.0"] == now.step + 1
    assert seen["streamb_deployment_steps", "m", "2.0.0"] == len(now.steps)
    assert ("streamb_deployment_duration_seconds", "m", "2.0.0") not in seen
    for finding in now.findings:
        assert seen["streamb_deployment_verdict", "m", "2.0.0", finding.criterion, str(finding.verdict)] == 1
    house.rollouts.abort(made.id, "ann")
    house.until(made.id, "aborted")
    for _ in range(3):
        seen = metrics(desk)
    assert seen["streamb_deployments_total", "canary", "aborted"] == 1
    assert seen["streamb_deployment_duration_seconds", "m", "2.0.0"] > 0
    assert ("streamb_deployment_phase_seconds", "m", "2.0.0") not in seen


def test_metrics_go_on_without_the_database(monkeypatch):
    house = House()
    house.serve()
    desk = desk_of(house)
    house.create("2.0.0", Strategy.CANARY, traffic_split_percentage=10)

    def away(*_args: object) -> object:
        raise StorageFailed("the database is away")

    monkeypatch.setattr(house.rollouts, "history", away)
    assert metrics(desk)["streamb_deployment_state", "m", "2.0.0", "pending"] == 1


def test_a_version_that_did_not_start_is_told_as_failed():
    house = House()
    house.serve()
    house.runtime.cannot_start.add("2.0.0")
    made = house.create("2.0.0", Strategy.CANARY, traffic_split_percentage=10)
    for _ in range(300):
        if house.rollouts.get(made.id).state == "failed":
            break
        house.rollouts.tick()
        house.runtime.become(AppPhase.RUNNING)
        house.clock.advance(1)
    (news,) = [one for one in desk_of(house).news().deployments if one.deployment_id == made.id]
    assert (news.state, news.ended_at is None) == ("failed", False)
