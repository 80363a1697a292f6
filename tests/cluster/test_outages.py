"""What a platform stands on goes away in mid-canary: its database, its disk, its machine."""

import contextlib
import time
from pathlib import Path

import httpx
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from streamb import Deployment, ProductionMLManager
from streamb.errors import StreambError
from tests.cluster.load import Load
from tests.cluster.own_platform import OwnPlatform, may_mount, small_disk
from tests.cluster.processes import ray_processes, until
from tests.store.databases import PostgresServer

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.soak]

X, y = load_iris(return_X_y=True)
ROW = X[0].tolist()
MODEL = "outage"
STEP_SECONDS = 15
OPTIONS = {
    "steps": [50],
    "step_seconds": STEP_SECONDS,
    "min_samples": 50,
    "hold_seconds": 0,
    "health_check_criteria": {"latency_slack_ms": 10_000},
}


def model(c: float):
    return LogisticRegression(C=c, max_iter=500).fit(X, y)


def half_way(manager: ProductionMLManager) -> Deployment:
    """A canary that is being watched at 50 percent."""
    for version, strength in (("1.0.0", 1.0), ("2.0.0", 1.1)):
        manager.register_model(MODEL, "", "", model(strength), version)
    first = manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate")
    assert first.wait(180).state == "completed"
    return manager.deploy_model(model_id=MODEL, target_version="2.0.0", rollout_strategy="canary", **OPTIONS)


def observed(canary: Deployment) -> None:
    until(lambda: (canary.status().weight, canary.status().phase) == (50.0, "observe"), what="half-way")


def answers(manager: ProductionMLManager, canary: Deployment) -> bool:
    try:
        canary.status()
    except StreambError:
        return False
    return True


def completed(platform: OwnPlatform, canary: Deployment) -> None:
    """It takes over in the end, and each step is told once."""
    status = canary.wait(180)
    assert status.state == "completed", status
    found = httpx.get(f"{platform.url}/api/deployments/history", params={"limit": 200, "model_id": MODEL}, timeout=30)
    told = [event["kind"] for event in reversed(found.json()["items"]) if event["deployment_id"] == canary.id]
    assert told.count("completed") == 1, told
    assert told.count("step") == len(status.steps), told


def fill(folder: Path) -> Path:
    """Leave no room on a folder's disk; returns the file to delete."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as full:
        while True:
            full.write(b"\0" * 4096)
    return ballast


@pytest.fixture
def postgres(tmp_path_factory):
    with PostgresServer() as server:
        yield server


def test_postgresql_is_killed_then_the_controller_and_both_come_back(tmp_path, postgres):
    platform = OwnPlatform(tmp_path / "state", database_url=postgres.url("streamb"))
    try:
        with platform.manager() as manager:
            canary = half_way(manager)
            with Load(platform.url, MODEL, [ROW]) as load:
                observed(canary)
                postgres.kill()
                time.sleep(5)
                (controller,) = ray_processes("ControllerActor", platform.process.pid)
                controller.kill()
                time.sleep(15)
                postgres.start()
                until(lambda: answers(manager, canary), 60, "it answers again")
                assert canary.status().weight == 50.0
                completed(platform, canary)
                load.wait_for(100)
            assert not load.failed, load.summary()
    finally:
        platform.stop()


@pytest.mark.skipif(not may_mount(), reason="a disk of its own needs root on Linux")
def test_a_full_disk_stops_changes_and_no_request_and_goes_on_with_room(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 96):
        platform = OwnPlatform(folder / "state")
        try:
            with platform.manager() as manager:
                canary = half_way(manager)
                with Load(platform.url, MODEL, [ROW]) as load:
                    observed(canary)
                    ballast = fill(folder)
                    time.sleep(20)
                    assert canary.status().weight == 50.0, "what cannot be stored is not done"
                    ballast.unlink()
                    completed(platform, canary)
                    load.wait_for(100)
                assert not load.failed, load.summary()
        finally:
            platform.stop()


def test_the_whole_platform_is_killed_and_started_again_where_it_was(tmp_path):
    platform = OwnPlatform(tmp_path / "state")
    try:
        with platform.manager() as manager:
            canary = half_way(manager)
            with Load(platform.url, MODEL, [ROW]):
                observed(canary)
            before = canary.status()
        platform.kill()
        platform.start()
        with platform.manager() as manager, Load(platform.url, MODEL, [ROW]) as load:
            canary = manager.deployment(canary.id)
            load.wait_for(100)
            status = canary.status()
            assert (status.step, status.weight) == (before.step, before.weight)
            completed(platform, canary)
            load.wait_for(50)
            assert {o.version for o in load.outcomes[-20:]} == {"2.0.0"}
        assert not load.failed, load.summary()
    finally:
        platform.stop()
