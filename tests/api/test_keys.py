"""Keys and principals over HTTP: who may manage them, what is told of them, and how fast a revoked one is refused."""

from __future__ import annotations

import tracemalloc

import pytest

from streamb.api.auth import KeyCache
from streamb.security.keys import digest
from streamb.security.permissions import CONSOLE, Permission, Role
from tests.api.conftest import client_of
from tests.api.fakes import InProcess

DAY_S = 86_400
ROUTES = [place for place in CONSOLE if place[1].startswith(("/api/keys", "/api/principals"))]
BODIES = {
    "/api/keys": {"principal": "operator"},
    "/api/keys/{key_id}/rotate": {},
    "/api/principals": {"name": "eve", "kind": "person", "roles": ["admin"]},
    "/api/principals/{name}/roles": {"roles": ["admin"]},
}


@pytest.fixture(params=["development", "staging"])
def backend(request, tmp_path):
    backend = InProcess(tmp_path / "state", environment=request.param)
    yield backend
    backend.close()


@pytest.fixture
async def admin(backend):
    async with client_of(backend, **{"X-API-Key": backend.api_key}) as client:
        yield client


async def ask(client, place, **headers):
    method, path = place
    body = BODIES.get(path) if method in ("POST", "PUT") else None
    path = path.format(key_id="0" * 12, name="guest")
    return await client.request(method, path, json=body, headers=headers)


async def test_only_an_administrator_manages_keys_in_any_environment(backend, admin):
    keys = backend.platform.keys
    backend.platform.directory.create("approver", "person", [Role.APPROVER])
    narrowed = {
        "nobody": None,
        "an operator": backend.guest_key,
        "an approver": keys.create("approver")[0],
        "an administrator's key for everything else": keys.create("operator", set(Permission) - {Permission.ADMIN})[0],
        "an administrator's key for some models": keys.create("operator", models=["energy-*"])[0],
        "an expired one": (expired := keys.create("operator", expires_at=backend.clock.now() + 1)[0]),
    }
    backend.clock.advance(2)
    before = {one.key_id: one.secrets for one in keys.list()}, backend.platform.directory.list()
    async with client_of(backend) as client:
        for who, key in narrowed.items():
            for place in ROUTES:
                refusal = await ask(client, place, **({"X-API-Key": key} if key else {}))
                assert refusal.status_code == (401 if key in (None, expired) else 403), (who, place)
    assert before == ({one.key_id: one.secrets for one in keys.list()}, backend.platform.directory.list())
    assert len(ROUTES) == 10


async def test_a_key_is_shown_once_and_told_of_without_it(backend, admin):
    body = {"principal": "guest", "scopes": ["predict", "read"], "models": ["energy-*"], "expires_in_s": 60}
    made = await admin.post("/api/keys", json=body, headers={"Idempotency-Key": "k"})
    assert made.status_code == 201
    facts = made.json()
    key = facts.pop("key")
    assert key.startswith(f"sb_{facts['id']}_")
    assert made.headers["location"] == f"/api/keys/{facts['id']}"
    again = await admin.post("/api/keys", json=body, headers={"Idempotency-Key": "k"})
    assert (again.json(), again.headers["idempotency-replayed"]) == ({**facts, "key": ""}, "true")
    assert (facts["scopes"], facts["models"], facts["used_at"]) == (["predict", "read"], ["energy-*"], None)
    assert facts["expires_at"] == backend.clock.now() + 60
    listed = await admin.get("/api/keys")
    assert facts in listed.json()["items"]
    assert (await admin.get(f"/api/keys/{facts['id']}")).json() == facts
    for text in (listed.text, str(backend.platform.keys.list()), made.text.replace(key, "")):
        assert key.rpartition("_")[2] not in text
    assert digest(key) not in listed.text + made.text


async def test_a_revoked_key_is_refused_within_a_second(backend, admin):
    made = (await admin.post("/api/keys", json={"principal": "guest"})).json()
    async with client_of(backend, **{"X-API-Key": made["key"]}) as client:
        assert (await client.get("/api/models")).status_code == 200
        assert (await admin.get(f"/api/keys/{made['id']}")).json()["used_at"] == backend.clock.now()
        assert (await admin.delete(f"/api/keys/{made['id']}")).json() == {"id": made["id"], "revoked": True}
        backend.clock.advance(0.9)
        assert (await client.get("/api/models")).status_code == 401
    assert (await admin.delete(f"/api/keys/{made['id']}")).status_code == 404


