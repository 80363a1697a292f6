"""The data plane (`/v2`) as an OpenAPI document, which the Console serves beside its own."""

from __future__ import annotations

from typing import Any, Final

from streamb.api.auth import NEEDS_KEY, SECURITY_SCHEMES
from streamb.errors import StreambError, error_classes
from streamb.serving.http.tensors import DTYPES
from streamb.version import installed_version

Schema = dict[str, Any]

_MODEL: Final = "/v2/models/{model_id}"
_VERSION: Final = "/v2/models/{model_id}/versions/{version}"
_ABOUT: Final = (
    "Predictions, feedback and metadata: the Open Inference Protocol V2, and a simple format of rows. The interface of "
    "the Console is described at /api/openapi.json. docs/api.md explains both."
)
_STATUSES: Final = (400, 401, 404, 405, 408, 413, 415, 422, 500, 502, 503, 504)
"""The statuses of errors that any request may get, from a gateway or from the edge."""


def data_plane_document(*, api_key_required: bool) -> Schema:
    """Return the OpenAPI document of `/v2`.

    Args:
        api_key_required: whether this platform requires an API key.
    """
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "streamb: predictions", "version": installed_version(), "description": _ABOUT},
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "parameters": _parameters(),
            "headers": _headers(),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }
    return document | ({"security": NEEDS_KEY} if api_key_required else {})


# --- paths --------------------------------------------------------------------------------------------------------


def _paths() -> Schema:
    found: Schema = {
        "/v2": {"get": _get("Name, version and extensions of the server.", "Server", is_open=True)},
        "/v2/health/live": {"get": _get("Whether the process answers.", "Live", is_open=True)},
        "/v2/health/ready": {"get": _ready("Whether requests can be sent to this gateway.", is_open=True)},
        "/v2/models": {"get": _get("The models that are deployed, by name.", "ModelList", "After")},
        f"{_MODEL}/feedback": {"post": _feedback()},
    }
    for path, whose in ((_MODEL, "a model"), (_VERSION, "one version of a model")):
        named = ("ModelId",) if path is _MODEL else ("ModelId", "Version")
        found[path] = {"get": _get(f"Inputs, outputs and versions of {whose}.", "Model", *named, "WantedVersion")}
        found[f"{path}/ready"] = {"get": _ready(f"Whether {whose} can answer.", *named, "WantedVersion")}
        found[f"{path}/predict"] = {"post": _predict(f"Rows in, predictions out, by {whose}.", *named)}
        found[f"{path}/infer"] = {"post": _infer(f"Tensors in, tensors out, by {whose}.", *named)}
    return found


def _operation(summary: str, answers: Schema, *parameters: str, is_open: bool = False) -> Schema:
    errors = {str(status): _answer("An error.", "Error") for status in _STATUSES}
    return {
        "summary": summary,
        "description": summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in (*parameters, "RequestId")],
        "responses": {**errors, **answers},
        **({"security": []} if is_open else {}),
    }


def _get(summary: str, schema: str, *parameters: str, is_open: bool = False) -> Schema:
    return _operation(summary, {"200": _answer("The answer.", schema)}, *parameters, is_open=is_open)


def _ready(summary: str, *parameters: str, is_open: bool = False) -> Schema:
    not_ready = _answer("It is not; or nobody knows.", "Ready", "Error")
    answers = {"200": _answer("It is.", "Ready"), "503": not_ready}
    return _operation(summary, answers, *parameters, is_open=is_open)


def _predict(summary: str, *parameters: str) -> Schema:
    answers = {"200": _answer("The predictions.", "RowsAnswer", predicted=True)}
    found = _operation(summary, answers, *parameters, *_WISHES, "Probabilities")
    return found | {"requestBody": _body({"application/json": "RowsRequest"})}


def _infer(summary: str, *parameters: str) -> Schema:
    answer = _answer("The outputs.", "InferAnswer", predicted=True)
    answer["content"]["application/octet-stream"] = {"schema": _BINARY}
    found = _operation(summary, {"200": answer}, *parameters, *_WISHES, "JsonLength")
    body = _body({"application/json": "InferRequest"})
    body["content"]["application/octet-stream"] = {"schema": _BINARY}
    return found | {"requestBody": body}


def _feedback() -> Schema:
    answers = {"202": _answer("What was counted.", "FeedbackAnswer")}
    found = _operation("Report the true outcome of an earlier prediction.", answers, "ModelId")
    return found | {"requestBody": _body({"application/json": "FeedbackRequest"})}


def _answer(description: str, *schemas: str, predicted: bool = False) -> Schema:
    refs = [_ref(name) for name in schemas]
    headers = ("X-Request-Id", "X-Model-Version") if predicted else ("X-Request-Id",)
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}},
    }


def _body(schemas: dict[str, str]) -> Schema:
    return {"required": True, "content": {media: {"schema": _ref(name)} for media, name in schemas.items()}}


# --- parameters and headers ---------------------------------------------------------------------------------------

_WISHES: Final = ("WantedVersion", "UserId", "Timeout")


