"""What a key allows at a gateway: actions by its permissions, models by its patterns, versions by PIN."""

from dataclasses import replace

import pytest

from streamb.hashing import sha256_hex
from streamb.security.permissions import GATEWAY, ROLES, Permission
from streamb.serving.http.routes import Action
from streamb.traffic import GatewayPolicy, KeyGrant, RoutingTable
from tests.serving.gateways import ONE_ROW, PREDICT, error_of
from tests.serving.predictors import table, target

INFER = {"inputs": [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
REQUESTS = {
    "models": ("GET", "/v2/models", None),
    "model": ("GET", "/v2/models/m", None),
    "model_ready": ("GET", "/v2/models/m/ready", None),
    "predict": ("POST", PREDICT, ONE_ROW),
    "infer": ("POST", "/v2/models/m/infer", INFER),
    "feedback": ("POST", "/v2/models/m/feedback", {"request_id": "r", "success": True}),
    "server": ("GET", "/v2", None),
    "live": ("GET", "/v2/health/live", None),
    "ready": ("GET", "/v2/health/ready", None),
}
SCOPES = {
    **{f"only {one}": {one} for one in Permission},
    **{f"role {role}": set(may) for role, may in ROLES.items()},
    "nothing": set(),
}


def policy(permissions, models=("*",), *, check=True):
    grant = KeyGrant("k1", "ada", frozenset(map(str, permissions)), models)
    return GatewayPolicy(api_key_required=True, keys={sha256_hex(b"key"): grant}, check_permissions=check)


def models_of(names, **fields):
    one = table(target("1.0.0"), target("2.0.0"), aliases={"champion": "1.0.0"})
    return RoutingTable(2, {name: replace(one.models["m"], model_id=name) for name in names}, policy(**fields))


async def ask(client, method, path, body, **headers):
    if method == "GET":
        return await client.get(path, x_api_key="key", **headers)
    return await client.post(path, body, x_api_key="key", **headers)


def test_every_action_is_in_the_table_and_in_these_tests():
    assert set(GATEWAY) == {action.name.lower() for action in Action} == set(REQUESTS)


@pytest.mark.parametrize("scopes", SCOPES.values(), ids=SCOPES)
async def test_each_action_needs_what_the_table_says(make, scopes):
    client = make(table(policy=policy(scopes)))
    for action, needed in GATEWAY.items():
        answer = await ask(client, *REQUESTS[action])
        if needed and scopes.isdisjoint(needed):
            assert error_of(answer, 403, "forbidden")["needed"] == sorted(needed), action
        else:
            assert answer.status in (200, 202), action


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/models/m/versions/1.0.0/predict", {}),
        ("/v2/models/m/versions/champion/predict", {}),
        (PREDICT, {"x_model_version": "1.0.0"}),
        (PREDICT, {"x_model_version": "champion"}),
        ("/v2/models/m/versions/9.9.9/predict", {}),
        (PREDICT, {"x_model_version": "nothing"}),
    ],
)
async def test_who_names_the_version_needs_pin(make, predictor, path, headers):
    known = table(target("1.0.0"), target("2.0.0"), aliases={"champion": "1.0.0"}, policy=policy({"predict"}))
    client = make(known)
    answer = error_of(await ask(client, "POST", path, ONE_ROW, **headers), 403, "forbidden")
    assert answer["needed"] == ["pin"]
    assert "running" not in answer, "which versions run is none of its business either"
    tensors = await ask(client, "POST", path.replace("predict", "infer"), INFER, **headers)
    error_of(tensors, 403, "forbidden")
    assert not predictor.batches
    allowed = make(table(target("1.0.0"), aliases={"champion": "1.0.0"}, policy=policy({"predict", "pin"})))
    assert (await ask(allowed, "POST", path, ONE_ROW, **headers)).status in (200, 404)


async def test_an_empty_version_header_names_none(make):
    client = make(table(policy=policy({"predict"})))
    assert (await ask(client, "POST", PREDICT, ONE_ROW, x_model_version="")).status == 200


@pytest.mark.parametrize("action", ["model", "model_ready", "predict", "infer", "feedback"])
async def test_another_model_is_refused_whether_there_is_one_or_not(make, predictor, action):
    client = make(models_of(["energy-use", "m"], permissions=set(Permission), models=("energy-*",)))
    method, path, body = REQUESTS[action]
    told = [
        error_of(await ask(client, method, path.replace("models/m", f"models/{name}"), body), 403, "forbidden")
        for name in ("m", "x")
    ]
    assert told[0]["error"].replace("'m'", "'x'") == told[1]["error"]
    assert not predictor.batches
    assert (await ask(client, method, path.replace("models/m", "models/energy-use"), body)).status in (200, 202)


@pytest.mark.parametrize(
    "path",
    ["/v2/models/%6d/predict", "/v2/models/M/predict", "/v2/models/energy-/../m/predict", "//v2/models/m/predict"],
)
async def test_no_spelling_of_a_path_reaches_another_model(make, predictor, path):
    client = make(models_of(["m"], permissions={"predict"}, models=("energy-*",)))
    assert (await ask(client, "POST", path, ONE_ROW)).status in (400, 403, 404)
    assert not predictor.batches


async def test_the_list_has_only_the_models_of_the_key_page_by_page(make, monkeypatch):
    monkeypatch.setattr("streamb.serving.metadata.MOST_MODELS", 2)
    names = ["a-1", "b-1", "a-2", "b-2", "a-3", "c-3"]
    client = make(models_of(names, permissions={"read"}, models=("a-*", "c-?")))
    first = (await client.get("/v2/models", x_api_key="key")).json()
    second = (await client.get("/v2/models?after=" + first["next"], x_api_key="key")).json()
    assert [[one["name"] for one in page["models"]] for page in (first, second)] == [["a-1", "a-2"], ["a-3", "c-3"]]
    assert (first["next"], second["next"]) == ("a-2", None)


async def test_without_authorization_a_valid_key_may_do_everything(make):
    client = make(models_of(["m"], permissions=(), models=("x",), check=False))
    for action in GATEWAY:
        assert (await ask(client, *REQUESTS[action])).status in (200, 202)
    assert [one["name"] for one in (await client.get("/v2/models", x_api_key="key")).json()["models"]] == ["m"]
