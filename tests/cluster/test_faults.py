"""Every part is killed for real, under load."""

import sqlite3
import threading
import time

import httpx
import numpy as np
import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from streamb import ProductionMLManager
from tests.cluster.load import Load
from tests.cluster.processes import ray_processes, until
from tests.cluster.session_platform import GATEWAYS

pytestmark = [pytest.mark.ray, pytest.mark.fault]

X, y = load_iris(return_X_y=True)
ROW = X[0].tolist()


@pytest.fixture(scope="module")
def manager(platform, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model("faults", "", "", answers, "1.0.0")
        deployed = manager.deploy_model(model_id="faults", target_version="1.0.0", rollout_strategy="immediate")
        assert deployed.wait(180).state == "completed"
        yield manager


def answers(X):
    """The model: sums, and an exit for a row that begins with -1."""
    if X[0][0] == -1:
        raise SystemExit(3)
    return np.asarray(X).sum(axis=1)


def kill(fragment: str) -> psutil.Process:
    """kill -9 one process by its title."""
    victims = ray_processes(fragment)
    assert victims, f"no process is called {fragment}"
    victims[0].kill()
    return victims[0]


def others(fragment: str, dead: psutil.Process) -> list[psutil.Process]:
    """The processes of this title, but for the dead one."""
    return [p for p in ray_processes(fragment) if p.pid != dead.pid]


def came_back(fragment: str, dead: psutil.Process, count: int = 1) -> None:
    """Until there are `count` processes of this title again."""
    until(lambda: len(others(fragment, dead)) >= count, what=f"{fragment} is started again")


class Client:
    """Asks one after the other, and notes the time of the slowest answer."""

    def __init__(self, http) -> None:
        self._http = http
        self.slowest = 0.0

    def ask(self, *row: float) -> httpx.Response:
        began = time.monotonic()
        answer = self._http.post("/v2/models/faults/predict", json={"instances": [row]})
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer

    def ready(self) -> int:
        return self._http.get("/v2/models/faults/ready").status_code


@pytest.fixture
def client(manager, platform):
    with httpx.Client(base_url=platform.url, headers={"x-api-key": platform.api_key}, timeout=60) as http:
        yield Client(http)


def test_a_killed_controller_is_not_noticed_by_clients_and_comes_back_with_its_state(manager, platform):
    before = httpx.get(f"{platform.url}/api/models/faults", timeout=30).json()
    with Load(platform.url, "faults", [ROW]) as load:
        load.wait_for(100)
        dead = kill("ControllerActor")
        load.wait_for(300)
        came_back("ControllerActor", dead)
        until(
            lambda: httpx.get(f"{platform.url}/api/models/faults", timeout=30).json() == before,
            what="the registry is back",
        )
        until(
            lambda: httpx.get(f"{platform.url}/api/monitoring/system-health", timeout=30).json()["status"] == "healthy"
        )
        load.wait_for(100)
    assert not load.failed, load.summary()
    # It does not only remember: it works.
    again = manager.deploy_model(model_id="faults", target_version="1.0.0", rollout_strategy="immediate")
    assert again.wait(180).state == "completed"


def test_a_killed_gateway_is_replaced_and_the_other_answers_meanwhile(manager, platform):
    with Load(platform.url, "faults", [ROW], connections=4) as load:
        load.wait_for(100)
        dead = kill("ServeReplica:streamb-gateway")
        came_back("ServeReplica:streamb-gateway", dead, GATEWAYS)
        load.wait_for(100)
    # What was inside the dead process: HAProxy closes those connections, as HTTP has it for a reused connection.
    assert len(load.failed) <= 4, load.summary()
    assert {o.status for o in load.failed} <= {0}, load.summary()


def test_a_killed_haproxy_is_started_again_with_its_servers(manager, platform):
    haproxy = next(p for p in psutil.Process().children(recursive=True) if p.name() == "haproxy")
    haproxy.kill()
    until(lambda: manager.predict("faults", [ROW]).version == "1.0.0", what="answers again")


def test_a_killed_edge_actor_comes_back_and_leaves_no_second_haproxy(manager, platform):
    dead = kill("EdgeActor")
    came_back("EdgeActor", dead)
    until(lambda: manager.predict("faults", [ROW]).version == "1.0.0", what="answers again")
    assert len([p for p in psutil.Process().children(recursive=True) if p.name() == "haproxy"]) == 1


def test_a_database_locked_for_five_seconds_delays_changes_and_nothing_else(manager, platform, state_dir):
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(state_dir / "streamb.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        release.wait(5)
        connection.execute("ROLLBACK")
        connection.close()

    holder = threading.Thread(target=hold)
    with Load(platform.url, "faults", [ROW], connections=4) as load:
        load.wait_for(50)
        holder.start()
        assert locked.wait(60)
        began = time.monotonic()
        manager.register_model("patient", "", "", LogisticRegression(max_iter=500).fit(X, y), "1.0.0")
        assert time.monotonic() - began > 3, "the lock was held"
        holder.join()
        load.wait_for(50)
    assert not load.failed, load.summary()


def test_a_model_that_exits_fails_that_request_and_its_replica_goes_on(client):
    replicas = {p.pid for p in ray_processes("ServeReplica:faults--1.0.0")}
    for _ in range(20):
        failed = client.ask(-1, 0, 0, 0)
        assert (failed.status_code, failed.json()["code"]) == (500, "model_error"), failed.text
        assert "(reference " in failed.text
        assert "SystemExit" not in failed.text, "what it raised is in the log"
        assert client.ask(*ROW).json()["predictions"] == [pytest.approx(sum(ROW))]
    assert client.slowest < 2
    assert {p.pid for p in ray_processes("ServeReplica:faults--1.0.0")} == replicas


def test_a_killed_only_replica_is_told_within_two_seconds_until_there_is_another(client, manager, platform):
    with Load(platform.url, "faults", [ROW], connections=8) as load:
        load.wait_for(200)
        dead = kill("ServeReplica:faults--1.0.0")
        seen = [(200, client.ask(*ROW))]
        until(lambda: seen.append((client.ready(), client.ask(*ROW))) or not seen[-1][1].is_success, what="it fails")
        until(lambda: seen.append((client.ready(), client.ask(*ROW))) or seen[-1][1].is_success, what="it answers")
        came_back("ServeReplica:faults--1.0.0", dead)
        load.wait_for(200)
        again = len(load.outcomes)
        load.wait_for(200)
    refused = [answer for _, answer in seen if not answer.is_success]
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json()["code"] for answer in refused} == {"unavailable"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert 503 in {ready for ready, _ in seen}, "nothing answers for the model"
    assert client.slowest < 2.5
    assert client.ready() == 200
    assert {o.code for o in load.failed} == {"unavailable"}, load.summary()
    assert all(o.ok for o in load.outcomes[again:]), load.summary()
    manager.undeploy("faults")  # its failures are no longer the platform's health
