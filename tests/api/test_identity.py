"""Nothing in a body says who calls: over every body of the OpenAPI document, what is recorded is the key's owner."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from streamb.api import create_app
from streamb.control.verbs import Control
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.monitor import MonitorCore
from streamb.registry import Registry
from streamb.rollouts.controller import Rollouts
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.api.steered_deployments import SteeredPlatform
from tests.api.test_deployments import ORDER
from tests.api.test_models import form

OTHER = "somebody-else"
WHO = {"actor", "by", "author", "registered_by"}
"""The names of parameters of verbs that say who acts."""
CLAIMS = ("actor", "created_by", "principal", "roles", "scopes", "admin", "key_id", "user", "caller", "on_behalf_of")
ABSENT = ("instances", "predictions", "labels", "confidence", "probabilities")
PLACES = {"model_id": "churn", "version": "1.0.0", "deployment_id": "dep-1", "alias": "champion"}

KNOWN: dict[str, Any] = {
    **PLACES,
    **dict.fromkeys(ABSENT),
    "target_version": "1.0.0",
    "to_version": "1.0.0",
    "matchers": ['model="churn"'],
    "force": False,
    "options": {},
    "scopes": ["read"],
    "models": ["*"],
}


class Watched(SteeredPlatform):
    """Notes who is said to act in each call of a verb."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.acting: dict[str, set[str]] = {}

    async def control(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self._note(name, args, kwargs)
        return await super().control(name, args, kwargs)

    async def monitor(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self._note(name, args, kwargs)
        return await super().monitor(name, args, kwargs)

    def _note(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for cls in (Control, Rollouts, Registry, MonitorCore, AlertManager):
            method = getattr(cls, name.rpartition(".")[2], None)
            if method is not None and method.__qualname__ == name:
                given = inspect.signature(method).bind(
                    None, *args, **{n: v for n, v in kwargs.items() if n[:2] != "__"}
                )
                said = {str(value) for key, value in given.arguments.items() if key in WHO}
                self.acting.setdefault(name, set()).update(said)


@pytest.fixture
def backend(tmp_path):
    backend = Watched(tmp_path / "state", environment="staging")
    yield backend
    backend.close()


def filled(schema: Mapping[str, Any], document: Mapping[str, Any], name: str = "") -> Any:
    """Return a value that a schema allows, with OTHER wherever free text is allowed."""
    if name in KNOWN:
        return KNOWN[name]
    if "$ref" in schema:
        return filled(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, name)
    if "anyOf" in schema:
        return filled(next(one for one in schema["anyOf"] if one.get("type") != "null"), document, name)
    if "properties" in schema:
        return {key: filled(one, document, key) for key, one in schema["properties"].items()}
    for fixed in ("enum", "examples"):
        if fixed in schema:
            return schema[fixed][0]
    kinds = {"string": OTHER, "number": 1.0, "integer": 1, "boolean": False, "object": {}, "array": []}
    return kinds[schema.get("type", "string")]


def bodies(backend: InProcess) -> list[tuple[str, str, Any, Mapping[str, Any]]]:
    """Return method, path, body and schema of each route with a body of JSON."""
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    document, found = app.openapi(), []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is not None:
                found.append((method.upper(), path, filled(schema, document), _object(schema, document)))
    return found


def _object(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    while "properties" not in schema:
        if "anyOf" in schema:
            schema = schema["anyOf"][0]
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def key_of(backend: InProcess, name: str, *roles: str) -> dict[str, str]:
    backend.platform.directory.create(name, "person", roles)
    return {"X-API-Key": backend.platform.keys.create(name)[0]}


async def test_who_acts_is_the_owner_of_the_key_whatever_a_body_says(backend, archive):
    headers = key_of(backend, "mallory", "admin")
    async with client_of(backend, **headers) as client:
        await client.post("/api/models", json={"model_id": "churn", "owner": OTHER})
        await client.post("/api/models/churn/versions", files=form(archive, owner=OTHER))
        for method, path, body, schema in bodies(backend):
            address = re.sub(r"{([a-z_]+)}", lambda match: PLACES.get(match[1], "x"), path)
            answer = await client.request(method, address, json=body)
            assert answer.status_code not in {401, 403, 500}, (method, path, body, answer.text)
            for claim in CLAIMS:
                if claim not in schema["properties"]:
                    refused = await client.request(method, address, json={**body, claim: OTHER})
                    assert refused.status_code == 422, (path, claim, refused.text)
        await client.delete("/api/models/churn/versions/1.0.0")
    assert {name: who for name, who in backend.acting.items() if who - {"mallory"}} == {}
    assert {name.rpartition(".")[2] for name, who in backend.acting.items() if who} >= {
        *("create_deployment", "approve", "pause", "resume", "promote", "abort", "rollback", "undeploy"),
        *("register_version", "delete_version", "silence", "set_thresholds", "update_baseline"),
    }, "the bodies reach what they should"


def test_every_body_refuses_what_it_does_not_declare(backend):
    for method, path, _, schema in bodies(backend):
        assert schema.get("additionalProperties") is False, (method, path)


async def test_a_name_in_a_body_is_a_comment(tmp_path, archive):
    """With the author's own keys it is refused, whoever is named; and who is named is nowhere the actor."""
    backend = InProcess(tmp_path / "staging", environment="staging")
    author, other = (key_of(backend, name, "admin") for name in ("ada", "grace"))
    second = {"X-API-Key": backend.platform.keys.create("ada", ["approve", "read"])[0]}
    async with client_of(backend, **author) as client:
        assert (await client.post("/api/models/churn/versions", files=form(archive, model={}))).status_code == 201
        made = await client.post("/api/deployments", json={**ORDER, "options": {"approval_before": "start"}} | CANARY)
        assert (made.status_code, made.json()["created_by"]) == (201, "ada")
        place = f"{made.headers['location']}/approve"
        while backend.rollouts.tick():
            pass
        for headers in (author, second):
            refused = await client.post(place, json={"by": "grace", "reason": "x"}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")
        approved = await client.post(place, json={"by": "eve"}, headers=other)
        assert [(one["by"], one["reason"]) for one in approved.json()["approvals"]] == [("grace", "said: eve")]
        history = (await client.get("/api/deployments/history")).json()["items"]
    assert {event["actor"] for event in history} <= {"ada", "grace", "controller"}
    assert "said: eve" in json.dumps(history)


CANARY = {"strategy": "canary"}


async def test_in_development_the_history_says_what_was_approved_by_its_author(client, backend_here, archive):
    headers = {"X-API-Key": backend_here.api_key}
    await client.post("/api/models/churn/versions", files=form(archive, model={}), headers=headers)
    order = {**ORDER, "strategy": "canary", "options": {"approval_before": "start"}}
    place = (await client.post("/api/deployments", json=order, headers=headers)).headers["location"]
    while backend_here.rollouts.tick():
        pass
    by = {"by": "release-manager@example.com"}
    assert (await client.post(f"{place}/approve", json=by, headers=headers)).status_code == 200
    events = (await client.get("/api/deployments/history")).json()["items"]
    (event,) = [one for one in events if one["kind"] == "approved"]
    assert event["actor"] == "operator"
    assert event["detail"] == "start: self-approved: said: release-manager@example.com"


@pytest.fixture
def backend_here(tmp_path):
    return InProcess(tmp_path / "development")


@pytest.fixture
async def client(backend_here):
    async with client_of(backend_here) as client:
        yield client
