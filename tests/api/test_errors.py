"""One shape for everything that goes wrong."""

from __future__ import annotations

import pytest

from streamb.api.errors import checked
from streamb.api.versions import VersionBody
from streamb.errors import InvalidInput, StorageFailed, StreambError, Unavailable
from streamb.monitoring.channels.options import channel_types
from streamb.options import problem_of
from streamb.registry.semver import Semver
from streamb.rollouts.options import RolloutOptions
from tests.api.conftest import client_of
from tests.api.fakes import InProcess

JSON = {"Content-Type": "application/json"}


def shape(answer):
    body = answer.json()
    assert set(body) >= {"error", "code", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["code"]


async def test_paths_and_methods_that_are_not_there(client):
    assert shape(await client.get("/nowhere")) == (404, "not_found")
    assert shape(await client.get("/api/models/")) == (404, "not_found")
    answer = await client.delete("/api/models")
    assert shape(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "bad_request")),
        (b"\xff", (400, "bad_request")),
        (b"[" * 100_000, (400, "bad_request")),
        (b'{"model_id": ' + b"9" * 5_000 + b"}", (400, "bad_request")),
        (b"", (422, "invalid_input")),
        (b"[]", (422, "invalid_input")),
        (b'{"model_id": 3}', (422, "invalid_input")),
        (b'{"model_id": "a/b"}', (422, "invalid_input")),
        (b'{"model_id": "a\\n"}', (422, "invalid_input")),
        (b'{"model_id": "a", "name": "\\ud800"}', (422, "invalid_input")),
        (b'{"model_id": "a", "tags": {"\\ud800": "x"}}', (422, "invalid_input")),
        (b'{"model_id": "a", "tags": {"x": NaN}}', (422, "invalid_input")),
        (b'{"model_id": "a", "unknown": 1}', (422, "invalid_input")),
    ],
)
async def test_wrong_bodies(client, body, expected):
    assert shape(await client.post("/api/models", content=body, headers=JSON)) == expected


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_that_does_not_say_it_is_json(client, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/api/models", content=b'{"model_id": "a"}', headers=headers)
    assert shape(answer) == (415, "unsupported_media_type")
    assert (await client.get("/api/models/a")).status_code == 404


async def test_every_problem_is_named(client):
    answer = await client.post("/api/models", json={"model_id": "", "name": 5, "x": 1})
    assert {problem["where"] for problem in answer.json()["problems"]} == {"body.model_id", "body.name", "body.x"}


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=", "cursor=%00"])
async def test_wrong_pages(client, query):
    assert shape(await client.get(f"/api/models?{query}")) == (422, "invalid_input")


async def test_a_cursor_that_is_none(client):
    assert shape(await client.get("/api/models?cursor=garbage")) == (400, "bad_request")


async def test_request_ids_are_echoed_or_made(client):
    assert (await client.get("/healthz", headers={"X-Request-Id": "abc-1"})).headers["x-request-id"] == "abc-1"
    for bad in ("", "a b", "x" * 129, "caf\xe9"):
        answer = await client.get("/healthz", headers={"X-Request-Id": bad.encode("latin-1")})
        assert len(answer.headers["x-request-id"]) == 32


async def test_errors_of_the_control_side_come_through(client, backend):
    backend.failure = Unavailable("the Controller is restarting", retry_after_s=1.5)
    answer = await client.get("/api/models")
    assert shape(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    backend.failure = StorageFailed("the disk is full")
    assert shape(await client.get("/api/models")) == (503, "storage_failed")


async def test_a_crash_says_nothing_of_the_inside(client, backend, caplog):
    backend.failure = RuntimeError("secret")
    answer = await client.get("/api/models")
    assert shape(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] in caplog.text


async def test_details_cannot_pose_as_the_error(client, backend):
    backend.failure = StreambError("real", error="forged", code="forged", ratio=float("nan"), path=object())
    body = (await client.get("/api/models")).json()
    assert (body["error"], body["code"], body["ratio"]) == ("real", "internal_error", None)


async def test_nothing_hangs_when_the_control_side_does(tmp_path):
    slow = InProcess(tmp_path, request_timeout_s=0.05)
    slow.stuck = True
    async with client_of(slow) as client:
        assert shape(await client.get("/api/models")) == (504, "timeout")
        assert shape(await client.post("/api/models", json={"model_id": "a"})) == (504, "timeout")
        page = await client.get("/")
        assert page.status_code == 504


@pytest.mark.parametrize("path", ["/api/models/a%2Fb", "/api%2Fmodels", "/api/models/a%5Cb", "/api/models/a%252Fb"])
async def test_an_encoded_slash_is_refused_never_decoded(client, path):
    answer = await client.get(path)
    assert shape(answer) == (400, "bad_request")
    assert "encoded slash" in answer.json()["error"]


class TestBodies:
    @pytest.fixture
    async def small(self, tmp_path):
        backend = InProcess(tmp_path / "small", max_body_bytes=100, request_timeout_s=1.0)
        async with client_of(backend) as client:
            yield client

    async def test_too_long_as_announced(self, small):
        answer = await small.post("/api/models", json={"model_id": "a", "name": "x" * 200})
        assert shape(answer) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"

    async def test_too_long_without_announcing_it(self, small):
        async def pieces():
            for _ in range(10):
                yield b" " * 50

        assert shape(await small.post("/api/models", content=pieces(), headers=JSON)) == (413, "body_too_large")

    @pytest.mark.parametrize("coding", ["gzip", "br"])
    async def test_compressed(self, small, coding):
        answer = await small.post("/api/models", content=b"x", headers={**JSON, "content-encoding": coding})
        assert shape(answer) == (415, "unsupported_media_type")

    async def test_too_slow(self, small):
        import asyncio

        async def pieces():
            for _ in range(100):
                yield b" "
                await asyncio.sleep(0.02)

        assert shape(await small.post("/api/models", content=pieces(), headers=JSON)) == (408, "request_timeout")


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        (
            ("POST", "/api/models", {"model_id": "a/b"}),
            "body.model_id: 'a/b' cannot be a model id: use 1 to 100 letters",
        ),
        (("GET", "/api/models/a@b", None), "path.model_id: 'a@b' cannot be a model id"),
        (("PUT", "/api/models/m/aliases/1st", {"version": "1.0.0"}), "'1st' cannot be an alias: use 1 to 100 letters"),
        (
            ("PUT", "/api/models/m/aliases/best", {"version": "1 0"}),
            "'1 0' is neither a version, like 1.4.0, nor an alias",
        ),
        (("GET", "/api/models?cursor=%C3%A9", None), "query.cursor: 'é' is no cursor: send `next_cursor`"),
        (("DELETE", "/api/alerts/silences/-", None), "path.silence_id: '-' cannot be an id"),
    ],
)
async def test_no_message_shows_a_regular_expression(client, request_of, sentence):
    method, path, body = request_of
    answer = await client.request(method, path, json=body)
    assert shape(answer) == (422, "invalid_input")
    assert sentence in answer.json()["error"]
    assert "pattern" not in answer.text


def patterns_in(schema):
    if isinstance(schema, dict):
        found = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        return [*found, *(pattern for value in schema.values() for pattern in patterns_in(value))]
    return [pattern for value in schema for pattern in patterns_in(value)] if isinstance(schema, list) else []


def test_every_pattern_has_a_sentence(backend):
    schemas = [client_of(backend)._transport.app.openapi(), RolloutOptions.model_json_schema()]
    schemas += [options.model_json_schema() for options in channel_types().values()]
    patterns = set(patterns_in(schemas))
    assert len(patterns) >= 10
    for pattern in patterns:
        problem = problem_of({"type": "string_pattern_mismatch", "input": "x", "ctx": {"pattern": pattern}})
        assert "not allowed here" not in problem, pattern


def test_a_version_is_told_as_everywhere():
    with pytest.raises(InvalidInput) as told:
        Semver.parse("1.0")
    with pytest.raises(InvalidInput) as checked_one:
        checked(VersionBody, {"version": "1.0"}, "metadata")
    assert f"metadata.version: {told.value.message}" in checked_one.value.message
