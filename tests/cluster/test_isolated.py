"""Isolation on a real platform: own code that tries to get at its keys and its Ray, as a model and as a job."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from streamb import ProductionMLManager, __version__
from streamb.cluster.ray_logs import files_of, find_logs, lines_with
from streamb.errors import ModelFailed, Unauthorized
from streamb.models import Model
from streamb.models.schema import FeatureSchema
from streamb.sdk.discovery import RunningInfo, write_platform_file
from streamb.sdk.http import HttpClient
from streamb.security.isolation import Boundary, Isolation, check_isolation
from tests.cluster.processes import until
from tests.trials.hostile import Hostile

pytestmark = pytest.mark.ray


@pytest.fixture
def manager(platform, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        yield manager


def refused(client: HttpClient) -> bool:
    try:
        client.get("/api/models")
    except Unauthorized:
        return True
    return False


def targets(platform, state_dir, tmp_path):
    _, port = platform.ray_address.rsplit(":", 1)
    keys = [
        state_dir / "api-key",
        *(state_dir / "keys" / name for name in ("signing.pem", "platform.key", "ray-token")),
    ]
    return {
        "files": [str(path) for path in [*keys, state_dir / "streamb.db"]],
        "folders": [str(state_dir), str(state_dir / "keys")],
        "pid": os.getpid(),
        "port": int(port),
        "socket": str(next(iter(platform_sockets()), "/nowhere")),
        "abstract": "nobody",
        "outside": str(tmp_path / "outside"),
    }


def platform_sockets():
    """Ray's own sockets in the file system."""
    with Path("/proc/net/unix").open() as file:
        return [line.split()[-1] for line in file if line.rstrip().endswith(("raylet", "plasma_store"))]


def test_an_isolated_model_gets_at_nothing(manager, platform, state_dir, tmp_path):
    check_isolation()
    aims = targets(platform, state_dir, tmp_path)
    assert aims["socket"] != "/nowhere"
    model = Hostile(**aims)
    manager.register_model("hostile", "Hostile", "", Model.wrap(model, schema=FeatureSchema.open()), "1.0.0")
    deployment = manager.deploy_model(
        model_id="hostile", target_version="1.0.0", rollout_strategy="immediate", isolation=Isolation.PROCESS
    )
    assert deployment.wait(timeout=120).state == "completed"
    told = manager.predict("hostile", [[float(number)] for number in range(len(model.tries))]).predictions
    assert len(told) == len(model.tries)
    assert [one for one in told if "got" in one] == []
    with pytest.raises(ModelFailed) as failed:
        manager.predict("hostile", [[-6.0]])
    assert "4711" not in failed.value.message
    reference = failed.value.message.rpartition("reference ")[2].rstrip(")")
    logs = find_logs(state_dir)
    until(lambda: "4711" in repr(lines_with(files_of("hostile", logs), reference)), 30, "the log has the words")
    manager.undeploy("hostile")


def test_an_isolated_job_gets_at_nothing_but_what_its_key_allows(manager, platform, state_dir, tmp_path):
    """Its key is good while it runs, for what a job may do, and ends with it."""
    write_platform_file(state_dir, RunningInfo(platform.url, os.getpid(), time.time(), __version__))
    aims = {**targets(platform, state_dir, tmp_path), "abstract": "nobody"}
    words = ["python", "-m", "tests.cluster.hostile_job", json.dumps(aims)]
    client = manager._client
    job = client.change("POST", "/api/jobs", {"entrypoint": shlex.join(words), "isolation": "process"})
    until(lambda: client.get(f"/api/jobs/{job['id']}")["state"] not in {"pending", "running"}, 120, "the job ends")
    log = client.get(f"/api/jobs/{job['id']}/logs", limit=100_000)["text"]
    assert client.get(f"/api/jobs/{job['id']}")["state"] == "succeeded", log
    told = json.loads(log.strip().splitlines()[-1])
    assert (told["got"], told["joined"]) == ([], False)
    assert told["tries"] > 20
    assert told["variables"] == ["ML_API_KEY", "ML_JOB_ID", "ML_URL"]
    assert (told["uid"] != os.getuid()) is (check_isolation() is Boundary.USER)
    assert (told["reads"], told["submits"], told["makes keys"]) == (200, 403, 403)
    with HttpClient(platform.url, told["key"], timeout_s=60) as stranger:
        until(lambda: refused(stranger), 30, "its key is revoked")
    assert [one for one in client.get("/api/principals")["items"] if one["name"].startswith("job:")] == []
