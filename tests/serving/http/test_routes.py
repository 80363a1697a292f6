import pytest

from streamb.errors import MethodNotAllowed, NotFound
from streamb.serving.http.routes import Action, Route, parse_route


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v2", Route(Action.SERVER)),
        ("GET", "/v2/health/live", Route(Action.LIVE)),
        ("HEAD", "/v2/health/ready", Route(Action.READY)),
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
        *("/", "", "/v1/models/m", "/v2/models", "/v2/models/", "/v2/models//predict", "/v2/models/m/", "/v2/health"),
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