async def test_a_change_of_roles_and_the_end_of_a_principal_hold_within_a_second(backend, admin):
    assert (await admin.post("/api/principals", json=BODIES["/api/principals"])).status_code == 201
    key = (await admin.post("/api/keys", json={"principal": "eve"})).json()["key"]
    async with client_of(backend, **{"X-API-Key": key}) as client:
        assert (await client.get("/api/principals/eve")).json()["roles"] == ["admin"]
        await admin.put("/api/principals/eve/roles", json={"roles": ["viewer"]})
        backend.clock.advance(0.9)
        assert (await client.get("/api/principals/eve")).status_code == 403
        await admin.delete("/api/principals/eve")
        backend.clock.advance(0.9)
        assert (await client.get("/api/models")).status_code == 401
        await admin.post("/api/principals", json=BODIES["/api/principals"])
        backend.clock.advance(0.9)
        assert (await client.get("/api/models")).status_code == 401, "it is another eve"


async def test_a_key_that_was_narrowed_stays_so_in_any_environment(backend):
    reader = backend.platform.keys.create("guest", scopes=["read"])[0]
    other = backend.platform.keys.create("guest", models=["energy-*"])[0]
    asked = [
        ("GET", "/api/models", None, 200, 200),
        ("POST", "/api/models", {"model_id": "churn"}, 403, 403),
        ("POST", "/api/models", {"model_id": "energy-use"}, 403, 201),
        ("GET", "/api/models/churn", None, 404, 403),
        ("GET", "/api/alerts/channels", None, 200, 403),
    ]
    async with client_of(backend) as client:
        for method, path, body, *expected in asked:
            for key, status in zip((reader, other), expected, strict=True):
                answer = await client.request(method, path, json=body, headers={"X-API-Key": key})
                assert answer.status_code == status, (path, answer.text)


async def test_a_key_is_rotated_in_two_steps_and_marked_when_due(backend, admin):
    made = (await admin.post("/api/keys", json={"principal": "guest"})).json()
    backend.clock.advance(30 * DAY_S)
    assert (await admin.get(f"/api/keys/{made['id']}")).json()["due"]
    turned = (await admin.post(f"/api/keys/{made['id']}/rotate", json={"grace_s": 60})).json()
    assert (turned["id"], turned["due"]) == (made["id"], False)
    assert turned["old_secret_until"] == backend.clock.now() + 60
    statuses = []
    async with client_of(backend) as client:
        for wait_s in (0, 61):
            backend.clock.advance(wait_s)
            for key in (made["key"], turned["key"]):
                statuses.append((await client.get("/api/models", headers={"X-API-Key": key})).status_code)
    assert statuses == [200, 200, 401, 200]
    assert (await admin.get(f"/api/keys/{made['id']}")).json()["old_secret_until"] is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/keys", {"principal": "guest", "scopes": []}),
        ("/api/keys", {"principal": "guest", "scopes": ["everything"]}),
        ("/api/keys", {"principal": "guest", "models": []}),
        ("/api/keys", {"principal": "guest", "models": ["a/b"]}),
        ("/api/keys", {"principal": "guest", "models": ["a"] * 33}),
        ("/api/keys", {"principal": "guest", "expires_in_s": 0}),
        ("/api/keys", {"principal": "guest", "expires_in_s": 1e300}),
        ("/api/keys", {"principal": "guest", "key": "sb_my_own"}),
        ("/api/keys/000000000000/rotate", {"grace_s": -1}),
        ("/api/principals", {"name": "anonymous", "kind": "person"}),
        ("/api/principals", {"name": "a\u202eb", "kind": "person"}),
        ("/api/principals", {"name": "a", "kind": "job"}),
        ("/api/principals", {"name": "a", "kind": "person", "roles": ["root"]}),
    ],
)
async def test_what_is_no_key_and_no_principal_is_refused(backend, admin, path, body):
    before = len(backend.platform.keys.list())
    assert (await admin.post(path, json=body)).status_code == 422
    assert len(backend.platform.keys.list()) == before


async def test_nobody_takes_the_name_of_another_principal(backend, admin):
    taken = {"name": "guest", "kind": "service", "roles": ["admin"]}
    assert (await admin.post("/api/principals", json=taken)).status_code == 409
    assert (await admin.post("/api/keys", json={"principal": "nobody"})).status_code == 404
    assert [one["name"] for one in (await admin.get("/api/principals?limit=1")).json()["items"]] == ["guest"]


async def test_what_is_no_key_is_refused_without_the_controller(backend):
    async with client_of(backend) as client:
        for key in ("sb_x", "password", backend.api_key[:-1], backend.api_key[:-1] + "g"):
            assert (await client.get("/api/models", headers={"X-API-Key": key})).status_code == 401
    assert backend.asked == []


async def test_unknown_keys_do_not_grow_the_memory_of_a_console(backend, monkeypatch):
    monkeypatch.setattr("streamb.api.auth._MOST_REMEMBERED", 500)
    cache = KeyCache(backend.clock)

    class Console:
        async def ask(self, *_args):
            return None

    async def flood(start, count):
        for number in range(start, start + count):
            assert await cache.check(Console(), f"sb_{number:012x}_" + "0" * 64) is None

    await flood(0, 1_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await flood(1_000, 10_000)
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()
