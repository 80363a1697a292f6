import pytest

from streamb.hashing import sha256_hex
from streamb.traffic import GatewayPolicy, KeyGrant
from tests.serving.gateways import ONE_ROW, PREDICT, error_of
from tests.serving.predictors import table

KEYS = GatewayPolicy(api_key_required=True, keys={sha256_hex(b"right"): KeyGrant("k1", "ada", frozenset({"predict"}))})


async def test_keys(make):
    client = make(table(policy=KEYS))
    response = await client.post(PREDICT, ONE_ROW)
    error_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="wrong"), 401, "unauthorized")
    assert (await client.post(PREDICT, ONE_ROW, x_api_key="right")).status == 200
    assert (await client.post(PREDICT, ONE_ROW, authorization="Bearer right")).status == 200


async def test_health_needs_no_key_but_metadata_does(make):
    client = make(table(policy=KEYS))
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        assert (await client.get(path)).status == 200
    for path in ("/v2/models/m", "/v2/models/m/ready"):
        error_of(await client.get(path), 401, "unauthorized")


async def test_a_revoked_key_is_refused_with_the_next_table(make):
    client = make(table(policy=KEYS))
    client.app.apply(table(epoch=2, policy=GatewayPolicy(api_key_required=True)))
    error_of(await client.post(PREDICT, ONE_ROW, x_api_key="right"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        (PREDICT, b"{", {}, 400, "bad_request"),
        (PREDICT, b"{}", {}, 400, "bad_request"),
        (PREDICT, b'{"instances": [[1, "a"]]}', {}, 422, "invalid_features"),
        (PREDICT, b'{"instances": [[1]]}', {}, 422, "invalid_features"),
        (PREDICT, b'{"instances": [[1, 2]]}', {"content_type": "text/csv"}, 415, "unsupported_media_type"),
        (PREDICT, b"x" * 2000, {}, 413, "body_too_large"),
        (PREDICT, b"{}", {"content_length": "5000"}, 413, "body_too_large"),
        (PREDICT, b'{"instances": [[1, 2],[1, 2],[1, 2],[1, 2]]}', {}, 422, "invalid_input"),
        ("/v2/models/other/predict", b'{"instances": [[1, 2]]}', {}, 404, "not_found"),
        ("/v2/models/m/feedback", b"{}", {}, 422, "invalid_input"),
        ("/v2/models/m/nothing", b"{}", {}, 404, "not_found"),
        ("/v2/models/m", b"{}", {}, 405, "method_not_allowed"),
        ("/v2/models/m/infer", b'{"inputs": 1}', {}, 400, "bad_request"),
    ],
)
async def test_what_is_refused(make, predictor, path, body, headers, status, code):
    client = make(max_body_bytes=1000, max_request_rows=3)
    error_of(await client.post(path, body, **headers), status, code)
    assert not predictor.batches
    assert all(one.blamed == 0 for one in client.app.snapshot())


async def test_wrong_features_are_each_named(make):
    document = error_of(await make().post(PREDICT, {"instances": [["a", 1], [1, "b"]]}), 422, "invalid_features")
    assert len(document["problems"]) == 2


async def test_a_wrong_method_names_the_right_one(make):
    assert (await make().get(PREDICT)).headers["allow"] == "POST"


async def test_a_request_id_that_cannot_be_echoed_is_replaced(make):
    response = await make().post(PREDICT, ONE_ROW, x_request_id="a\tb")
    assert response.headers["x-request-id"] == response.json()["request_id"] != "a\tb"
