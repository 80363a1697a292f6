"""The Monitor on a real cluster: it hears everything, and nobody waits for it, not even while it is dead."""

import contextlib
import shutil
import time

import httpx
import numpy as np
import pytest
import ray
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from streamb import ProductionMLManager
from streamb.clock import SystemClock
from streamb.cluster.monitor import MonitorActor
from streamb.cluster.names import MONITOR, NAMESPACE
from streamb.cluster.node_collector import NodeCollectorActor
from streamb.config import load_settings
from streamb.errors import NotFound
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.panes import pane_of
from streamb.monitoring.collection.push import Member, PaneCounts, Push
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile
from streamb.store.durable import DurableLog
from tests.cluster.load import Load
from tests.cluster.processes import ray_processes, until
from tests.cluster.test_faults import came_back, kill

pytestmark = [pytest.mark.ray, pytest.mark.fault]

X, y = load_iris(return_X_y=True)
ROW = X[0].tolist()
MODEL, VERSION = "watched", "1.0.0"
OUTAGE_S = 4.0


@pytest.fixture(scope="module")
def model():
    return LogisticRegression(max_iter=500).fit(X, y)


@pytest.fixture(scope="module")
def manager(platform, state_dir, model):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model(MODEL, "", "", model, VERSION)
        deployed = manager.deploy_model(model_id=MODEL, target_version=VERSION, rollout_strategy="immediate")
        assert deployed.wait(90).state == "completed"
        until(lambda: ask(MonitorCore.overview) is not None, 60, "the Monitor is open")
        yield manager


def monitor():
    return ray.get_actor(MONITOR, NAMESPACE)


def ask(verb, **arguments):
    return ray.get(monitor().invoke.remote(verb.__qualname__, (), arguments), timeout=10)


@pytest.fixture
def written(state_dir, tmp_path_factory):
    """What the Monitor has on the disk by now, read from a copy of its files."""

    def read() -> Aggregator:
        folder = tmp_path_factory.mktemp("log")
        for file in sorted((state_dir / "monitor" / "log").iterdir(), reverse=True):
            with contextlib.suppress(FileNotFoundError):  # it compacts meanwhile
                shutil.copy(file, folder)
        aggregator = Aggregator(SystemClock(), DurableLog(folder))
        aggregator.close()
        return aggregator

    return read


def by_the_gateway(platform) -> int:
    """Good answers by the gateways' own count, as they report it to the Controller."""
    return (
        httpx.get(f"{platform.url}/api/monitoring/system-health", timeout=30)
        .json()["models"][MODEL]["requests"]
        .get("ok", 0)
    )


def agree(platform, written, answered: int) -> None:
    """Every answer is counted, by the gateways as by the replicas: not one more, not one less."""

    def totals() -> tuple[int, int, int]:
        found = written()
        return by_the_gateway(platform), found.outcomes_total(MODEL, VERSION).ok, found.totals(MODEL, VERSION).rows

    until(lambda: totals() == (answered, answered, answered), 60, f"{answered} answers are counted")


def test_a_dead_monitor_is_not_noticed_and_loses_no_count(manager, platform, written):
    before = by_the_gateway(platform)
    with Load(platform.url, MODEL, [ROW], connections=8) as load:
        load.wait_for(100)
        until(lambda: written().totals(MODEL, VERSION).rows > 0, 60, "the first push is on the disk")
        dead, ended = kill("MonitorActor"), time.monotonic() + OUTAGE_S
        while time.monotonic() < ended:  # however often it is started again
            for process in ray_processes("MonitorActor"):
                process.kill()
            time.sleep(0.1)
        during = len(load.outcomes)
        came_back("MonitorActor", dead)
        load.wait_for(200)
        assert during > 200, "there was load while it was dead"
    assert not load.failed, load.summary()
    agree(platform, written, before + len(load.outcomes))


def test_a_baseline_reaches_the_replicas_and_everything_since_is_folded_by_it(manager, platform, model, written):
    baseline = Baseline.learn(X, model.predict(X))
    ask(MonitorCore.set_baseline, model_id=MODEL, version=VERSION, data=baseline.to_bytes(), author="test")
    answered = by_the_gateway(platform)

    def folded() -> int:
        nonlocal answered
        with Load(platform.url, MODEL, [ROW], connections=2) as load:
            load.wait_for(20)
        answered += len(load.outcomes)
        profile = written().window(MODEL, VERSION, 10, baseline.baseline_id)
        return profile.rows if profile is not None else 0

    until(lambda: folded() > 0, 60, "rows are folded by the new baseline")
    agree(platform, written, answered)
    drift = ask(MonitorCore.drift, model_id=MODEL, version=VERSION)
    assert drift["model_id"] == MODEL, drift


def test_an_unknown_verb_and_a_query_under_many_pushes(manager):
    with pytest.raises(NotFound):
        ask(MonitorCore.receive, push=None)
    pushes = [monitor().push.remote(push_of(f"busy-{number}", 1)) for number in range(200)]
    began = time.monotonic()
    ask(MonitorCore.overview)
    asked_s = time.monotonic() - began
    assert len(ray.get(pushes, timeout=120)) == 200
    assert asked_s < max(3.0, (time.monotonic() - began) / 2), "it did not wait for them"


def push_of(source: str, sequence: int) -> Push:
    counters = np.ones(10, np.int64)
    pane = PaneCounts("tree", "1.0.0", pane_of(time.time()), "bins", Profile("bins", counters).to_bytes(), 1)
    return Push((Member(source, "i", sequence, "tree", "1.0.0", "bins"),), (pane,))


def test_pushes_through_the_collector_of_a_node_are_counted_once(manager, written):
    before = written().totals("tree", "1.0.0").rows
    first, second = (ray.remote(NodeCollectorActor).options(num_cpus=0, max_concurrency=100).remote() for _ in range(2))
    pushes = [push_of(f"leaf-{number}", 1) for number in range(50)]
    ray.get([monitor().push.remote(push) for push in pushes[:10]], timeout=60)  # of these the answer got lost, say
    ray.get([way.push.remote(push) for way in (first, second, first) for push in pushes], timeout=60)
    assert written().totals("tree", "1.0.0").rows - before == 50
    for actor in (first, second):
        ray.kill(actor)


def test_a_monitor_that_cannot_open_its_folder_says_so_and_opens_it_later(manager, tmp_path):
    (tmp_path / "monitor").write_text("in the way")
    settings = load_settings(environment="development", state_dir=tmp_path)
    actor = (
        ray.remote(concurrency_groups={"pushes": 2, "queries": 2})(MonitorActor).options(num_cpus=0).remote(settings)
    )

    def answer() -> str:
        try:
            return str(ray.get(actor.invoke.remote(MonitorCore.overview.__qualname__, (), {}), timeout=20))
        except ray.exceptions.RayTaskError as error:
            return str(error.cause)

    until(lambda: "cannot open" in answer(), 30, "it says what is wrong")
    (tmp_path / "monitor").unlink()
    until(lambda: answer() == "{}", 30, "it is open")
    ray.get(actor.stop.remote(), timeout=20)
    ray.kill(actor)
