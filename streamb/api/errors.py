"""Turns errors into HTTP answers, all of the form `{"error", "code", "request_id", …}`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from streamb.errors import (
    BadRequest,
    BodyTooLarge,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    StreambError,
    UnsupportedMediaType,
)
from streamb.options import problem_of

B = TypeVar("B", bound=BaseModel)

_log = logging.getLogger(__name__)

_MOST_PROBLEMS: Final = 20
_OF_FRAMEWORK: Final[Mapping[int, type[StreambError]]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
}

_RETRIED_LATER: Final = frozenset({429, 503})
_BODY_LEFT_UNREAD: Final = frozenset({408, 413})


class ErrorAnswer(BaseModel):
    """The body of every error answer; it may have more fields with details of the error."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(description="What is wrong and what to do about it.")
    code: str = Field(description="A stable name for programs.", examples=["not_found"])
    request_id: str = Field(description="The X-Request-Id of this request.")


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 504)
}
"""The `responses` of every documented route: any request may be answered with any of them."""


def error_response(error: StreambError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP answer for `error`; `details["retry_after_s"]` is also sent as a Retry-After header."""
    named = {"error": error.message, "code": error.code, "request_id": request_id}
    # No detail replaces one of the three; values that JSON cannot hold are sent as text (infinities as null).
    body = orjson.dumps({**named, **error.details, **named}, default=str, option=orjson.OPT_NON_STR_KEYS)
    sent = dict(headers or {})
    if error.status in _RETRIED_LATER:
        sent["Retry-After"] = str(max(1, math.ceil(error.details.get("retry_after_s", 1))))
    if error.status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    if error.status in _BODY_LEFT_UNREAD:
        sent["Connection"] = "close"
    return Response(body, status_code=error.status, headers=sent, media_type="application/json")


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` answer our errors, the framework's own errors and invalid input in the same form."""

    @app.exception_handler(StreambError)
    async def _ours(request: Request, error: StreambError) -> Response:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.warning("%s %s: %s [%s]", request.method, request.url.path, error.message, error.code)
        return error_response(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def _wrong_input(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if any(problem["loc"] == ("body",) and isinstance(problem["input"], bytes) for problem in found):
            # The framework parses a body as JSON only if its Content-Type says so, and passes on bytes otherwise.
            refusal: StreambError = UnsupportedMediaType("send the body as JSON, with Content-Type: application/json")
        else:
            refusal = as_streamb_error(found)
        return error_response(refusal, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> Response:  # the gate refuses unknown addresses
        cls = _OF_FRAMEWORK.get(error.status_code, BadRequest)
        unread = "the body cannot be read: send JSON that is nested less deeply, without numbers of 1,000s of digits"
        message = unread if error.status_code == HTTPStatus.BAD_REQUEST else error.detail
        return error_response(cls(message), request.state.request_id, error.headers)


def as_streamb_error(found: Sequence[Mapping[str, Any]]) -> StreambError:
    """Return 400 for a body that is not JSON, and 422 with every problem for missing or invalid values."""
    if any(problem["type"] == "json_invalid" for problem in found):
        reason = found[0].get("ctx", {}).get("error", "not JSON")
        return BadRequest(f"the body is not JSON ({reason})")
    problems = [
        {"where": ".".join(str(part) for part in problem["loc"]), "problem": problem_of(problem)}
        for problem in found[:_MOST_PROBLEMS]
    ]
    more = f" (and {len(found) - _MOST_PROBLEMS} more)" if len(found) > _MOST_PROBLEMS else ""
    listed = "; ".join(f"{problem['where']}: {problem['problem']}" for problem in problems)
    return InvalidInput(f"{listed}{more}", problems=problems)


def checked(kind: type[B], value: Any, place: str) -> B:
    """Validate a document that the framework does not read itself. Blocks for a while if it is long.

    Args:
        kind: the model to validate it with.
        value: the parsed document, or its JSON as bytes.
        place: where the document was sent, for messages: "body", "metadata".

    Raises:
        BadRequest: the document is not JSON.
        InvalidInput: values are missing or not allowed; the message names each of them.
    """
    try:
        return kind.model_validate_json(value) if isinstance(value, bytes) else kind.model_validate(value)
    except ValidationError as error:
        raise as_streamb_error([{**one, "loc": (place, *one["loc"])} for one in error.errors()]) from None


async def _check_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not declare: a misspelt filter must not select everything."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    allowed = list(_declared(route.dependant))
    message = f"there is no such parameter; this address takes {', '.join(allowed) or 'none'}"
    unknown = [
        {"type": "extra_forbidden", "loc": ("query", name), "msg": message}
        for name in request.query_params
        if name not in allowed
    ]
    if unknown:
        raise as_streamb_error(unknown)


def _declared(dependant: Dependant) -> Iterator[str]:
    """Yield the query parameters of a route and of its dependencies."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _declared(inner)


known_parameters: Final = Depends(_check_parameters)
"""A dependency for a whole router: refuses unknown query parameters."""
