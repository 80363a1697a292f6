"""Jobs over HTTP."""

from __future__ import annotations

import pytest


@pytest.fixture
def key(backend):
    return {"Authorization": f"Bearer {backend.api_key}"}


async def test_submit_look_read_stop(client, backend, key):
    body = {"entrypoint": "python -m tune_jobs.train", "name": "train", "working_dir": "/data", "env": {"A": "1"}}
    answer = await client.post("/api/jobs", json=body, headers=key)
    assert answer.status_code == 201, answer.text
    assert backend.jobs.submitted == [body]
    place = answer.headers["location"]
    assert (await client.get(place)).json()["state"] == "pending"
    backend.jobs.end("job-1", "running", "epoch 1\nepoch 2\n")
    first = (await client.get(f"{place}/logs", params={"limit": 8})).json()
    assert first == {"text": "epoch 1\n", "next_offset": 8}
    assert (await client.get(f"{place}/logs", params={"offset": 8})).json()["text"] == "epoch 2\n"
    assert (await client.post(f"{place}/stop", headers=key)).json()["state"] == "stopped"
    assert [job["id"] for job in (await client.get("/api/jobs")).json()["items"]] == ["job-1"]


async def test_isolation_and_what_the_key_allows_are_passed_on(client, backend, key):
    how = {"isolation": "process", "time_limit_s": 60.0, "scopes": ["job", "deploy"], "models": ["energy-*"]}
    answer = await client.post("/api/jobs", json={"entrypoint": "id", **how}, headers=key)
    assert answer.status_code == 201, answer.text
    (told,) = backend.jobs.submitted
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()} == {
        "entrypoint": "id",
        "working_dir": None,
        "env": {},
        "name": "",
        **how,
    }


async def test_running_code_needs_a_key_even_in_development(client, backend):
    assert (await client.post("/api/jobs", json={"entrypoint": "true"})).status_code == 401
    assert (await client.post("/api/jobs/job-1/stop")).status_code == 401
    assert backend.jobs.submitted == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"entrypoint": ""},
        {"entrypoint": "x", "env": {"a b": "1"}},
        {"entrypoint": "x\x00"},
        {"entrypoint": "x", "n": 1},
        {"entrypoint": "x", "isolation": "container"},
        {"entrypoint": "x", "time_limit_s": 0},
        {"entrypoint": "x", "time_limit_s": 10**9},
        {"entrypoint": "x", "scopes": []},
        {"entrypoint": "x", "scopes": ["root"]},
        {"entrypoint": "x", "models": []},
        {"entrypoint": "x", "name": "a\x1b[2Jb"},
    ],
)
async def test_wrong_jobs(client, key, body):
    assert (await client.post("/api/jobs", json=body, headers=key)).status_code == 422


async def test_there_is_no_such_job(client, key):
    assert (await client.get("/api/jobs/none")).status_code == 404
    assert (await client.get("/api/jobs/none/logs")).status_code == 404
    assert (await client.post("/api/jobs/none/stop", headers=key)).status_code == 404
