"""Health, drift, baselines and thresholds over HTTP, with the real Monitor behind it."""

from __future__ import annotations

import pytest

from streamb.errors import Unavailable
from tests.api.conftest import client_of
from tests.api.monitored import MODEL, NAMES, Traffic, answers, baseline_body, rows
from tests.api.test_deployments import ORDER, register

DRIFT = f"/api/monitoring/{MODEL}/drift"
HEALTH = f"/api/monitoring/{MODEL}/health"
BASELINE = "/api/monitoring/baseline"
AWAY = Unavailable("the monitor is being restarted; try again in a few seconds", retry_after_s=2)


@pytest.fixture
async def churn(client, archive):
    await register(client, archive)


@pytest.fixture
def traffic(backend):
    return Traffic(backend)


async def test_from_a_baseline_to_drift_to_a_new_baseline(client, backend, churn, traffic):
    made = await client.post(BASELINE, json=baseline_body())
    assert made.status_code == 201, made.text
    assert (made.json()["version"], made.json()["number"], made.json()["rows"]) == ("1.0.0", 1, 2000)
    assert made.json()["columns"] == [*NAMES, "prediction"]

    traffic.push(600)
    calm = (await client.get(DRIFT)).json()
    assert (calm["status"], calm["rows"]) == ("stable", 600)
    assert (await client.get(HEALTH)).json()["status"] == "healthy"

    traffic.push(3000, shift=1.0, seed=2)
    drifted = (await client.get(DRIFT, params={"minutes": 60, "version": "latest"})).json()
    assert drifted["status"] == "drifted"
    assert drifted["features"]["x1"]["drifted"]
    assert drifted["features"]["x1"]["score"] >= 0.3 > drifted["features"]["x0"]["score"]
    health = (await client.get(HEALTH, params={"version": "1.0.0"})).json()
    assert health["status"] == "degraded"
    assert "x1" in health["drift_status"]["drifted"]
    assert health["current_metrics"]["average_latency_ms"] == pytest.approx(10)

    renewed = await client.post(BASELINE, json={"model_id": MODEL, "from_window_minutes": 60})
    assert (renewed.status_code, renewed.json()["number"], renewed.json()["origin"]) == (201, 2, "live")
    listed = (await client.get(f"/api/monitoring/{MODEL}/baselines")).json()["items"]
    assert [(one["number"], one["active"]) for one in listed] == [(2, True), (1, False)]
    traffic.push(1000, shift=1.0, seed=3)
    backend.clock.advance(3600)
    traffic.push(1000, shift=0.83, seed=4)
    assert (await client.get(DRIFT)).json()["status"] == "stable"


async def test_a_baseline_of_live_traffic_alone_is_learnt_first(client, churn, traffic):
    traffic.push(600)
    made = (await client.post(BASELINE, json={"model_id": MODEL, "version": "1.0.0", "from_window_minutes": 5})).json()
    assert made["learning"]
    assert "being learnt" in (await client.get(DRIFT)).json()["error"]
    traffic.push(1200, seed=2)
    assert (await client.get(DRIFT)).status_code == 200


class TestWrongBaselines:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"instances": [{"x0": 1, "x1": 2, "age": 3}]}, ["unknown column 'age'", "missing column 'x2'"]),
            ({"instances": [[1, 2]]}, ["expected 3 values"]),
            ({"instances": [[1, 2, "tall"]]}, ["column 'x2'", "tall"]),
            ({"predictions": [1]}, ["1 values of 'prediction' for 2000 rows"]),
            ({"probabilities": [[0.5], [0.5, 0.5]], "labels": [0, 1]}, []),
            ({"instances": None}, ["either `instances` or `from_window_minutes`"]),
            ({"instances": None, "from_window_minutes": 5}, ["belong to `instances`"]),
            ({"from_window_minutes": 0}, ["from_window_minutes"]),
            ({"rows": []}, ["body.rows"]),
            ({"confidence": [2.0]}, ["body.confidence.0"]),
        ],
    )
    async def test_it_says_what_is_wrong_and_nothing_changes(self, client, churn, change, named):
        answer = await client.post(BASELINE, json={**baseline_body(), **change})
        assert answer.status_code == 422, answer.text
        for words in named:
            assert words in answer.json()["error"]
        assert (await client.get(f"/api/monitoring/{MODEL}/baselines")).json()["items"] == []

    async def test_no_json(self, client, churn):
        assert (await client.post(BASELINE, content=b"{")).json()["code"] == "bad_request"

    async def test_nothing_seen_yet(self, client, churn):
        answer = await client.post(BASELINE, json={"model_id": MODEL, "from_window_minutes": 5})
        assert answer.status_code == 404
        assert "there were no rows of" in answer.json()["error"]

    async def test_no_such_model_or_version(self, client, churn):
        assert (await client.post(BASELINE, json=baseline_body(model_id="nobody"))).status_code == 404
        assert (await client.post(BASELINE, json=baseline_body(version="9.0.0"))).status_code == 404
        assert (await client.get("/api/monitoring/nobody/health")).status_code == 404
        assert (await client.get(HEALTH, params={"version": "9.0.0"})).status_code == 404
        assert "no baseline" in (await client.get(DRIFT, params={"version": "1.0.0"})).json()["error"]


