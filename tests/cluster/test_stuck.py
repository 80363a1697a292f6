"""A model that never returns for one row: its replica is told apart from one that is slow, and replaced."""

import threading
import time

import httpx
import numpy as np
import pytest

from tests.cluster.own_platform import OwnPlatform
from tests.cluster.processes import ray_processes, until

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.soak]

LIMIT_S = 4
TITLE = "ServeReplica:stuck--1.0.0"


def hangs_for_a_row(X):
    """Never returns for a row that begins with -1, and takes a while for one that begins with -2."""
    if X[0][0] == -1:
        threading.Event().wait()
    if X[0][0] == -2:
        time.sleep(LIMIT_S * 0.7)
    return np.asarray(X).sum(axis=1)


def test_a_replica_that_hangs_is_not_ready_says_why_and_is_replaced(tmp_path):
    platform = OwnPlatform(tmp_path / "state", request_timeout_s=str(LIMIT_S))
    try:
        with platform.manager() as manager, httpx.Client(base_url=platform.url, timeout=60) as http:
            manager.register_model("stuck", "", "", hangs_for_a_row, "1.0.0")
            deployed = manager.deploy_model(model_id="stuck", target_version="1.0.0", rollout_strategy="immediate")
            assert deployed.wait(180).state == "completed"
            key = {"x-api-key": platform.api_key}

            def ask(first):
                rows = {"instances": [[first, 1.0]]}
                return http.post("/v2/models/stuck/predict", json=rows, headers=key)

            def ready():
                return http.get("/v2/models/stuck/ready", headers=key).status_code

            before = {process.pid for process in ray_processes(TITLE)}
            assert ask(-2.0).is_success  # slow, but somebody waits
            assert {process.pid for process in ray_processes(TITLE)} == before
            hung = time.monotonic()
            assert ask(-1.0).status_code == 504
            until(lambda: ready() == 503, 30, "it is known that nothing answers")
            known_s = time.monotonic() - hung
            began = time.monotonic()
            refused = ask(1.0)
            assert time.monotonic() - began < 2
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert "nobody waits for it any more" in refused.json()["error"]
            until(lambda: ask(1.0).is_success, 60, "another replica answers")
            replaced_s = time.monotonic() - hung
            assert ready() == 200
            until(lambda: before.isdisjoint(process.pid for process in ray_processes(TITLE)), 60, "it has ended")
            print(f"known after {known_s:.1f} s, replaced after {replaced_s:.1f} s")
    finally:
        platform.stop()
