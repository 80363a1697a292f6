"""The main job on a real platform: register, deploy, predict, look; and what must not be reachable."""

import http.client
import json

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streamb import ProductionMLManager
from streamb.errors import ArtifactError, Conflict, InvalidFeatures, NotFound
from tests.cluster.load import Load
from tests.cluster.processes import ray_processes, until

pytestmark = pytest.mark.ray

X, y = load_breast_cancer(return_X_y=True)


def classifier(c: float = 1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500)).fit(X, y)


def serve(manager: ProductionMLManager, model_id: str, version: str, model) -> None:
    manager.register_model(model_id, model_id, "test", model, version)
    deployment = manager.deploy_model(model_id=model_id, target_version=version, rollout_strategy="immediate")
    assert deployment.wait(timeout=180).state == "completed"


@pytest.fixture(scope="module")
def manager(platform, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        serve(manager, "screening", "1.0.0", classifier())
        yield manager


def test_predictions_are_the_models_own(manager):
    reply = manager.predict("screening", X[:50].tolist(), user_id="u")
    assert reply.predictions == classifier().predict(X[:50]).tolist()
    assert reply.version == "1.0.0"
    assert reply.request_id


def test_a_new_version_takes_over_without_a_failed_request(manager, platform):
    serve(manager, "takeover", "1.0.0", classifier())
    with Load(platform.url, "takeover", [X[0].tolist()]) as load:
        load.wait_for(100)
        serve(manager, "takeover", "2.0.0", classifier(0.1))
        load.wait_for(100)
        until(lambda: len(manager_versions(platform, "takeover")) == 1, what="the old version is taken down")
        load.wait_for(100)
    assert not load.failed, load.summary()
    assert load.outcomes[-1].version == "2.0.0"


def manager_versions(platform, model_id: str) -> list[dict]:
    return httpx.get(f"{platform.url}/api/models/{model_id}/status", timeout=30).json()["versions"]


def test_a_version_that_cannot_be_loaded_is_refused_and_its_number_stays_free(manager):
    with pytest.raises(ArtifactError, match="cannot be loaded on purpose"):
        manager.register_model("screening", "", "", ExplodesOnLoad(), "2.0.0")
    with pytest.raises(ArtifactError, match="cannot be loaded on purpose"):
        manager.register_model("never", "", "", ExplodesOnLoad(), "1.0.0")
    assert [one.version for one in manager.list_versions("screening")] == ["1.0.0"]
    assert "never" not in [model.model_id for model in manager.list_models()]


@pytest.mark.parametrize(
    ("version", "habit", "reason"),
    [("3.0.0", "raises", "it raises in a replica"), ("3.1.0", "differs", "row 0: expected 1.0, got 2.0")],
)
def test_a_version_that_fails_only_in_a_replica_leaves_the_old_one_serving(manager, version, habit, reason):
    manager.register_model("screening", "", "", OtherInReplicas(habit), version, example=X[:5])
    status = manager.deploy_model(model_id="screening", target_version=version, rollout_strategy="immediate").wait(180)
    assert status.state == "failed"
    assert reason in status.reason
    assert manager.predict("screening", X[:1].tolist()).version == "1.0.0"


class ExplodesOnLoad:
    """A user's own class whose state cannot be restored."""

    def predict(self, X):
        return np.zeros(len(X))

    def save(self, folder):
        pass

    @classmethod
    def load(cls, folder):
        raise RuntimeError("cannot be loaded on purpose")


class OtherInReplicas:
    """Answers 1, but raises or answers 2 in a worker of Ray."""

    def __init__(self, habit: str) -> None:
        self.habit = habit

    def predict(self, X):
        import sys

        if "ray" not in sys.modules or "pytest" in sys.modules:
            return np.ones(len(X))
        if self.habit == "raises":
            raise RuntimeError("it raises in a replica")
        return np.full(len(X), 2.0)


def test_registering_again_is_idempotent_and_other_content_is_a_conflict(manager):
    again = manager.register_model("screening", "screening", "test", classifier(), "1.0.0")
    assert again.version == "1.0.0"
    with pytest.raises(Conflict):
        manager.register_model("screening", "screening", "test", classifier(0.01), "1.0.0")


def test_wrong_features_are_named(manager):
    with pytest.raises(InvalidFeatures, match="30"):
        manager.predict("screening", [[1.0, 2.0]])
    with pytest.raises(NotFound):
        manager.predict("nobody", [[1.0]])


def test_ten_thousand_rows_in_one_request(manager):
    rows = np.tile(X, (18, 1))[:10_000]
    assert manager.predict("screening", rows.tolist()).predictions == classifier().predict(rows).tolist()


def test_open_inference_protocol_through_the_edge(manager, platform):
    tensor = {"name": "input", "shape": [2, 30], "datatype": "FP64", "data": X[:2].ravel().tolist()}
    answer = httpx.post(f"{platform.url}/v2/models/screening/infer", json={"inputs": [tensor]}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == classifier().predict(X[:2]).tolist()
    assert httpx.get(f"{platform.url}/v2/models/screening/ready", timeout=30).status_code == 200


def test_an_alias_and_how_a_version_runs_reach_gateways_and_replicas(manager, platform):
    def asked(wish: str) -> int:
        body, headers = {"instances": X[:1].tolist()}, {"X-Model-Version": wish}
        return httpx.post(f"{platform.url}/v2/models/screening/predict", json=body, headers=headers).status_code

    alias = f"{platform.url}/api/models/screening/aliases/best"
    assert (asked("best"), asked("7.7.7"), asked("1.0.0")) == (404, 404, 200)
    with httpx.Client(headers={"X-API-Key": platform.api_key or ""}, timeout=30) as client:
        assert client.put(alias, json={"version": "1.0.0"}).status_code == 200
        until(lambda: asked("best") == 200, what="the alias reaches the gateway")
        (before,) = manager_versions(platform, "screening")
        more = {"resources": {"cpus": 0.05, "memory_mb": 64}, "batching": {"max_rows": 4}, "timeout_s": 5}
        again = manager.deploy_model(model_id="screening", target_version="1.0.0", rollout_strategy="immediate", **more)
        assert again.wait(timeout=180).state == "completed"
        (after,) = [one for one in manager_versions(platform, "screening") if one["weight"] == 100]
        assert (asked("best"), after["app"] != before["app"]) == (200, True)
        assert client.delete(alias).status_code == 200
    until(lambda: asked("best") == 404, what="the alias is gone")


def test_system_health_metrics_and_status_tell_of_the_work_done(manager, platform):
    manager.predict("screening", X[:1].tolist())

    def health() -> dict:
        return httpx.get(f"{platform.url}/api/monitoring/system-health", timeout=30).json()

    until(lambda: health()["status"] == "healthy", what="everything is well")
    assert health()["models"]["screening"]["serving_version"] == "1.0.0"
    line = 'streamb_requests_total{code="200",model="screening",version="1.0.0"}'
    until(lambda: line in httpx.get(f"{platform.url}/metrics", timeout=30).text, what="requests are counted")


def test_a_model_version_answers_no_http(manager):
    replicas = ray_processes("ServeReplica:screening--1.0.0")
    assert replicas
    for replica in replicas:
        for connection in replica.net_connections("tcp"):
            if connection.status != "LISTEN":
                continue
            client = http.client.HTTPConnection("127.0.0.1", connection.laddr.port, timeout=2)
            try:
                client.request("POST", "/infer", json.dumps({"instances": X[:1].tolist()}))
                answer = client.getresponse()
            except (http.client.HTTPException, OSError):
                continue  # gRPC of Ray itself: speaks no HTTP/1
            finally:
                client.close()
            raise AssertionError(f"port {connection.laddr.port} answered {answer.status}")
