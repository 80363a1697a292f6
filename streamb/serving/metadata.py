"""Answers health and metadata requests about the server and its models (Open Inference Protocol V2)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from streamb.serving.http.inputs import describe_inputs
from streamb.serving.http.replies import Reply, json_reply
from streamb.serving.http.routes import Action, Route
from streamb.serving.http.tensors import ROWS_AS_TEXTS, output_datatype
from streamb.serving.outputs import PREDICTIONS, PROBABILITIES
from streamb.serving.targets import ServedModel, ServedTable, ServedVersion
from streamb.traffic import VersionTarget

MOST_MODELS: Final = 1_000
"""The most models in one page of the list."""

_FIRST_OUTPUT: Final = {"name": PREDICTIONS, "datatype": "FP64", "shape": [-1]}


def is_open(action: Action) -> bool:
    """Return whether the action needs no API key: health and metadata for load balancers and people."""
    return action in (Action.SERVER, Action.LIVE, Action.READY)


def describe(
    route: Route,
    headers: Mapping[bytes, bytes],
    served: ServedTable,
    streamb_version: str,
    replicas: Callable[[VersionTarget], int],
) -> Reply:
    """Return the reply to a GET request for health or metadata.

    Args:
        route, headers: the request; path and header may name a version.
        served: the versions that run.
        streamb_version: the version of this program.
        replicas: returns how many replicas of a version answer at present.
    """
    if route.action is Action.SERVER:
        return json_reply({"name": "streamb", "version": streamb_version, "extensions": ["binary_tensor_data"]})
    if route.action is Action.LIVE:
        return json_reply({"live": True})
    if route.action is Action.READY:
        return _ready({}, ready=served.table.epoch > 0)
    versions = _versions(route, headers, served)
    if route.action is Action.MODEL_READY:
        ready = _answers(served.model(route.model_id), versions, replicas)
        return _ready({"name": route.model_id}, ready=ready)
    return json_reply(_model(route, versions))


def list_models(
    served: ServedTable,
    query: bytes,
    replicas: Callable[[VersionTarget], int],
    covered: Callable[[str], bool] = lambda _: True,
) -> Reply:
    """Return the reply with the models that are deployed, by name: at most `MOST_MODELS`, after the one in the query.

    Args:
        served: the versions that run.
        query: the query of the address; `after` is the `next` of the page before.
        replicas: returns how many replicas of a version answer at present.
        covered: returns whether a model may be in the list.

    Raises:
        Unavailable: this gateway has no routing table yet.
    """
    served.check_known()
    names = sorted(filter(covered, served.models))
    start = bisect_right(names, dict(parse_qsl(query.decode("latin-1"))).get("after", ""))
    page, rest = names[start : start + MOST_MODELS], names[start + MOST_MODELS :]
    models = [_listed(served.models[name], replicas) for name in page]
    return json_reply({"models": models, "next": page[-1] if rest else None})


def _listed(model: ServedModel, replicas: Callable[[VersionTarget], int]) -> dict[str, Any]:
    versions = list(model.versions.values())
    return {
        "name": model.route.model_id,
        "versions": [version.target.version for version in versions],
        "ready": _answers(model, versions, replicas),
    }


def _answers(model: ServedModel, versions: list[ServedVersion], replicas: Callable[[VersionTarget], int]) -> bool:
    """Return whether one of these versions can answer a request; of several, only those with traffic count."""
    asked = versions if len(versions) == 1 else [version for version in versions if model.takes_requests(version)]
    return any(model.is_callable(version) and replicas(version.target) for version in asked)


def _ready(document: dict[str, Any], *, ready: bool) -> Reply:
    return json_reply({**document, "ready": ready}, 200 if ready else 503)


def _versions(route: Route, headers: Mapping[bytes, bytes], served: ServedTable) -> list[ServedVersion]:
    model = served.model(route.model_id)
    asked = model.asked_for(route.version, headers)
    return [asked] if asked is not None else list(model.versions.values())


def _model(route: Route, versions: list[ServedVersion]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": route.model_id,
        "versions": [version.target.version for version in versions],
        "platform": "streamb",
        "inputs": [],
        "outputs": [_FIRST_OUTPUT],
    }
    if not versions:
        return document
    newest = versions[-1]
    document["inputs"], document["outputs"] = describe_inputs(newest.schema), _outputs(newest)
    return document


def _outputs(version: ServedVersion) -> list[dict[str, Any]]:
    """The outputs of a version; if they are unknown, those that its task suggests."""
    outputs, target = version.outputs, version.target
    found = [_described(output) for output in outputs.by_name.values()]
    if not found and target.task == "classification":
        probabilities = {"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, -1]}
        found = [{**_FIRST_OUTPUT, "datatype": "BYTES"}, probabilities]
    elif not found:
        found = [_FIRST_OUTPUT]
    if target.classes is not None and found[-1]["name"] == PROBABILITIES and not outputs.owns_probabilities:
        found[-1]["parameters"] = {"classes": target.classes}
    return found


def _described(output: Mapping[str, Any]) -> dict[str, Any]:
    per_row = [-1 if length is None else length for length in output.get("shape", ())]
    rows_alone = output["kind"] in ROWS_AS_TEXTS
    return {
        "name": output["name"],
        "datatype": output_datatype(output),
        "shape": [-1] if rows_alone else [-1, *per_row],
    }
