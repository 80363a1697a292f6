"""The simple JSON format: rows in, predictions out."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import orjson
from numpy.typing import NDArray

from streamb.errors import BadRequest, InvalidInput
from streamb.models.named_outputs import row_values
from streamb.models.outputs import Answer, not_finite
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import JSON_HEADERS, Encoded, Origin, Rows, jsonable, untyped_rows
from streamb.serving.http.receive import SMALL_BODY
from streamb.serving.outputs import VersionOutputs

_FIELDS: Final = {"instances", "user_id", "probabilities"}


class RowsRequest:
    """`{"instances": [[…]] | [{"column": value}], "user_id"?: str, "probabilities"?: bool}`."""

    __slots__ = ("_instances", "probabilities", "row_count", "user_id")
    client_id = ""
    """Bodies of this form have no id of their own."""

    takes_not_finite: ClassVar[bool] = False

    def __init__(self, instances: list[Any], *, user_id: str = "", probabilities: bool = False) -> None:
        self._instances = instances
        self.user_id = user_id
        self.probabilities = probabilities
        self.row_count = len(instances)

    @classmethod
    def decode(cls, body: bytes) -> RowsRequest:
        """Read a body.

        Raises:
            BadRequest: it is not JSON, or does not have this form; the message says what is missing.
            InvalidInput: a field is unknown.
        """
        document = parse_object(body)
        instances = document.get("instances")
        if type(instances) is not list or not instances:
            raise BadRequest(f'"instances" must be a non-empty list of rows; {_found(document, "instances")}')
        probabilities = document.get("probabilities")
        if probabilities is None:
            probabilities = False
        if type(probabilities) is not bool:
            raise BadRequest(f'"probabilities" must be true or false; {_found(document, "probabilities")}')
        if not document.keys() <= _FIELDS:
            unknown = min(document.keys() - _FIELDS)
            raise InvalidInput(f"a prediction has no field {unknown[:50]!r}; it takes {', '.join(sorted(_FIELDS))}")
        return cls(instances, user_id=read_user_id(document), probabilities=probabilities)

    def rows(self, schema: FeatureSchema | None) -> Rows:
        """The rows, checked against the schema."""
        return untyped_rows(self._instances) if schema is None else schema.check_rows(self._instances)

    def asks_probabilities(self, outputs: VersionOutputs) -> bool:  # noqa: ARG002 - of this format's one name
        """See `InferenceRequest.asks_probabilities`."""
        return self.probabilities

    def encode(self, answer: Answer, origin: Origin) -> Encoded:
        """`{"predictions", "probabilities"?, "classes"?, "errors"?, "model", "version", "request_id"}`."""
        document: dict[str, Any] = {"predictions": _listed(origin.outputs.settled(answer.predictions), answer.failed)}
        if answer.probabilities is not None:
            document["probabilities"] = _listed(answer.probabilities, answer.failed)
            if origin.outputs.classes is not None:
                document["classes"] = origin.outputs.classes
        if answer.failed:
            document["errors"] = row_errors(answer)
        document["model"] = origin.model_id
        document["version"] = origin.version
        document["request_id"] = origin.request_id
        return Encoded(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), JSON_HEADERS)


def row_errors(answer: Answer) -> list[dict[str, Any]]:
    """Return for each failed row of an answer its index, the error and its code."""
    errors = [(row, not_finite(row)) for row in answer.failed]
    return [{"row": row, "error": error.message, "code": error.code} for row, error in errors]


def _listed(values: NDArray[Any], failed: Sequence[int]) -> Any:
    """One value of JSON per row, which is null for a failed one."""
    if not failed and values.dtype.names is None:
        return jsonable(values)
    rows = row_values(values)
    for row in failed:
        rows[row] = None
    return rows


def parse_object(body: bytes | memoryview) -> dict[str, Any]:
    """Return the JSON object in a body; raises `BadRequest` if it is not one."""
    try:
        document = orjson.loads(body) if len(body) <= SMALL_BODY else _large_document(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {_kind(document)}")
    return document


def _large_document(body: bytes | memoryview) -> Any:
    """Parse a large body without the garbage collector: it would look at millions of new lists again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if was_on:
            gc.enable()


def too_many_rows(count: int, limit: int) -> InvalidInput:
    """Return the error for a request of `count` rows where `limit` are allowed."""
    return InvalidInput(f"{count} rows in one request; send at most {limit}", limit_rows=limit)


def read_user_id(document: dict[str, Any]) -> str:
    """Return the user id in a body or in its parameters, a string or a whole number, as text; "" if there is none."""
    user_id = document.get("user_id")
    if user_id is None:
        return ""
    if type(user_id) is str:
        return user_id
    if type(user_id) is int:
        return str(user_id)
    raise BadRequest(f'"user_id" must be a string; {_found(document, "user_id")}')


def _found(document: dict[str, Any], name: str) -> str:
    if name not in document:
        return f"the body has {', '.join(sorted(document)[:10]) or 'no fields'}"
    value = document[name]
    return "it is empty" if value in ([], "") else f"it is {_kind(value)}"


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