async def test_a_baseline_repeated_under_one_key_is_one(client, churn):
    headers = {"Idempotency-Key": "once"}
    first = await client.post(BASELINE, json=baseline_body(300), headers=headers)
    again = await client.post(BASELINE, json=baseline_body(300), headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert first.json() == again.json()
    assert (await client.post(BASELINE, json=baseline_body(301), headers=headers)).status_code == 409


async def test_labels_and_confidences_make_accuracy_known(client, backend, churn, traffic):
    features = rows(1000, seed=9)
    body = baseline_body(1000, labels=answers(features).tolist(), probabilities=[[0.2, 0.8]] * 1000, version="latest")
    assert (await client.post(BASELINE, json=body)).status_code == 201
    traffic.push(300)
    health = (await client.get(HEALTH)).json()
    assert health["concept"]["drifted"] is False
    assert health["estimated_accuracy"]["is_estimate"] is True


class TestThresholds:
    PATH = f"/api/monitoring/{MODEL}/thresholds"

    async def test_health_is_judged_by_them(self, client, churn, traffic):
        assert (await client.get(self.PATH)).json()["origin"] == "settings"
        made = await client.post(self.PATH, json={"max_latency_ms": 5, "max_error_rate": 0.5})
        assert made.json()["thresholds"]["max_latency_ms"] == 5
        assert made.json()["thresholds"]["max_drift_score"] is None
        traffic.push(500, errors=100, latency_s=0.02)
        health = (await client.get(HEALTH)).json()
        assert health["status"] in {"degraded", "unhealthy"}
        assert any("p95 latency" in reason for reason in health["reasons"])
        assert not any("error rate" in reason for reason in health["reasons"])

    async def test_wrong_ones(self, client, churn):
        assert (await client.post(self.PATH, json={"max_error_rate": 2})).status_code == 422
        assert (await client.post(self.PATH, json={"max_anger": 2})).status_code == 422
        assert (await client.post("/api/monitoring/nobody/thresholds", json={})).status_code == 404


class TestSystemHealth:
    PATH = "/api/monitoring/system-health"

    @pytest.fixture
    async def deployed(self, client, churn):
        await client.post("/api/deployments", json=ORDER)
        while (await client.get("/api/deployments")).json()["items"][0]["state"] != "completed":
            pass

    async def test_what_the_monitor_says_is_joined_in(self, client, deployed, traffic, backend):
        before = (await client.get(self.PATH)).json()
        assert before["status"] == "healthy"
        assert before["models"][MODEL]["monitoring"]["status"] == "unknown"
        traffic.push(200, errors=100)
        after = (await client.get(self.PATH)).json()
        assert after["status"] == after["models"][MODEL]["status"] == "unhealthy"
        assert any("error rate 50.0 %" in reason for reason in after["reasons"])
        assert f"{MODEL}</td><td>1.0.0" in (await client.get("/")).text
        page = (await client.get("/")).text
        assert 'class="unhealthy">unhealthy' in page

    async def test_stale_is_unknown_and_no_illness(self, client, deployed, traffic, backend):
        traffic.push(200)
        backend.clock.advance(300)
        backend.report()
        backend.core.tick()
        found = (await client.get(self.PATH)).json()
        assert found["models"][MODEL]["monitoring"]["status"] == "unknown"
        assert found["status"] == "healthy"

    async def test_a_monitor_that_is_away_is_told_and_nothing_else_is_lost(self, client, deployed, backend):
        backend.monitor_failure = AWAY
        found = (await client.get(self.PATH)).json()
        assert (found["status"], found["components"]["monitor"]["status"]) == ("degraded", "degraded")
        assert found["reasons"] == [f"monitor: {AWAY.message}; predictions are not affected"]
        assert "streamb_monitor_up 0.0" in (await client.get("/metrics")).text
        assert (await client.get("/")).status_code == 200
        answer = await client.get(HEALTH)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "2"

    async def test_a_controller_that_is_away_takes_no_health_along(self, client, churn, traffic, backend):
        traffic.push(200)
        backend.failure = Unavailable("the controller is not there")
        assert (await client.get(HEALTH)).json()["status"] == "healthy"


async def test_monitoring_needs_the_key_that_everything_needs(tmp_path):
    from tests.api.fakes import InProcess

    staging = InProcess(tmp_path, environment="staging")
    async with client_of(staging) as client:
        for path in (HEALTH, DRIFT, "/api/alerts", "/api/alerts/silences", "/api/monitoring/system-health"):
            assert (await client.get(path)).status_code == 401, path
        for path in (BASELINE, f"/api/monitoring/{MODEL}/thresholds", "/api/alerts/silences", "/api/alerts/test"):
            assert (await client.post(path, json={})).status_code == 401, path
        assert (await client.get("/api/alerts", headers={"X-API-Key": staging.guest_key})).status_code == 200
    staging.close()


class TestWithoutAMonitor:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "/api/alerts", None),
            ("GET", "/api/alerts/silences", None),
            ("GET", "/api/alerts/channels", None),
            ("GET", "/api/alerts/deliveries", None),
            ("POST", "/api/alerts/test", {"channel": "log"}),
            ("GET", HEALTH, None),
            ("GET", DRIFT, None),
            ("GET", f"/api/monitoring/{MODEL}/thresholds", None),
        ],
    )
    async def test_every_question_to_it_says_that_monitoring_is_off(self, backend, churn, method, path, body):
        backend.monitor = None
        async with client_of(backend) as client:
            answer = await client.request(method, path, json=body)
        assert answer.status_code == 503
        assert "ML_MONITORING_ENABLED" in answer.json()["error"]
        assert answer.json()["code"] == "unavailable"
