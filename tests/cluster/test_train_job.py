"""The training job on a platform: submitted over HTTP, registered with its lineage, deployed, asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamb
from streamb.cluster import RunningPlatform
from streamb.sdk.http import HttpClient

pytestmark = pytest.mark.ray

TIMEOUT_S = 120


@pytest.fixture
def client(platform: RunningPlatform) -> Iterator[HttpClient]:
    with HttpClient(platform.url, platform.api_key) as client:
        yield client


def run_job(client: HttpClient, platform: RunningPlatform, arguments: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Submit the job, wait for its end; returns the job and its output."""
    body = {
        "entrypoint": f"python -m tune_jobs.train --csv data.csv --target label {arguments}",
        "working_dir": str(folder),
        "env": {"ML_URL": platform.url, "ML_API_KEY": platform.api_key},
        "name": "train",
    }
    job = client.change("POST", "/api/jobs", body)
    deadline = time.monotonic() + TIMEOUT_S
    while job["state"] in {"pending", "running"}:
        assert time.monotonic() < deadline, client.get(f"/api/jobs/{job['id']}/logs")["text"]
        time.sleep(0.3)
        job = client.get(f"/api/jobs/{job['id']}")
    return job, client.get(f"/api/jobs/{job['id']}/logs")["text"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(
        f"{size},{colour},{'big' if size > 20 else 'small'}\n" for size in range(40) for colour in ("red", "")
    )
    (tmp_path / "data.csv").write_text(f"size,colour,label\n{rows}")
    return tmp_path


def test_a_submitted_training_job_registers_and_deploys(
    client: HttpClient, platform: RunningPlatform, folder: Path
) -> None:
    job, output = run_job(client, platform, "--model-id sizes --version 1.0.0 --deploy immediate", folder)
    assert (job["state"], job["exit_code"]) == ("succeeded", 0), output
    assert "read 80 rows, 2 columns" in output
    version = client.get("/api/models/sizes/versions/1.0.0")
    assert version["lineage"]["job_id"] == job["id"]
    assert len(version["lineage"]["data_digest"]) == 64
    assert version["metrics"]["accuracy"] > 0.8
    assert version["hyperparameters"]["C"] == 1.0
    with streamb.ProductionMLManager(address=platform.url, api_key=platform.api_key) as manager:
        rows = [{"size": 38, "colour": "red"}, {"size": 2, "colour": None}]
        answer = manager.predict("sizes", rows)
        assert (answer.predictions, answer.version) == (["big", "small"], "1.0.0")


def test_a_failing_training_job_tells_why(client: HttpClient, platform: RunningPlatform, folder: Path) -> None:
    job, output = run_job(client, platform, "--model-id sizes --version 2.0.0 --drop shape", folder)
    assert (job["state"], job["exit_code"]) == ("failed", 2)
    assert "--drop shape: no such column; there are size, colour, label" in output
