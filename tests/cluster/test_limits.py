"""The limits on callers on a real platform: a minute of flood at one key, with one gateway and with two that fail."""

import threading
import time

import httpx
import numpy as np
import pytest

from streamb import ProductionMLManager
from tests.cluster.load import Load
from tests.cluster.own_platform import OwnPlatform
from tests.cluster.processes import ray_processes, stopped, until

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.soak]

MINUTE_S = 60.0
ROW = [1.0, 2.0]


def answers(X):
    return np.asarray(X).sum(axis=1)


@pytest.fixture(params=[1, 2], ids=["one gateway", "two gateways"])
def limited(request, tmp_path):
    platform = OwnPlatform(
        tmp_path / "state",
        gateway_replicas=str(request.param),
        rate_limit_enabled="true",
        rate_limit_requests_per_minute="1000",
        rate_limit_burst="100",
        monitoring_enabled="false",
    )
    try:
        with ProductionMLManager(
            address=platform.url, api_key=platform.api_key, state_dir=platform.state_dir
        ) as manager:
            manager.register_model("flooded", "", "", answers, "1.0.0")
            deployed = manager.deploy_model(model_id="flooded", target_version="1.0.0", rollout_strategy="immediate")
            assert deployed.wait(180).state == "completed"
        yield platform, request.param
    finally:
        platform.stop()


def flood(platform, meanwhile=lambda: None):
    """A minute of requests; return how many were let through, and how many were refused."""
    troubles = threading.Thread(target=meanwhile, daemon=True)
    with Load(platform.url, "flooded", [ROW], connections=8, pause_s=0.05) as load:
        ends = time.monotonic() + MINUTE_S
        troubles.start()
        time.sleep(MINUTE_S)
    troubles.join(60)
    statuses = [one.status for one in load.outcomes if one.at <= ends]
    return statuses.count(200), statuses.count(429)


def wait_until_divided(platform, gateways):
    """Every gateway has its share, and has had it for long enough to hold its part of the burst."""
    with httpx.Client(base_url=platform.url, headers={"x-api-key": platform.api_key}, timeout=60) as http:

        def there():
            status = http.get("/api/status").json()
            return len(status["gateways"]) == gateways

        until(there, what="the gateways report")
        reply = http.post("/v2/models/flooded/predict", json={"instances": [ROW]})
        assert reply.status_code == 200, reply.text
        assert reply.headers["ratelimit-limit"] == "1000"
    time.sleep(7)


def test_a_minute_of_flood(limited):
    platform, gateways = limited
    wait_until_divided(platform, gateways)
    passed, refused = flood(platform)
    print(f"{gateways} gateway(s): {passed} let through, {refused} refused")
    assert refused > 500, "it was a flood"
    assert passed <= 1122
    if gateways == 1:
        assert passed >= 1078


def test_a_minute_of_flood_while_everything_fails(limited):
    platform, gateways = limited
    wait_until_divided(platform, gateways)

    def troubles():
        time.sleep(10)
        gateway = ray_processes("Gateway", platform.process.pid)
        gateway[0].kill()
        time.sleep(12)
        (controller,) = ray_processes("ControllerActor", platform.process.pid)
        with stopped(controller):  # all heartbeats are late
            time.sleep(8)
        late = ray_processes("Gateway", platform.process.pid)
        if late:
            with stopped(late[0]):
                time.sleep(8)
        controller.kill()

    passed, refused = flood(platform, troubles)
    print(f"{gateways} gateway(s) under faults: {passed} let through, {refused} refused")
    assert passed <= 1122
    assert passed >= 100
