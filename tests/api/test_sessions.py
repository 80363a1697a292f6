"""Sessions: a browser signs in once; its cookie is worth what opened it, and a change needs more than the cookie."""

from __future__ import annotations

import httpx
import pytest

from streamb.api import create_app
from streamb.security.permissions import Permission
from streamb.security.principals import Kind, PrincipalRecord
from streamb.security.sessions import MOST_SESSIONS, SESSIONS
from streamb.store import every_record
from tests.api.conftest import client_of
from tests.api.fakes import InProcess
from tests.security.issuer import LocalIssuer

HOUR = 3600.0
PLACE = "/api/session"


@pytest.fixture
def staging(tmp_path):
    backend = InProcess(tmp_path / "staging", environment="staging", session_hours=8)
    yield backend
    backend.close()


@pytest.fixture
def tls_files(tmp_path):
    files = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}
    for file in files.values():
        file.write_text("PEM")
    return files


def header(key):
    return {"Authorization": f"Bearer {key}"}


async def sign_in(client, key, **headers):
    """Sign in; the client keeps the cookie. Returns the headers of a change."""
    answer = await client.post(PLACE, headers={**header(key), **headers})
    assert answer.status_code == 201, answer.text
    return {"X-CSRF-Token": answer.json()["csrf_token"]}


def stored(backend):
    return list(every_record(backend.platform.database.records, SESSIONS))


async def test_a_session_reads_and_changes_as_its_principal(staging):
    async with client_of(staging) as client:
        assert (await client.get("/api/models")).status_code == 401
        token = await sign_in(client, staging.guest_key)
        about = (await client.get(PLACE)).json()
        assert (about["principal"], about["csrf_token"]) == ("guest", token["X-CSRF-Token"])
        assert "read" in about["permissions"]
        assert (await client.post("/api/models", json={"model_id": "m"}, headers=token)).status_code == 201
        assert (await client.get("/api/models/m")).json()["model_id"] == "m"
        assert (await client.delete(PLACE, headers=token)).status_code == 204
        assert not client.cookies
        assert (await client.get("/api/models")).status_code == 401
    assert stored(staging) == []


async def test_the_cookie(staging):
    async with client_of(staging) as client:
        plain = (await client.post(PLACE, headers=header(staging.guest_key))).headers["set-cookie"]
        proxied = await client.post(
            PLACE, headers={**header(staging.guest_key), "Origin": "https://127.0.0.1:8000", "Host": "127.0.0.1:8000"}
        )
    for cookie in (plain, proxied.headers["set-cookie"]):
        for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=28800"):
            assert word in cookie
        assert "Domain" not in cookie
    assert plain.startswith("streamb-session=")
    assert "Secure" not in plain
    assert proxied.headers["set-cookie"].startswith("__Host-streamb-session=")
    assert "Secure" in proxied.headers["set-cookie"]
    secret = plain.split("=")[1].split(";")[0]
    kept = str([(one.key, one.body) for one in stored(staging)])
    assert secret not in kept
    assert secret.split(".")[1] not in kept
    assert staging.guest_key not in kept


async def test_under_tls_only_the_cookie_that_came_over_tls_counts(tmp_path, tls_files):
    backend = InProcess(tmp_path / "tls", environment="staging", **tls_files)
    app = create_app(backend.control, backend.artifacts, backend.settings, backend.clock, backend.monitor)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://127.0.0.1:8000") as client:
        await sign_in(client, backend.guest_key)
        (cookie,) = client.cookies.jar
        assert (cookie.name, cookie.secure) == ("__Host-streamb-session", True)
        assert (await client.get("/api/models")).status_code == 200
        client.cookies.clear()
        planted = {"Cookie": f"streamb-session={cookie.value}"}
        assert (await client.get("/api/models", headers=planted)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/models", {"model_id": "new"}),
        ("POST", "/api/models/m/undeploy", {}),
        ("PUT", "/api/models/m/tags", {"tags": {}}),
        ("DELETE", "/api/models/m/aliases/champion", None),
        ("POST", "/api/jobs", {"entrypoint": "true"}),
        ("DELETE", PLACE, None),
        ("POST", PLACE, None),
    ],
)
async def test_a_change_needs_the_token_of_this_very_session(staging, method, path, body):
    async with client_of(staging) as client, client_of(staging) as other:
        await sign_in(client, staging.api_key)
        of_another = await sign_in(other, staging.api_key)
        before = list(staging.asked)
        secret = next(iter(client.cookies.values()))
        for token in (None, "", "x", secret, secret.split(".")[1], of_another["X-CSRF-Token"], "\u00e9"):
            headers = {} if token is None else {"X-CSRF-Token": token.encode()}
            answer = await client.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), token
        assert set(staging.asked[len(before) :]) <= {"Sessions.check"}
        assert (await client.get("/api/models")).status_code == 200, "it is still signed in"


