"""The registry over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamb.api import create_app
from streamb.api.console import MOST_UPLOADS
from tests.api.artifacts import Doubler, packed, sklearn_archive
from tests.api.conftest import client_of
from tests.api.fakes import InProcess


def form(archive, **metadata):
    return {
        "artifact": ("model.zip", archive.read_bytes(), "application/zip"),
        "metadata": (None, json.dumps({"version": "1.0.0", **metadata}), "application/json"),
    }


@pytest.fixture
async def churn(client):
    answer = await client.post("/api/models", json={"model_id": "churn", "name": "Churn", "owner": "ml-team"})
    assert answer.status_code == 201
    return answer.json()


async def test_a_model_is_made_then_found(client, churn):
    assert churn["model_id"] == "churn"
    assert churn["latest_version"] is None
    assert (await client.get("/api/models/churn")).json() == churn
    listed = (await client.get("/api/models")).json()
    assert listed == {"items": [churn], "next_cursor": None}


async def test_making_a_model_again_brings_it_up_to_date(client, churn):
    answer = await client.post("/api/models", json={"model_id": "churn", "description": "who leaves"})
    assert answer.json()["description"] == "who leaves"
    assert answer.json()["owner"] == "ml-team"
    assert answer.headers["location"] == "/api/models/churn"


async def test_lists_page(client):
    for n in range(5):
        await client.post("/api/models", json={"model_id": f"m{n}"})
    seen, cursor = [], None
    while True:
        page = (await client.get("/api/models", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["items"]) <= 2
        seen += [model["model_id"] for model in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"m{n}" for n in range(5)]


async def test_an_uploaded_version_has_what_the_model_says_of_itself(client, churn, archive):
    metadata = {"metrics": {"accuracy": 0.9}, "hyperparameters": {"C": 1.0}, "metadata": {"note": "first"}}
    answer = await client.post("/api/models/churn/versions", files=form(archive, owner="ada", **metadata))
    assert answer.status_code == 201, answer.text
    version = answer.json()
    assert (version["version"], version["framework"], version["task"]) == ("1.0.0", "scikit-learn", "classification")
    assert version["metrics"] == {"accuracy": 0.9}
    assert version["hyperparameters"] == {"C": 1.0}
    assert version["metadata"] == {"note": "first"}
    assert version["stage"] == "development"
    assert len(version["schema"]["features"]) == 3
    assert answer.headers["location"] == "/api/models/churn/versions/1.0.0"
    assert (await client.get("/api/models/churn/versions/latest")).json() == version
    assert (await client.get("/api/models/churn/versions")).json()["items"] == [version]
    assert (await client.get("/api/models/churn")).json()["latest_version"] == "1.0.0"


async def test_versions_are_chosen_by_owner_tags_and_metrics(client, churn, archive):
    for version, owner, tags, accuracy in (
        ("1.0.0", "ada", {"team": "risk"}, 0.8),
        ("1.1.0", "bob", {"team": "growth"}, 0.9),
        ("1.2.0", "ada", {}, 0.95),
    ):
        facts = {"version": version, "owner": owner, "tags": tags, "metrics": {"accuracy": accuracy}}
        made = await client.post("/api/models/churn/versions", files=form(archive, **facts))
        assert made.status_code == 201, made.text

    async def found(**query):
        answer = await client.get("/api/models/churn/versions", params=query)
        return [one["version"] for one in answer.json()["items"]]

    assert await found(owner="ada") == ["1.2.0", "1.0.0"]
    assert await found(tag="team") == ["1.1.0", "1.0.0"]
    assert await found(tag=["team", "team=risk"]) == ["1.0.0"]
    assert await found(metric=["accuracy>=0.8", "accuracy<0.95"], owner="bob") == ["1.1.0"]
    first = (await client.get("/api/models/churn/versions", params={"owner": "ada", "limit": 1})).json()
    rest = {"owner": "ada", "cursor": first["next_cursor"]}
    assert [one["version"] for one in first["items"]] + await found(**rest) == ["1.2.0", "1.0.0"]
    for query, words in (("metric=accuracy", "such as accuracy>=0.9"), ("tag=%3Dx", "write KEY or KEY=VALUE")):
        refusal = await client.get(f"/api/models/churn/versions?{query}")
        assert (refusal.status_code, refusal.json()["code"]) == (422, "invalid_input")
        assert words in refusal.json()["error"]
    assert (await client.get("/api/models/nobody/versions?owner=ada")).status_code == 404


async def test_models_of_one_owner(client, churn):
    await client.post("/api/models", json={"model_id": "other", "owner": "ada"})
    assert [one["model_id"] for one in (await client.get("/api/models?owner=ada")).json()["items"]] == ["other"]
    assert (await client.get("/api/models?owner=nobody")).json()["items"] == []


async def test_the_same_content_again_is_fine_and_other_content_a_conflict(client, backend, churn, archive, tmp_path):
    assert (await client.post("/api/models/churn/versions", files=form(archive))).status_code == 201
    assert (await client.post("/api/models/churn/versions", files=form(archive))).status_code == 200
    other = sklearn_archive(tmp_path, c=0.01)
    refusal = await client.post("/api/models/churn/versions", files=form(other))
    assert refusal.status_code == 409
    assert refusal.json()["code"] == "conflict"
    stored = [file for file in (backend.settings.state_dir / "artifacts").rglob("*") if file.is_file()]
    assert len(stored) == 1, "what is refused takes no room"


async def test_no_scratch_is_left_behind(client, backend, churn, archive):
    await client.post("/api/models/churn/versions", files=form(archive))
    await client.post("/api/models/churn/versions", files=form(archive, surprise=1))
    assert list((backend.settings.state_dir / "scratch").iterdir()) == []


async def test_an_upload_to_no_model_stores_nothing(client, backend, archive):
    answer = await client.post("/api/models/nobody/versions", files=form(archive))
    assert answer.status_code == 404
    assert not [file for file in (backend.settings.state_dir / "artifacts").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"version": "one"}, "metadata.version"),
        ({"version": "1.0.0", "surprise": 1}, "metadata.surprise"),
        ({"version": "1.0.0", "metrics": {"accuracy": "high"}}, "metadata.metrics.accuracy"),
        ({"version": "1.0.0", "metrics": {"accuracy": True}}, "metadata.metrics.accuracy"),
        ({"version": "1.0.0", "metadata": {"n": 10**30}}, "metadata.metadata"),
        ({"version": "1.0.0", "owner": "a\x00b"}, "metadata.owner"),
        ([1, 2], "metadata"),
    ],
)
async def test_wrong_metadata_is_named(client, churn, archive, metadata, where):
    files = {"artifact": ("m.zip", archive.read_bytes()), "metadata": (None, json.dumps(metadata))}
    answer = await client.post("/api/models/churn/versions", files=files)
    assert answer.status_code == 422
    assert where in [problem["where"] for problem in answer.json()["problems"]]


class TestForms:
    async def send(self, client, body: bytes, content_type: str = "multipart/form-data; boundary=XX"):
        return await client.post("/api/models/churn/versions", content=body, headers={"Content-Type": content_type})

    async def test_json_instead_of_a_form(self, client, churn):
        answer = await self.send(client, b"{}", "application/json")
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "X" * 10_000])
    async def test_no_usable_boundary(self, client, churn, content_type):
        assert (await self.send(client, b"--XX--\r\n", content_type)).status_code == 400

    @pytest.mark.parametrize("body", [b"", b"garbage", b"--XX\r\n\r\n", b"--XX\r\nContent-Disposition: form-data"])
    async def test_a_form_that_is_not_one(self, client, churn, body):
        assert (await self.send(client, body)).status_code in {400, 422}

    async def test_a_form_cut_off(self, client, churn, archive):
        head = b'--XX\r\nContent-Disposition: form-data; name="artifact"\r\n\r\n'
        answer = await self.send(client, head + archive.read_bytes()[:100])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")

    async def test_a_missing_part(self, client, churn):
        answer = await self.send(
            client, b'--XX\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n--XX--\r\n'
        )
        assert answer.status_code == 422
        assert "artifact" in answer.json()["error"]

    async def test_an_unknown_and_a_repeated_part(self, client, churn):
        part = b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n{}\r\n'
        assert (await self.send(client, part % b"virus" + b"--XX--\r\n")).status_code == 422
        answer = await self.send(client, part % b"metadata" + part % b"metadata" + b"--XX--\r\n")
        assert "twice" in answer.json()["error"]

    async def test_metadata_that_is_not_json(self, client, churn, archive):
        files = {"artifact": ("m.zip", archive.read_bytes()), "metadata": (None, "{")}
        assert (await client.post("/api/models/churn/versions", files=files)).status_code == 400

    async def test_an_artifact_that_is_not_one(self, client, churn):
        files = {"artifact": ("m.zip", b"not a zip"), "metadata": (None, '{"version": "1.0.0"}')}
        answer = await client.post("/api/models/churn/versions", files=files)
        assert answer.status_code == 422
        assert answer.json()["code"].startswith("artifact_")


async def test_an_artifact_over_the_limit(tmp_path, archive):

    small = InProcess(tmp_path, max_artifact_bytes=1_000)
    async with client_of(small) as client:
        await client.post("/api/models", json={"model_id": "churn"})
        answer = await client.post("/api/models/churn/versions", files=form(archive))
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert list((tmp_path / "scratch").iterdir()) == []


async def test_code_needs_a_key_even_in_development(client, backend, churn, tmp_path):
    archive = packed(Doubler(), tmp_path)
    refusal = await client.post("/api/models/churn/versions", files=form(archive))
    assert (refusal.status_code, refusal.json()["code"]) == (401, "unauthorized")
    headers = {"Authorization": f"Bearer {backend.api_key}"}
    answer = await client.post("/api/models/churn/versions", files=form(archive), headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["carries_code"] is True


async def test_an_environment_needs_a_key_and_is_part_of_the_version(client, backend, churn, archive):
    environment = {"pip": ["tiny==1.0"]}
    refusal = await client.post("/api/models/churn/versions", files=form(archive, environment=environment))
    assert (refusal.status_code, refusal.json()["code"]) == (401, "unauthorized")
    assert "installs packages" in refusal.text
    headers = {"Authorization": f"Bearer {backend.api_key}"}
    answer = await client.post(
        "/api/models/churn/versions", files=form(archive, environment=environment), headers=headers
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["environment"] == environment
    other = await client.post("/api/models/churn/versions", files=form(archive), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


async def test_an_environment_is_checked(client, churn, archive):
    files = form(archive, environment={"pip": ["-r more.txt"]})
    refusal = await client.post("/api/models/churn/versions", files=files)
    assert (refusal.status_code, refusal.json()["code"]) == (422, "invalid_input")
    assert "-r names a file of one machine; list the requirements themselves" in refusal.text


async def test_aliases_tags_and_stages(client, churn, archive):
    await client.post("/api/models/churn/versions", files=form(archive))
    answer = await client.put("/api/models/churn/aliases/champion", json={"version": "latest"})
    assert answer.json()["aliases"] == {"champion": "1.0.0"}
    assert (await client.get("/api/models/churn/versions/champion")).json()["version"] == "1.0.0"
    assert (await client.delete("/api/models/churn/aliases/champion")).json()["aliases"] == {}
    assert (await client.delete("/api/models/churn/aliases/champion")).status_code == 404
    assert (await client.put("/api/models/churn/aliases/x", json={"version": "9.9.9"})).status_code == 404
    tagged = await client.put("/api/models/churn/tags", json={"tags": {"team": "growth"}})
    assert tagged.json()["tags"] == {"team": "growth"}
    staged = await client.post("/api/models/churn/versions/1.0.0/stage", json={"stage": "staging"})
    assert staged.json()["stage"] == "staging"
    refusal = await client.post("/api/models/churn/versions/1.0.0/stage", json={"stage": "nowhere"})
    assert refusal.status_code == 422
    await client.post("/api/models/churn/versions/1.0.0/stage", json={"stage": "archived"})
    refusal = await client.post("/api/models/churn/versions/1.0.0/stage", json={"stage": "production"})
    assert (refusal.status_code, refusal.json()["code"]) == (409, "invalid_transition")


async def test_a_full_disk_is_a_503_and_leaves_nothing(client, backend, churn, archive):
    scratch = backend.settings.state_dir / "scratch"
    scratch.parent.mkdir(exist_ok=True, parents=True)
    scratch.rmdir() if scratch.exists() else None
    scratch.write_text("a file where the folder should be")
    answer = await client.post("/api/models/churn/versions", files=form(archive))
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_failed")
    assert (await client.get("/api/models/churn/versions")).json()["items"] == []


async def test_uploads_beyond_the_most_wait_and_are_refused_when_no_turn_comes(tmp_path, archive):
    backend = InProcess(tmp_path, request_timeout_s=1.5)
    async with client_of(backend, **{"X-API-Key": backend.api_key}) as client:
        uploads = client._transport.app.state.console.uploads
        await client.post("/api/models", json={"model_id": "churn"})
        for _ in range(MOST_UPLOADS):
            await uploads.acquire()
        refusal = await client.post("/api/models/churn/versions", files=form(archive))
        assert (refusal.status_code, refusal.json()["code"]) == (503, "overloaded")
        assert int(refusal.headers["retry-after"]) >= 1
        waiting = asyncio.create_task(client.post("/api/models/churn/versions", files=form(archive)))
        await asyncio.sleep(0.05)
        uploads.release()
        assert (await waiting).status_code == 201


async def test_a_client_that_leaves_during_its_upload_is_no_failure_of_ours(backend, caplog):
    begun = b'--b\r\nContent-Disposition: form-data; name="artifact"\r\n\r\nPK'
    events = [{"type": "http.request", "body": begun, "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return events.pop(0)

    async def send(message):
        sent.append(message)

    path = "/api/models/churn/versions"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    await app({**scope, "headers": headers, "http_version": "1.1", "scheme": "http"}, receive, send)
    assert sent == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert list((backend.settings.state_dir / "scratch").iterdir()) == []
