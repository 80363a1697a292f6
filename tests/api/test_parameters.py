"""Nothing that a caller sends is ignored: unknown query parameters and unknown fields are refused, on every route."""

from __future__ import annotations

import re

import pytest

from streamb.api import create_app
from tests.api.conftest import client_of
from tests.api.fakes import InProcess


def operations(tmp_path) -> list[tuple[str, str]]:
    backend = InProcess(tmp_path)
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    routers = [route for router in app.state.routers for route in router.routes]
    assert set(app.openapi()["paths"]) <= {route.path for route in routers}
    return [(method, route.path) for route in routers for method in sorted(route.methods)]


async def test_an_unknown_parameter_is_refused_on_every_route(tmp_path, backend):
    found = operations(tmp_path)
    assert len(found) > 35
    async with client_of(backend, **{"X-API-Key": backend.api_key}) as client:
        for method, path in found:
            address = re.sub(r"{[a-z_]+}", "x", path)
            answer = await client.request(method, f"{address}?ownr=ada&limit=1")
            assert answer.status_code == 422, (method, path)
            if method != "HEAD":
                assert "query.ownr: there is no such parameter; this address takes" in answer.json()["error"], path
                assert answer.json()["code"] == "invalid_input"
        assert backend.asked == ["KeyRing.check"], "nothing was done"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/api/alerts", "limit, cursor, state, model, severity"),
        ("/api/deployments/history", "limit, cursor, model_id"),
        ("/api/models/m", "none"),
        ("/healthz", "none"),
    ],
)
async def test_the_message_names_what_there_is(client, address, allowed):
    answer = await client.get(address, params={"x": "1", "y": ""})
    takes = f"there is no such parameter; this address takes {allowed}"
    assert answer.json()["problems"] == [{"where": f"query.{name}", "problem": takes} for name in "xy"]


async def test_who_may_not_ask_is_told_that_first(tmp_path):
    backend = InProcess(tmp_path, environment="staging")
    async with client_of(backend) as client:
        assert (await client.get("/api/models?ownr=ada")).status_code == 401


def test_no_body_takes_unknown_fields(backend):
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    document = app.openapi()
    schemas, seen = document["components"]["schemas"], set()

    def check(node):
        if isinstance(node, list):
            for one in node:
                check(one)
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                if "properties" in schemas[name]:
                    assert schemas[name].get("additionalProperties") is False, name
                check(schemas[name])
            check(list(node.values()))

    for item in document["paths"].values():
        for operation in item.values():
            check(operation.get("requestBody", {}))
    assert {"ModelBody", "VersionBody", "LineageBody", "DeploymentBody", "SilenceOptions", "BaselineForm"} <= seen