def _parameters() -> Schema:
    return {
        "ModelId": _in("path", "model_id", {"type": "string"}, "The id of the model."),
        "Version": _in("path", "version", {"type": "string"}, "A version number, or an alias such as `champion`."),
        "After": _in("query", "after", {"type": "string"}, "The `next` of the page before."),
        "Probabilities": _in(
            "query", "probabilities", {"enum": ["true", "1", "false", "0"]}, "Ask for class probabilities."
        ),
        "WantedVersion": _in(
            "header", "X-Model-Version", {"type": "string"}, "Ask for this version, by number or alias; 404 if not run."
        ),
        "UserId": _in("header", "X-User-Id", {"type": "string"}, "The same user gets the same version."),
        "RequestId": _in(
            "header", "X-Request-Id", {"type": "string"}, "An id of your own: 1 to 128 printable ASCII characters."
        ),
        "Timeout": _in(
            "header",
            "X-Request-Timeout-Ms",
            {"type": "integer", "minimum": 1},
            "Longest time to the answer, in milliseconds; at most that of the version.",
        ),
        "JsonLength": _in(
            "header",
            "Inference-Header-Content-Length",
            {"type": "integer", "minimum": 1},
            "Length of the JSON part of a body in bytes, where binary tensors follow it.",
        ),
    }


def _in(where: str, name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": where, "required": where == "path", "description": description, "schema": schema}


def _headers() -> Schema:
    return {
        "X-Request-Id": {"description": "The id of this answer.", "schema": {"type": "string"}},
        "X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
    }


# --- schemas ------------------------------------------------------------------------------------------------------

_TEXT: Final[Schema] = {"type": "string"}
_TRUTH: Final[Schema] = {"type": "boolean"}
_ANY: Final[Schema] = {}
_BINARY: Final[Schema] = {
    "type": "string",
    "format": "binary",
    "description": "JSON as in the other form, and then the bytes of the tensors that have `binary_data_size`.",
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(needed: dict[str, Schema], optional: dict[str, Schema] | None = None, *, more: bool = False) -> Schema:
    """Return the schema of an object; `more` allows other fields."""
    properties = {**needed, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": more}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> Schema:
    # Only those that clients meet: modules declare more for themselves, and which of them are imported is chance.
    codes = sorted(code for code, cls in error_classes().items() if cls.__module__ == StreambError.__module__)
    return {
        "Error": _object({"error": _TEXT, "code": {"enum": codes}}, {"request_id": _TEXT}, more=True),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
        "Live": _object({"live": _TRUTH}),
        "Ready": _object({"ready": _TRUTH}, {"name": _TEXT}),
        "ModelList": _object({"models": _list(_ref("ListedModel")), "next": _or_null(_TEXT)}),
        "ListedModel": _object({"name": _TEXT, "versions": _list(_TEXT), "ready": _TRUTH}),
        **_tensors(),
        **_rows(),
        **_told(),
    }


def _tensors() -> Schema:
    datatype: Schema = {"enum": list(DTYPES)}
    shape = _list({"type": "integer", "minimum": 0}, 1)
    named: dict[str, Schema] = {"name": {"type": "string", "minLength": 1}, "datatype": datatype}
    free = _or_null({"type": "object"})
    data: Schema = {"description": "The values in row-major order, flat or nested; null is a missing value."} | _list(
        _ANY
    )
    tensors = {
        "TensorMetadata": _object(
            {**named, "shape": _list({"type": "integer", "minimum": -1})}, {"parameters": {"type": "object"}}
        ),
        "InputTensor": _object({**named, "shape": shape}, {"data": _or_null(data), "parameters": free}, more=True),
        "OutputTensor": _object(
            {**named, "shape": _list({"type": "integer", "minimum": 0})},
            {"data": data, "parameters": {"type": "object"}},
        ),
        "RequestedOutput": _object({"name": _TEXT}, {"parameters": free}, more=True),
    }
    metadata = _list(_ref("TensorMetadata"))
    return {
        **tensors,
        "Model": _object(
            {
                "name": _TEXT,
                "versions": _list(_TEXT),
                "platform": _TEXT,
                "inputs": metadata,
                "outputs": metadata,
            }
        ),
        "InferRequest": _object(
            {"inputs": _list(_ref("InputTensor"), 1)},
            {"id": _or_null(_TEXT), "parameters": free, "outputs": _or_null(_list(_ref("RequestedOutput")))},
            more=True,
        ),
        "InferAnswer": _object(
            {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list(_ref("OutputTensor"))},
            {"parameters": _object({}, {"errors": {"type": "string", "description": "`RowError`s, as JSON text."}})},
        ),
    }


def _rows() -> Schema:
    row = {"description": "The values in the order of the features, or by name.", "type": ["array", "object"]}
    user = {"anyOf": [_TEXT, {"type": "integer"}, {"type": "null"}]}
    each = _list({"description": "One for each row."})
    return {
        "RowsRequest": _object({"instances": _list(row, 1)}, {"user_id": user, "probabilities": _or_null(_TRUTH)}),
        "RowsAnswer": _object(
            {"predictions": each, "model": _TEXT, "version": _TEXT, "request_id": _TEXT},
            {"probabilities": each, "classes": _list(_ANY), "errors": _list(_ref("RowError"))},
        ),
        "RowError": _object({"row": {"type": "integer", "minimum": 0}, "error": _TEXT, "code": _TEXT}),
    }


def _told() -> Schema:
    label = {"type": ["string", "boolean", "number"]}
    labels = {"anyOf": [label, _list({"type": ["string", "boolean", "number", "null"]}, 1), {"type": "null"}]}
    value = {"anyOf": [{"type": "number", "minimum": -1e12, "maximum": 1e12}, {"type": "null"}]}
    return {
        "FeedbackRequest": _object(
            {"request_id": {"type": "string", "minLength": 1, "maxLength": 2048}},
            {"label": labels, "success": _or_null(_TRUTH), "value": value},
        ),
        "FeedbackAnswer": _object(
            {
                "model": _TEXT,
                "version": _or_null(_TEXT),
                "joined": _list({"enum": ["label", "success", "value"]}),
                "not_joined": {
                    "type": "object",
                    "additionalProperties": {"enum": ["duplicate", "late", "orphan", "unjoinable"]},
                },
            }
        ),
    }
