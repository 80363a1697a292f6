"""The gate: each route and its place in the table, and what the roles and keys may do there."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from streamb.api import create_app
from streamb.api.gate import Gate
from streamb.security.permissions import CONSOLE, JUDGES_MODELS, ROLES, Permission, Role
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.api.test_models import form
from tests.monitoring.alerts.incidents import alert

IN_ORDER = sorted(CONSOLE, key=str)
PARAMETER = re.compile(r"{[a-z_]+}")


@pytest.fixture(scope="module")
def staging(tmp_path_factory):
    return InProcess(tmp_path_factory.mktemp("staging"), environment="staging")


@pytest.fixture
def key_of(staging):
    """Returns a key of a principal with roles, or with scopes of an administrator, for some models."""

    def made(*roles, models=("*",), scopes=None):
        name = f"p{len(staging.platform.directory.list())}"
        staging.platform.directory.create(name, "person", roles or ("admin",))
        return {"X-API-Key": staging.platform.keys.create(name, scopes, models)[0]}

    return made


def app_of(backend) -> FastAPI:
    return create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)


def of(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8000")


def test_the_table_and_the_routes_are_the_same(staging):
    routes = [route for router in app_of(staging).state.routers for route in router.routes]
    assert {(method, route.path) for route in routes for method in route.methods} == set(CONSOLE)


def test_only_the_health_of_the_process_is_open():
    assert {place for place, needed in CONSOLE.items() if not needed} == {("GET", "/healthz"), ("HEAD", "/healthz")}


def test_what_looks_at_models_itself_is_in_the_table_without_a_model_in_its_path():
    assert set(CONSOLE) > JUDGES_MODELS
    assert not [path for _, path in JUDGES_MODELS if "{model_id}" in path]


@pytest.mark.parametrize("place", IN_ORDER, ids=" ".join)
async def test_a_route_that_is_not_in_the_table_is_closed(staging, place, key_of):
    app = app_of(staging)
    without = {other: needed for other, needed in CONSOLE.items() if other != place}
    async with of(Gated(app, without)) as client:
        answer = await client.request(place[0], PARAMETER.sub("x", place[1]), headers=key_of())
    assert answer.status_code in {403, 404, 405}, "an administrator does not get there either"


async def test_a_new_route_is_closed_even_where_another_pattern_of_the_table_fits(staging, key_of):
    """`/api/models/secrets` would pass for the model "secrets"."""
    app, router, reached = app_of(staging), APIRouter(), []
    router.add_api_route("/api/models/secrets", lambda: reached.append("model"), methods=["GET"])
    router.add_api_route("/api/new", lambda: reached.append("new"), methods=["GET"])
    app.router.routes.insert(0, app.router.routes.pop(app.router.routes.index(_included(app, router))))
    app.mount("/api/mounted", lambda *_: reached.append("mounted"))
    async with of(app) as client:
        codes = [(await client.get(path, headers=key_of())).status_code for path in ("/api/models/secrets", "/api/new")]
        codes.append((await client.get("/api/mounted/x", headers=key_of())).status_code)
    assert (codes, reached) == ([403, 404, 404], [])


def _included(app, router):
    app.include_router(router)
    return app.router.routes[-1]


class Gated:
    """An app behind a gate with another table, in place of its own."""

    def __init__(self, app, table):
        app.user_middleware = [one for one in app.user_middleware if one.cls is not Gate]
        app.user_middleware.append(type(app.user_middleware[0])(Gate, table=table))
        self._app = app

    async def __call__(self, *asgi):
        await self._app(*asgi)


@pytest.mark.parametrize("place", IN_ORDER, ids=" ".join)
async def test_each_role_gets_where_the_table_lets_it(staging, place, key_of):
    method, path = place
    needed = CONSOLE[place]
    async with client_of(staging) as client:
        address = PARAMETER.sub("x", path)
        for role in Role:
            answer = await client.request(method, address, headers=key_of(role))
            refused = answer.status_code == 403
            assert refused == bool(needed and ROLES[role].isdisjoint(needed)), (role, answer.text)
            if refused:
                assert answer.json()["code"] == "forbidden"
                assert answer.json()["needed"] == list(needed)
        for scope in Permission:
            refused = (await client.request(method, address, headers=key_of(scopes=[scope]))).status_code == 403
            assert refused == bool(needed and scope not in needed), scope
        assert (await client.request(method, address, headers=key_of("viewer", scopes=["admin"]))).status_code == (
            403 if needed else 200
        ), "a scope gives nothing that the principal has not"
        client.cookies.clear()
        assert (await client.request(method, address)).status_code == (401 if needed else 200)


@pytest.mark.parametrize("place", IN_ORDER, ids=" ".join)
async def test_a_key_for_some_models_gets_to_no_other(staging, place, key_of):
    method, path = place
    if not CONSOLE[place]:
        return
    async with client_of(staging) as client:
        answer = await client.request(method, PARAMETER.sub("x", path), headers=key_of(models=["energy-*"]))
        if "{model_id}" in path or place not in JUDGES_MODELS:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        else:
            assert answer.status_code != 403, answer.text
        if "{model_id}" in path:
            near = await client.request(
                method, path.replace("{model_id}", "energy-1"), headers=key_of(models=["energy-*"])
            )
            assert near.status_code != 403, near.text


async def test_who_calls_is_judged_before_the_body_is_read(staging, key_of):
    async with client_of(staging) as client:
        for headers, status in (({}, 401), (key_of("viewer"), 403)):
            sent = {**headers, "Content-Type": "application/json"}
            assert (await client.post("/api/deployments", content=b"{", headers=sent)).status_code == status


async def test_unknown_addresses_and_methods(staging):
    async with client_of(staging) as client:
        assert (await client.get("/api/nothing")).status_code == 404
        answer = await client.put("/api/deployments/history")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert (await client.patch("/api/models/x/versions")).headers["allow"] == "GET, POST"


async def test_lists_show_only_the_models_of_a_key(tmp_path, archive):
    backend = InProcess(tmp_path / "staging", environment="staging")
    backend.platform.directory.create("ada", "person", ["operator"])
    backend.platform.directory.create("root", "person", ["admin"])
    root = {"X-API-Key": backend.platform.keys.create("root")[0]}
    ada = {"X-API-Key": backend.platform.keys.create("ada", None, ["energy-*"])[0]}
    async with client_of(backend) as client:
        for model in ("energy-1", "churn"):
            files = form(archive, model={})
            assert (await client.post(f"/api/models/{model}/versions", files=files, headers=root)).status_code == 201
            order = {"model_id": model, "target_version": "1.0.0", "strategy": "canary"}
            made = await client.post("/api/deployments", json=order, headers=root)
            assert made.status_code == 201, made.text
        place = made.headers["location"]
        backend.core._alerting.evaluate([alert(name="DataDrift", model=one) for one in ("energy-1", "churn", "")])

        async def seen(path, headers, of="items"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            return {one.get("model_id") or one["labels"].get("model", "") for one in answer.json()[of]}

        for path in ("/api/models", "/api/deployments", "/api/deployments/history", "/api/alerts"):
            assert await seen(path, root) >= {"energy-1", "churn"}
            assert await seen(path, ada) == {"energy-1"}, path
            if path != "/api/models":
                word = "model" if path == "/api/alerts" else "model_id"
                assert await seen(f"{path}?{word}=churn", ada) == set()
        assert await seen("/api/status", root, "models") == {"energy-1", "churn"}
        assert await seen("/api/status", ada, "models") == {"energy-1"}
        assert (await client.get(place, headers=ada)).status_code == 403
        for verb in ("pause", "resume", "promote", "abort", "rollback"):
            assert (await client.post(f"{place}/{verb}", headers=ada)).status_code == 403, verb
        for path, body in (
            ("/api/models", {"model_id": "churn"}),
            ("/api/deployments", {"model_id": "churn", "target_version": "1.0.0"}),
            ("/api/monitoring/baseline", {"model_id": "churn", "from_window_minutes": 5}),
        ):
            refused = await client.post(path, json=body, headers=ada)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
    backend.close()


class TestDevelopment:
    """Nothing is checked but what runs code or grants permissions, which needs an administrator."""

    @pytest.mark.parametrize("place", [one for one in IN_ORDER if CONSOLE[one] == (Permission.ADMIN,)], ids=" ".join)
    async def test_what_needs_an_administrator_needs_one_here(self, client, backend, place):
        address = PARAMETER.sub("x", place[1])
        assert (await client.request(place[0], address)).status_code == 401
        for key, refused in ((backend.guest_key, True), (backend.api_key, False)):
            answer = await client.request(place[0], address, headers={"X-API-Key": key})
            assert (answer.status_code == 403) == refused, answer.text

    async def test_the_rest_needs_nothing(self, client, backend):
        for (method, path), needed in CONSOLE.items():
            if needed != (Permission.ADMIN,) and not path.endswith("/stop"):
                answer = await client.request(method, PARAMETER.sub("x", path))
                assert answer.status_code not in {401, 403}, (method, path, answer.text)
