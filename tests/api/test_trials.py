"""Versions are tried before they are registered, and those of before when they are deployed: with real processes."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.registry import TrialState
from tests.api.artifacts import packed
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.trials.own_models import Habit, Raises, Unloadable

ROWS = np.random.default_rng(0).normal(size=(30, 2)).tolist()
MODEL = LogisticRegression().fit(ROWS, [row[0] > 0 for row in ROWS])


@pytest.fixture
def backend(tmp_path):
    backend = InProcess(tmp_path / "state", trials=True)
    yield backend
    backend.close()


@pytest.fixture
async def client(backend):
    async with client_of(backend, Authorization=f"Bearer {backend.api_key}") as client:
        yield client


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, bytes]:
    models = {"good": MODEL, "own": Habit(), "raises": Raises(), "unloadable": Unloadable()}
    return {name: packed(model, tmp_path_factory.mktemp(name)).read_bytes() for name, model in models.items()}


async def upload(client: httpx.AsyncClient, archive: bytes, example: object = None, **metadata: object):
    form = {
        "artifact": ("model.zip", archive, "application/zip"),
        "metadata": (
            None,
            json.dumps({"version": "1.0.0", "model": {"name": "Churn"}, **metadata}),
            "application/json",
        ),
    }
    if example is not None:
        form["example"] = (None, json.dumps(example), "application/json")
    return await client.post("/api/models/churn/versions", files=form)


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_a_version_that_passes_says_what_was_learned(client, backend, archives, tmp_path):
    example = {"instances": ROWS, "predictions": MODEL.predict(ROWS).tolist()}
    answer = await upload(client, archives["good"], example)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["trial"]["state"], made["trial"]["rows"], made["trial"]["row_wise"]) == ("passed", 30, True)
    assert made["classes"] == [False, True]
    assert [output["name"] for output in made["outputs"]] == ["predictions", "probabilities"]
    model, golden = backend.artifacts.load(made["blob"])
    assert golden.predictions == MODEL.predict(ROWS[:20]).tolist()
    assert model.predict(ROWS).tolist() == MODEL.predict(ROWS).tolist()
    again = await upload(client, archives["good"])
    assert (again.status_code, again.json()) == (200, made), "the same content is not tried again"
    assert files_below(tmp_path / "state" / "scratch") == []


async def test_a_refused_version_leaves_nothing_and_its_number_is_free(client, backend, archives, tmp_path):
    refusal = await upload(client, archives["raises"], {"instances": ROWS})
    assert (refusal.status_code, refusal.json()["code"]) == (422, "trial_failed")
    assert "no such customer" in refusal.json()["error"]
    assert (await client.get("/api/models/churn")).status_code == 404, "the model was to be made with its version"
    for folder in ("artifacts", "scratch"):
        assert files_below(tmp_path / "state" / folder) == []
    kept = await upload(client, archives["own"], {"instances": ROWS, "keep": False})
    assert kept.status_code == 201, kept.text
    assert backend.artifacts.load(kept.json()["blob"])[1] is None
    assert (await client.get("/api/models/churn")).json()["name"] == "Churn"


async def test_an_example_that_is_none_is_refused_before_anything_runs(client, archives):
    for wrong in ({"rows": ROWS}, {"instances": []}, [1], {"instances": ROWS, "predictions": ROWS + ROWS}):
        answer = await upload(client, archives["good"], wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), wrong


def register_as_before(backend: InProcess, archive: bytes, folder: Path, version: str) -> None:
    """Register a version as it was done before versions were tried."""
    (folder / "old.zip").write_bytes(archive)
    trier, backend.artifacts._trier = backend.artifacts._trier, None
    artifact = backend.artifacts.ingest(folder / "old.zip", may_carry_code=True)
    backend.artifacts._trier = trier
    assert artifact.trial.state is TrialState.UNTRIED
    registry = backend.platform.registry
    registry.create_model("churn")
    registry.register_version("churn", version, artifact)


async def test_a_version_of_before_is_tried_when_it_is_deployed(client, backend, archives, tmp_path):
    register_as_before(backend, archives["good"], tmp_path, "1.0.0")
    body = {"model_id": "churn", "target_version": "1.0.0", "strategy": "immediate"}
    assert (await client.post("/api/deployments", json=body)).status_code == 201
    version = (await client.get("/api/models/churn/versions/1.0.0")).json()
    assert version["trial"]["state"] == "loads"
    assert version["classes"] == [False, True]

    register_as_before(backend, archives["unloadable"], tmp_path, "2.0.0")
    refusal = await client.post("/api/deployments", json={**body, "target_version": "2.0.0"})
    assert (refusal.status_code, refusal.json()["code"]) == (422, "artifact_corrupt")
    assert "cannot be loaded on purpose" in refusal.json()["error"]
    deployments = (await client.get("/api/deployments")).json()["items"]
    assert [one["target_version"] for one in deployments] == ["1.0.0"], "what serves keeps serving"