async def test_a_session_opens_no_session(staging):
    async with client_of(staging) as client:
        token = await sign_in(client, staging.guest_key)
        assert (await client.post(PLACE, headers=token)).status_code == 400
        assert len(stored(staging)) == 1


async def test_every_console_knows_it(staging):
    async with client_of(staging) as one, client_of(staging) as other:
        await sign_in(one, staging.guest_key)
        other.cookies = one.cookies
        assert (await other.get("/api/models")).status_code == 200
        await one.delete(PLACE, headers={"X-CSRF-Token": (await one.get(PLACE)).json()["csrf_token"]})
        assert (await other.get("/api/models")).status_code == 401


async def test_it_ends_with_its_time(staging):
    async with client_of(staging) as client:
        await sign_in(client, staging.guest_key)
        staging.clock.advance(8 * HOUR - 1)
        assert (await client.get("/api/models")).status_code == 200
        staging.clock.advance(1)
        assert (await client.get("/api/models")).status_code == 401
        await sign_in(client, staging.guest_key)
        assert len(stored(staging)) == 1, "what has ended is forgotten"


def _revoke(backend, key_id):
    backend.platform.keys.revoke(key_id)


def _rotate(backend, key_id):
    backend.platform.keys.rotate(key_id, 0)


def _remove(backend, _key_id):
    backend.platform.directory.remove("guest")


@pytest.mark.parametrize("end", [_revoke, _rotate, _remove])
async def test_it_ends_with_its_key_at_once(staging, end):
    async with client_of(staging) as client:
        await sign_in(client, staging.guest_key)
        assert (await client.get("/api/models")).status_code == 200
        end(staging, staging.guest_key.split("_")[1])
        answer = await client.get("/api/models")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_it_ends_with_the_grace_of_a_rotated_key_and_with_the_end_of_an_expiring_one(staging):
    keys, now = staging.platform.keys, staging.clock.now()
    expiring = keys.create("guest", expires_at=now + HOUR)[0]
    async with client_of(staging) as one, client_of(staging) as other:
        await sign_in(one, staging.guest_key)
        await sign_in(other, expiring)
        keys.rotate(staging.guest_key.split("_")[1], HOUR)
        staging.clock.advance(HOUR - 1)
        assert [(await client.get("/api/models")).status_code for client in (one, other)] == [200, 200]
        staging.clock.advance(1)
        assert [(await client.get("/api/models")).status_code for client in (one, other)] == [401, 401]


async def test_it_has_the_limits_of_its_key_and_loses_what_the_principal_loses(staging):
    key = staging.platform.keys.create("guest", [Permission.READ], ["energy-*"])[0]
    async with client_of(staging) as client:
        token = await sign_in(client, key)
        about = (await client.get(PLACE)).json()
        assert (about["permissions"], about["models"]) == (["read"], ["energy-*"])
        assert (await client.post("/api/models", json={"model_id": "energy-1"}, headers=token)).status_code == 403
        assert (await client.get("/api/models/other")).status_code == 403
        staging.platform.directory.set_roles("guest", [])
        assert (await client.get("/api/models")).status_code == 403


async def test_sessions_of_one_principal_are_few(staging):
    async with client_of(staging) as first, client_of(staging) as client, client_of(staging) as another:
        await sign_in(another, staging.api_key)
        await sign_in(first, staging.guest_key)
        for _ in range(MOST_SESSIONS):
            staging.clock.advance(1)
            await sign_in(client, staging.guest_key)
        assert len(stored(staging)) == MOST_SESSIONS + 1
        assert (await first.get("/api/models")).status_code == 401, "the oldest ended"
        assert (await client.get("/api/models")).status_code == 200
        assert (await another.get("/api/models")).status_code == 200, "those of others do not"


@pytest.mark.parametrize(
    "cookie", ["", "x", "a.b", "0" * 32 + "." + "0" * 64, "0" * 32 + "." + "0" * 65, "\u00e9", ".." * 40]
)
async def test_cookies_that_are_no_session(staging, cookie):
    async with client_of(staging) as client:
        headers = {"Cookie": f"streamb-session={cookie}".encode()}
        assert (await client.get("/api/models", headers=headers)).status_code == 401
        assert (await client.get("/api/models", headers={**headers, **header(staging.guest_key)})).status_code == 200


