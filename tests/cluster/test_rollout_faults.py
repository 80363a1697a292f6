"""A canary is half-way, under load, when some part is killed or stands still: it goes on, and ends as it should."""

import time
from itertools import count

import httpx
import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from streamb import Deployment, ProductionMLManager
from tests.cluster.load import Load
from tests.cluster.processes import locked, ray_processes, stopped, until
from tests.cluster.session_platform import GATEWAYS
from tests.cluster.test_faults import came_back, kill, others

pytestmark = [pytest.mark.ray, pytest.mark.fault]

X, y = load_iris(return_X_y=True)
ROW = X[0].tolist()
MODEL = "mid-canary"
CONNECTIONS = 8
RESUMED_S = 5
"""After the Controller is back, the rollout goes on within so many seconds."""
STEP_SECONDS = 12
"""Of a canary that goes on by itself: long enough to find it where it was, after the Controller's death."""
OPTIONS = {
    "steps": [50],
    "min_samples": 50,
    "hold_seconds": 0,
    # What is tested is that it survives; a machine that restarts processes is no place to judge latencies.
    "health_check_criteria": {"latency_slack_ms": 10_000},
}
_numbers = count(2)


@pytest.fixture(scope="module")
def manager(platform, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model(MODEL, "", "", LogisticRegression(max_iter=500).fit(X, y), "1.0.0")
        deployed = manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate")
        assert deployed.wait(180).state == "completed"
        yield manager


@pytest.fixture
def load(manager, platform):
    with Load(platform.url, MODEL, [ROW], connections=CONNECTIONS) as load:
        load.wait_for(100)
        yield load


def half_way(manager, platform, step_seconds: float) -> Deployment:
    """A canary that is being watched at 50 percent, for so long."""
    number = next(_numbers)
    model = LogisticRegression(C=1 + number / 10, max_iter=500).fit(X, y)
    manager.register_model(MODEL, "", "", model, f"{number}.0.0")
    options = {**OPTIONS, "step_seconds": step_seconds}
    canary = manager.deploy_model(model_id=MODEL, target_version=f"{number}.0.0", rollout_strategy="canary", **options)
    until(lambda: (canary.status().weight, canary.status().phase) == (50.0, "observe"), what="half-way")
    return canary


@pytest.fixture(scope="module")
def canary(manager, platform) -> Deployment:
    """A canary that stays half-way, for one test after the other; those with a canary of their own come before."""
    return half_way(manager, platform, 600)


def events(platform, deployment: Deployment) -> list[dict]:
    """A deployment's history, the oldest first."""
    found = httpx.get(
        f"{platform.url}/api/deployments/history", params={"limit": 200, "model_id": MODEL}, timeout=30
    ).json()["items"]
    return [event for event in reversed(found) if event["deployment_id"] == deployment.id]


def kinds(platform, deployment: Deployment) -> list[str]:
    """What the history says of a deployment, the oldest first."""
    return [event["kind"] for event in events(platform, deployment)]


def completed(platform, manager, deployment: Deployment) -> None:
    """It takes over in the end, and its history tells of every step once."""
    status = deployment.wait(180)
    assert status.state == "completed", status
    assert manager.predict(MODEL, [ROW]).version == status.target_version
    told = kinds(platform, deployment)
    assert (told[0], told.count("completed"), told[-1]) == ("created", 1, "completed"), told
    assert told.count("step") == len(status.steps), "each step once"


def acknowledged(platform) -> bool:
    """Every gateway routes by the newest table."""
    status = httpx.get(f"{platform.url}/api/status", timeout=30).json()
    return bool(status["gateways"]) and all(one["epoch"] >= status["epoch"] for one in status["gateways"])


def haproxy() -> psutil.Process:
    """The process that all requests come through."""
    return next(p for p in psutil.Process().children(recursive=True) if p.name() == "haproxy")


def observed_s(platform, deployment: Deployment) -> float:
    """How long it was at 50 percent, in seconds."""
    steps = [event for event in events(platform, deployment) if event["kind"] == "step"]
    at = {event["detail"].split(" of")[0].split(" traffic")[0]: event["at"] for event in steps}
    return at["all"] - at["50 %"]


def place(deployment: Deployment) -> tuple[str, int, float]:
    """Where a deployment is."""
    status = deployment.status()
    return status.state, status.step, status.weight


def test_a_killed_controller_goes_on_at_the_same_step_and_to_the_end(manager, platform, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    before = place(canary)
    dead = kill("ControllerActor")
    came_back("ControllerActor", dead)
    until(
        lambda: httpx.get(f"{platform.url}/api/deployments/{canary.id}", timeout=30).status_code == 200,
        what="it answers",
    )
    assert place(canary) == before
    until(lambda: acknowledged(platform), RESUMED_S, "the gateways have its table")
    until(lambda: any(one.samples for one in canary.status().findings), RESUMED_S, "it judges again")
    completed(platform, manager, canary)
    assert not load.failed, load.summary()


@pytest.mark.soak
def test_a_controller_that_stood_still_has_observed_nothing_meanwhile(manager, platform, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    with stopped(ray_processes("ControllerActor")[0]):
        time.sleep(10)
    completed(platform, manager, canary)
    assert observed_s(platform, canary) >= STEP_SECONDS + 10 - 4, "the ten seconds are no observation"
    assert not load.failed, load.summary()


@pytest.mark.soak
def test_a_database_locked_for_twenty_seconds_stops_the_watch_and_loses_nothing(manager, platform, state_dir, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    with locked(state_dir / "streamb.db"):
        time.sleep(20)
    completed(platform, manager, canary)
    assert observed_s(platform, canary) >= STEP_SECONDS + 10, "what happened meanwhile is no observation"
    assert not load.failed, load.summary()


@pytest.mark.soak
def test_a_replica_of_the_canary_that_stands_still_for_ten_seconds_costs_nothing(manager, platform, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    with stopped(ray_processes(f"ServeReplica:{MODEL}--{canary.status().target_version}")[0]):
        time.sleep(10)
    status = canary.wait(180)
    assert status.state in {"completed", "rolled_back"}, status
    load.wait_for(100)
    assert not load.failed, load.summary()


@pytest.mark.soak
def test_a_replica_of_stable_that_stands_still_for_ten_seconds_costs_nothing(manager, platform, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    with stopped(ray_processes(f"ServeReplica:{MODEL}--{canary.status().previous_version}")[0]):
        time.sleep(10)
    status = canary.wait(180)
    assert status.state in {"completed", "rolled_back"}, status
    load.wait_for(100)
    assert not load.failed, load.summary()


def test_a_canary_that_stands_still_for_good_is_taken_back_and_no_client_notices(manager, platform, load):
    canary = half_way(manager, platform, STEP_SECONDS)
    title = f"ServeReplica:{MODEL}--{canary.status().target_version}"
    with stopped(ray_processes(title)[0]):
        began = time.monotonic()
        status = canary.wait(180)
        took = time.monotonic() - began
        assert status.state == "rolled_back", status
        assert took < STEP_SECONDS, "within the step, not after it"
        until(lambda: not ray_processes(title), 60, "the process that stands still is ended")
    load.wait_for(100)
    assert {o.version for o in load.outcomes[-50:]} == {status.previous_version}
    assert not load.failed, load.summary()


def test_a_killed_serve_controller_is_not_noticed(canary, load):
    before = place(canary)
    dead = kill("ServeController")
    came_back("ServeController", dead)
    load.wait_for(200)
    assert place(canary) == before
    assert not load.failed, load.summary()


@pytest.mark.soak
def test_a_killed_gateway_costs_what_was_on_it(canary, load):
    before = place(canary)
    dead = kill("ServeReplica:streamb-gateway")
    came_back("ServeReplica:streamb-gateway", dead, GATEWAYS)
    load.wait_for(200)
    assert place(canary) == before
    # The requests inside the dead process: HAProxy closes those connections, as HTTP has it for a reused connection.
    assert len(load.failed) <= CONNECTIONS, load.summary()
    assert {o.status for o in load.failed} <= {0}, load.summary()


@pytest.mark.soak
def test_a_killed_haproxy_costs_what_was_on_it(canary, load):
    before, began = place(canary), len(load.outcomes)
    dead = haproxy()
    dead.kill()
    until(lambda: haproxy().pid != dead.pid, what="it is started again")
    load.wait_for(200)
    assert place(canary) == before
    # Nobody listens until the next one does; each connection may try, and fail, once in each pause.
    assert {o.status for o in load.failed} <= {0}, load.summary()
    failed = load.failed
    assert not failed or failed[-1].at - failed[0].at < 10, load.summary()
    assert all(o.ok for o in load.outcomes[-100:]), f"{len(load.outcomes) - began}: {load.summary()}"


@pytest.mark.soak
def test_a_killed_replica_of_stable_is_told_until_there_is_another(canary, load):
    before = place(canary)
    title = f"ServeReplica:{MODEL}--{canary.status().previous_version}"
    came_back(title, kill(title))
    load.wait_for(200)
    assert place(canary) == before, "its failures are not the canary's, and count for no comparison"
    until(lambda: all(o.ok for o in load.outcomes[-100:]), what="it answers again")
    assert {o.code for o in load.failed} <= {"unavailable", "timeout"}, load.summary()


@pytest.mark.soak
@pytest.mark.parametrize("part", ["ControllerActor", "ServeController", "ServeReplica:streamb-gateway", "haproxy"])
def test_ten_seconds_without_cpu_lose_nothing(canary, load, part):
    before = place(canary)
    with stopped(haproxy() if part == "haproxy" else ray_processes(part)[0]):
        time.sleep(10)
    load.wait_for(200)
    until(lambda: place(canary) == before, 30, "it is where it was")
    assert not load.failed, load.summary()


def test_a_killed_replica_of_the_canary_costs_no_more_than_was_on_it(manager, platform, canary, load):
    target = f"ServeReplica:{MODEL}--{canary.status().target_version}"
    dead = kill(target)
    until(lambda: canary.status().ended or others(target, dead), what="it is replaced, or nobody needs it any more")
    if not canary.status().ended:
        canary.rollback(reason="it has survived")
    status = canary.wait(180)
    # Whether its death takes it back depends on how many of the step's requests that has cost.
    assert status.state == "rolled_back", status
    stays = status.previous_version
    assert manager.predict(MODEL, [ROW]).version == stays
    assert kinds(platform, canary)[-1] == status.state
    load.wait_for(100)
    assert len(load.failed) <= CONNECTIONS, load.summary()
    assert {o.code for o in load.failed} <= {"unavailable", "timeout"}, load.summary()
