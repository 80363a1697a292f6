"""The paths of the data plane and their actions. Only parses strings; knows nothing of models or bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final

from streamb.errors import BadRequest, MethodNotAllowed, NotFound


class Action(Enum):
    """The action that a path stands for."""

    __hash__ = object.__hash__  # members are compared by identity; `Enum` hashes their names, for every request anew

    SERVER = auto()
    LIVE = auto()
    READY = auto()
    MODEL = auto()
    MODEL_READY = auto()
    PREDICT = auto()
    INFER = auto()
    FEEDBACK = auto()
    MODELS = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """A parsed path.

    Attributes:
        model_id: the model; "" for paths about the server.
        version: the version; "" if the split chooses it.
    """

    action: Action
    model_id: str = ""
    version: str = ""


_SERVER: Final = {
    "/v2": Route(Action.SERVER),
    "/v2/": Route(Action.SERVER),
    "/v2/models": Route(Action.MODELS),
    "/v2/health/live": Route(Action.LIVE),
    "/v2/health/ready": Route(Action.READY),
}
_VERBS: Final = {"predict": Action.PREDICT, "infer": Action.INFER, "ready": Action.MODEL_READY}
_LONGEST: Final = 512
_NOT_IN_NAMES: Final = re.compile(rb"%(?:2f|5c|25|00)", re.IGNORECASE)
NOT_IN_PATHS: Final = "the path has an encoded slash, backslash, percent sign or NUL, which no name can have"
_POSTED: Final = frozenset({Action.PREDICT, Action.INFER, Action.FEEDBACK})


def path_of(scope: Mapping[str, Any]) -> str:
    """Return the decoded path of a request.

    Raises:
        BadRequest: an encoded slash (or backslash, percent sign, NUL) is part of it. No name has one, and decoded it
            would pass for a separator.
    """
    path: str = scope["path"]
    raw = scope.get("raw_path")
    if raw is not None and len(raw) != len(path) and _NOT_IN_NAMES.search(raw.partition(b"?")[0]):
        raise BadRequest(NOT_IN_PATHS)
    return path


def parse_route(method: str, path: str) -> Route:
    """Return the route for `method` on `path`.

    >>> parse_route("POST", "/v2/models/churn/versions/1.0.0/infer")
    Route(action=<Action.INFER: 7>, model_id='churn', version='1.0.0')

    Raises:
        NotFound: there is no such path.
        MethodNotAllowed: the path requires another method; `details["allowed"]` names it.
    """
    route = _SERVER.get(path) or (_model_route(path) if len(path) <= _LONGEST else None)
    if route is None:
        raise NotFound(f"there is nothing at {path[:200]}; predictions are at POST /v2/models/MODEL/predict")
    if route.action in _POSTED:
        if method != "POST":
            raise MethodNotAllowed(f"{path[:200]} answers POST, not {method}", allowed=["POST"])
    elif method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"{path[:200]} answers GET, not {method}", allowed=["GET", "HEAD"])
    return route


@lru_cache(maxsize=1024)
def _model_route(path: str) -> Route | None:
    parts = path.split("/")
    if len(parts) < 4 or parts[0] or parts[1] != "v2" or parts[2] != "models" or not parts[3]:
        return None
    model_id, rest, version = parts[3], parts[4:], ""
    if len(rest) >= 2 and rest[0] == "versions" and rest[1]:
        version, rest = rest[1], rest[2:]
    if not rest:
        return Route(Action.MODEL, model_id, version)
    if rest == ["feedback"]:  # the request id determines the version
        return None if version else Route(Action.FEEDBACK, model_id)
    action = _VERBS.get(rest[0]) if len(rest) == 1 else None
    return Route(action, model_id, version) if action else None