async def test_a_place_in_the_store_is_no_cookie(staging):
    async with client_of(staging) as client:
        await sign_in(client, staging.guest_key)
        (record,) = stored(staging)
        client.cookies.clear()
        stolen = {"Cookie": f"streamb-session={record.key}"}
        assert (await client.get("/api/models", headers=stolen)).status_code == 401


async def test_only_valid_keys_of_people_and_services_open_one(staging):
    async with client_of(staging) as client:
        for wrong in ({}, header("sb_000000000000_" + "0" * 64), header("x"), header("a.b.c")):
            assert (await client.post(PLACE, headers=wrong)).status_code == 401
        foreign = {**header(staging.guest_key), "Origin": "https://evil.example"}
        assert (await client.post(PLACE, headers=foreign)).status_code == 403
        staging.platform.directory.set_roles("guest", [])
        assert (await client.post(PLACE, headers=header(staging.guest_key))).status_code == 403
    assert stored(staging) == []


async def test_jobs_have_none(staging):
    staging.platform.directory.ensure(PrincipalRecord("job-1", Kind.JOB))
    key = staging.platform.keys.create("job-1", [Permission.JOB])[0]
    async with client_of(staging) as client:
        assert (await client.get("/api/models", headers=header(key))).status_code == 200
        assert (await client.post(PLACE, headers=header(key))).status_code == 403
    assert stored(staging) == []


async def test_in_development_nobody_needs_one_and_one_that_has_ended_is_told(client, backend):
    assert (await client.get(PLACE)).json()["principal"] == "anonymous"
    assert (await client.post(PLACE)).status_code == 400
    token = await sign_in(client, backend.api_key)
    assert (await client.post("/api/models", json={"model_id": "m"})).status_code == 403, (
        "with the cookie, without token"
    )
    assert (await client.post("/api/models", json={"model_id": "m"}, headers=token)).status_code == 201
    backend.platform.keys.revoke(backend.api_key.split("_")[1])
    assert (await client.get("/api/models")).status_code == 401
    assert (await client.post(PLACE, headers=header(backend.guest_key))).status_code == 201, (
        "a key goes before a cookie"
    )
    assert (await client.get("/api/models")).status_code == 200


async def test_a_person_with_a_token(tmp_path):
    local = LocalIssuer()
    settings = {"oidc_issuer": local.url, "oidc_audience": "streamb", "oidc_roles": "ml-team=operator"}
    backend = InProcess(tmp_path / "one", environment="staging", **settings)
    async with client_of(backend) as client:
        headers = await sign_in(client, local.token(backend.clock.now()))
        assert (await client.get(PLACE)).json()["principal"] == "ada@example.com"
        local.close()
        assert (await client.post("/api/models", json={"model_id": "m"}, headers=headers)).status_code == 201
        body = str(stored(backend)[0].body)
        assert "ml-team" in body
        assert "others" not in body
        backend.clock.advance(8 * HOUR)
        assert (await client.get("/api/models")).status_code == 401
    backend.close()


@pytest.mark.parametrize(
    "now", [{}, {"oidc_issuer": "https://other.example"}, {"oidc_roles": "none"}, {"oidc_roles": "ml-team=viewer"}]
)
async def test_a_person_has_what_the_settings_give_it_now(tmp_path, now):
    local = LocalIssuer()
    settings = {"oidc_issuer": local.url, "oidc_audience": "streamb", "oidc_roles": "ml-team=operator"}
    before = InProcess(tmp_path / "one", environment="staging", **settings)
    async with client_of(before) as client:
        token = await sign_in(client, local.token(before.clock.now()))
        cookies = client.cookies
    local.close()
    after = InProcess(tmp_path / "two", environment="staging", **({**settings, **now} if now else {}))
    for record in stored(before):
        after.platform.database.records.put(SESSIONS, record.key, record.body)
    async with client_of(after) as client:
        client.cookies = cookies
        reads = (await client.get("/api/models")).status_code
        changes = (await client.post("/api/models", json={"model_id": "m"}, headers=token)).status_code
    expected = {"oidc_roles": (403, 403)}
    if now.get("oidc_roles") == "ml-team=viewer":
        assert (reads, changes) == (200, 403)
    else:
        assert (reads, changes) == expected.get(next(iter(now), ""), (401, 401))
