from streamb.clock import ManualClock
from streamb.control.health import Unserved, system_health, unserved, with_monitoring
from streamb.control.observations import Endpoint, NodeReport, Observations
from streamb.rollouts.runtime import AppPhase


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


def test_a_failed_model_is_named_and_does_not_come_by_itself():
    health = system_health(observations(*ALL), {"m": model(AppPhase.FAILED, "no such file")}, "")
    assert health["reasons"] == ["model m: 1.0.0 failed: no such file"]
    assert unserved(health["models"]) == [Unserved("model m: 1.0.0 failed: no such file", coming=False)]


def test_models_that_start_or_are_not_there_yet_may_still_come():
    models = {"a": model(AppPhase.STARTING, "no CPU is free"), "b": model(None), "c": model(AppPhase.RUNNING)}
    assert unserved(system_health(observations(*ALL), models, "")["models"]) == [
        Unserved("model a: 1.0.0 is starting: no CPU is free", coming=True),
        Unserved("model b: 1.0.0 does not run: it is not ordered yet", coming=True),
    ]


def test_a_failed_model_that_is_started_again_may_still_come():
    failed, again = model(AppPhase.FAILED, "node a was lost"), model(AppPhase.STARTING)
    both = {**failed, "versions": [*failed["versions"], *again["versions"]]}
    found = unserved(system_health(observations(*ALL), {"m": both}, "")["models"])
    assert found == [Unserved("model m: 1.0.0 failed and is started again: node a was lost", coming=True)]


def monitored(status: str, *reasons: str, running: AppPhase = AppPhase.RUNNING, trouble: str = "") -> dict:
    report = system_health(observations(*ALL), {"m": model(running)}, "")
    return with_monitoring(report, {"m": {"status": status, "reasons": list(reasons)}}, trouble)


def test_what_the_monitor_says_makes_a_model_worse_and_never_better():
    assert monitored("healthy")["status"] == "healthy"
    found = monitored("unhealthy", "1.0.0: error rate 50 %")
    assert (found["status"], found["models"]["m"]["status"]) == ("unhealthy", "unhealthy")
    assert found["reasons"] == ["model m: 1.0.0: error rate 50 %"]
    assert found["models"]["m"]["detail"] == "2 replica(s) of 1.0.0; 1.0.0: error rate 50 %"
    assert monitored("healthy", running=AppPhase.STARTING)["models"]["m"]["status"] == "degraded"


def test_what_is_unknown_makes_nothing_worse():
    found = monitored("unknown", "no report for 3 intervals")
    assert (found["status"], found["reasons"]) == ("healthy", [])
    assert found["models"]["m"]["monitoring"]["status"] == "unknown"


def test_a_monitor_that_is_away_degrades_the_platform():
    found = monitored("healthy", trouble="it is being restarted")
    assert (found["status"], found["components"]["monitor"]["status"]) == ("degraded", "degraded")
    assert found["reasons"] == ["monitor: it is being restarted"]
