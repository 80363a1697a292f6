import pytest

from streamb.errors import BadRequest, Unauthorized, UnsupportedMediaType
from streamb.hashing import sha256_hex
from streamb.serving.http.access import RequestIds, content_length, grant_of, json_length, own_id
from streamb.serving.tokens import TokenSigner, new_key
from streamb.traffic import GatewayPolicy, KeyGrant

GRANT = KeyGrant("k1", "ada", frozenset({"predict"}), expires_at=100.0)
POLICY = GatewayPolicy(api_key_required=True, keys={sha256_hex(b"right"): GRANT})


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-api-key": b"right"},
        {b"authorization": b"Bearer right"},
        {b"authorization": b"bearer  right "},
        {b"authorization": b"Bearer right", b"x-api-key": b""},
    ],
)
def test_a_valid_key_passes(headers):
    assert grant_of(headers, POLICY, 99.0) is GRANT


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"x-api-key": b""},
        {b"x-api-key": b"wrong"},
        {b"authorization": b"right"},
        {b"authorization": b"Basic right"},
        {b"x-api-key": b"wrong", b"authorization": b"Bearer right"},
        {b"x-api-key": sha256_hex(b"right").encode()},
    ],
)
def test_anything_else_is_refused(headers):
    with pytest.raises(Unauthorized):
        grant_of(headers, POLICY, 99.0)


def test_no_key_is_needed_where_the_policy_wants_none():
    assert grant_of({}, GatewayPolicy(), 0.0) is None


def test_an_expired_key_is_refused():
    with pytest.raises(Unauthorized, match="expired"):
        grant_of({b"x-api-key": b"right"}, POLICY, 100.0)


def test_a_printable_request_id_is_kept():
    assert own_id({b"x-request-id": b"order-17/a"}) == "order-17/a"
    assert own_id({b"x-request-id": b"sbt1-order"}) == "sbt1-order"


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b"\xc3\xa9", b"a\tb", b"a\nb"])
def test_any_other_request_id_is_none(given):
    assert own_id({b"x-request-id": given}) == ""
    assert own_id({}) == ""


def test_a_token_is_nobodys_own_id():
    token = TokenSigner(new_key()).sign("m", "1.0.0", "other", "", 0.0, b"")
    assert own_id({b"x-request-id": token.encode()}) == ""


def test_new_ids_are_unique_within_and_between_gateways():
    one, other = RequestIds(), RequestIds()
    assert len({ids.new() for ids in (one, other) for _ in range(100)}) == 200


@pytest.mark.parametrize(
    "media", [b"application/json", b"application/json; charset=utf-8", b"Application/JSON;charset=UTF-8"]
)
def test_json_is_read(media):
    assert json_length({b"content-type": media}, tensors=False) is None
    assert json_length({b"content-type": media}, tensors=True) is None


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-type": b"text/plain"},
        {b"content-type": b"application/x-www-form-urlencoded"},
        {b"content-type": b"application/json; charset=latin-1"},
        {b"content-type": b"application/octet-stream"},
    ],
)
def test_other_media_types_are_refused(headers):
    with pytest.raises(UnsupportedMediaType):
        json_length(headers, tensors=False)


def test_binary_tensors_say_where_their_json_ends():
    headers = {b"content-type": b"application/octet-stream", b"inference-header-content-length": b"120"}
    assert json_length(headers, tensors=True) == 120
    assert json_length({b"content-type": b"application/octet-stream"}, tensors=True) is None, "all of it is JSON"
    with pytest.raises(BadRequest, match="whole number"):
        json_length({**headers, b"inference-header-content-length": b"-1"}, tensors=True)


def test_content_length():
    assert content_length({}) is None
    assert content_length({b"content-length": b"12"}) == 12
    with pytest.raises(BadRequest):
        content_length({b"content-length": b"12abc"})
