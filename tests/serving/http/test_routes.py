from urllib.parse import unquote

import pytest

from streamb.errors import BadRequest, MethodNotAllowed, NotFound
from streamb.serving.http.routes import Action, Route, parse_route, path_of


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v2", Route(Action.SERVER)),
        ("GET", "/v2/health/live", Route(Action.LIVE)),
        ("HEAD", "/v2/health/ready", Route(Action.READY)),
        ("GET", "/v2/models", Route(Action.MODELS)),
        ("GET", "/v2/models/m", Route(Action.MODEL, "m")),
        ("GET", "/v2/models/m/ready", Route(Action.MODEL_READY, "m")),
        ("GET", "/v2/models/m/versions/1.0.0", Route(Action.MODEL, "m", "1.0.0")),
        ("GET", "/v2/models/m/versions/1.0.0-rc.1+b/ready", Route(Action.MODEL_READY, "m", "1.0.0-rc.1+b")),
        ("POST", "/v2/models/m/predict", Route(Action.PREDICT, "m")),
        ("POST", "/v2/models/m/infer", Route(Action.INFER, "m")),
        ("POST", "/v2/models/m/feedback", Route(Action.FEEDBACK, "m")),
        ("POST", "/v2/models/m/versions/1.0.0/infer", Route(Action.INFER, "m", "1.0.0")),
        ("POST", "/v2/models/m/versions/1.0.0/predict", Route(Action.PREDICT, "m", "1.0.0")),
    ],
)
def test_paths_of_the_data_plane(method, path, route):
    assert parse_route(method, path) == route


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/v1/models/m", "/v2/models/", "/v2/models//predict", "/v2/models/m/", "/v2/health"),
        *(
            "/v2/models/m/versions/1.0.0/feedback",
            "/v2/models/m/feedback/x",
            "/v2/models/m/versions",
            "/v2/models/m/versions//infer",
            "v2/models/m",
        ),
        *("/v2/models/m/predict/more", "/v2/models/m/versions/1/infer/x", "/v2/models/" + "m" * 5000),
    ],
)
def test_other_paths_are_not_found(path):
    with pytest.raises(NotFound):
        parse_route("POST", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/models/m/predict", ["POST"]),
        ("PUT", "/v2/models/m/infer", ["POST"]),
        ("GET", "/v2/models/m/feedback", ["POST"]),
        ("POST", "/v2/models/m", ["GET", "HEAD"]),
        ("DELETE", "/v2/health/live", ["GET", "HEAD"]),
    ],
)
def test_a_wrong_method_says_which_is_right(method, path, allowed):
    with pytest.raises(MethodNotAllowed) as refused:
        parse_route(method, path)
    assert refused.value.details["allowed"] == allowed


def scope_of(raw: str) -> dict:
    return {"path": unquote(raw), "raw_path": raw.encode()}


@pytest.mark.parametrize(
    "raw",
    [
        *("/v2%2Fmodels/m/predict", "/v2/models/a%2fb/predict", "/v2/models/m%2Fversions%2f1.0.0/predict", "%2F"),
        *("/v2/models/a%5Cb/predict", "/v2/models/a%5cb", "/v2/models/m%00/predict", "/v2/models/a%252Fb/predict"),
        *("/v2/models/a%25b", "/v2/models/ü%2F".replace("ü", "%C3%BC")),
    ],
)
def test_an_encoded_separator_is_refused_never_decoded(raw):
    with pytest.raises(BadRequest, match="no name can have"):
        path_of(scope_of(raw))


@pytest.mark.parametrize(
    "raw", ["/v2/models/m/predict", "/v2/models/%6D/predict", "/v2/models/%C3%BC", "/v2/models/a%20b", "/v2/%zz", "/"]
)
def test_other_paths_are_decoded(raw):
    assert path_of(scope_of(raw)) == unquote(raw)


def test_a_server_without_raw_paths_or_with_the_query_in_them():
    assert path_of({"path": "/v2"}) == "/v2"
    assert path_of({"path": "/v2", "raw_path": b"/v2?a=%2F"}) == "/v2"
