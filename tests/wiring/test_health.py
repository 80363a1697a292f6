from streamb.clock import ManualClock
from streamb.rollouts import AppPhase
from streamb.wiring.health import coming_up, system_health
from streamb.wiring.observations import Endpoint, NodeReport, Observations


def observations(*roles: str) -> Observations:
    seen = Observations(ManualClock())
    for role in roles:
        seen.receive(NodeReport(role, role, "node", 1, Endpoint("127.0.0.1", 1)))
    return seen


def model(phase: AppPhase | None, reason: str = "") -> dict:
    app = {"version": "1.0.0", "app": "m--1.0.0--x", "state": phase, "replicas": 2, "reason": reason}
    return {"model_id": "m", "serving_version": "1.0.0", "versions": [app] if phase else [], "requests": {}}


ALL = ("gateway", "console", "edge")


def test_everything_up_is_healthy():
    health = system_health(observations(*ALL), {"m": model(AppPhase.RUNNING)}, "")
    assert (health["status"], health["reasons"]) == ("healthy", [])


def test_the_worst_part_decides_and_says_why():
    health = system_health(observations("console", "edge"), {"m": model(AppPhase.STARTING)}, "")
    assert health["status"] == "unhealthy"
    assert health["reasons"] == ["gateway: none has reported", "model m: 1.0.0 is starting"]
    assert system_health(observations(*ALL), {"m": model(AppPhase.STARTING)}, "")["status"] == "degraded"
    assert "disk" in system_health(observations(*ALL), {}, "the disk is full")["reasons"][0]


def test_a_failed_model_is_named_and_not_waited_for():
    health = system_health(observations(*ALL), {"m": model(AppPhase.FAILED, "no such file")}, "")
    assert health["reasons"] == ["model m: 1.0.0 failed: no such file"]
    assert coming_up(health["models"]) == []


def test_models_that_start_or_are_not_there_yet_are_waited_for():
    models = {"a": model(AppPhase.STARTING), "b": model(None), "c": model(AppPhase.RUNNING)}
    assert coming_up(system_health(observations(*ALL), models, "")["models"]) == ["a", "b"]
