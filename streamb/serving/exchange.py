"""One request from its arrival to its reply: its state on the way, and how its body is read."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from streamb.errors import BadRequest, InvalidInput, ModelFailed
from streamb.metrics import Outcome, VersionRecorder
from streamb.models.outputs import Answer, not_finite
from streamb.serving.answer import InferenceRequest
from streamb.serving.callers import Bucket
from streamb.serving.http import access
from streamb.serving.http.compressed import coding_of, unpack
from streamb.serving.http.oip import TensorRequest
from streamb.serving.http.receive import BodyRoom, Message, Receive, read_body
from streamb.serving.http.replies import Reply
from streamb.serving.http.routes import Action, Route
from streamb.serving.http.rows import RowsRequest, too_many_rows
from streamb.serving.lane import ClientGone
from streamb.serving.limits import GatewayLimits
from streamb.serving.targets import ServedModel, ServedVersion
from streamb.traffic import KeyGrant

_PARAMETERS: Final = {Action.PREDICT: "probabilities", Action.MODELS: "after"}
"""The query parameter of each path that has one."""

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
"""The header by which a request bounds the time from the end of its body to its answer, in whole milliseconds."""


_MOST_DIGITS: Final = 18


class Exchange:
    """One request from its arrival to its reply.

    Attributes:
        own_id: the id that the client sent; "" if it sent none.
        body_id: the id that the body has, once it is read; "" if it has none.
        grant: what its API key allows; None if it brought none.
        quota: the bucket of the limit on whoever sent it, once it has passed; None where there are no limits.
        unit: the user or other sticky unit, once it is read; "" if none is named.
        aside: whether the request names its version, or an override names it: then it is no evidence.
        served: the version that answers, once it is chosen; another one after a fallback.
        started: when the request arrived; after a fallback, when the version that answers took over.
        called: whether a version was called for it.
        again: whether a second version was asked, because the first one failed.
        held: how many bytes of its body count against the gateway's memory limit.
        timeout_s: the time limit that the request sets for its answer, in seconds; None if it sets none.
    """

    __slots__ = (
        *("again", "aside", "body_id", "called", "grant", "headers", "held", "own_id", "quota", "receive"),
        *("request_id", "room", "scope", "served", "started", "timeout_s", "unit"),
    )

    def __init__(
        self, scope: Message, receive: Receive, request_ids: access.RequestIds, started: float, room: BodyRoom
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.own_id = access.own_id(self.headers)
        self.request_id = self.own_id or request_ids.new()
        self.body_id = ""
        self.grant: KeyGrant | None = None
        self.quota: Bucket | None = None
        self.unit = ""
        self.started = started
        self.served: ServedVersion | None = None
        self.called = False
        self.again = False
        self.aside = False
        self.room = room
        self.held = 0
        self.timeout_s: float | None = None

    @property
    def caller(self) -> str:
        """The principal that sent it; "" for all who bring no key."""
        return "" if self.grant is None else self.grant.principal

    def count_failed(self, recorder: VersionRecorder, outcome: Outcome, status: int, seconds: float) -> None:
        """Count an answer with an error for a version, or aside.

        Args:
            recorder: the counts of the version.
            outcome: how it ended.
            status: the HTTP status.
            seconds: the time since its arrival, or since this version took over.
        """
        if self.aside:
            recorder.set_aside(outcome, status)
        else:
            recorder.failed(outcome, status, seconds, self.caller)

    def hold(self, size: int) -> None:
        """Count `size` bytes of the body against the memory limit; raises `Overloaded` if there is not enough left."""
        self.room.take(size - self.held)
        self.held = size


class Inquiry(NamedTuple):
    """The rows a request sends and the outputs it asks for, whichever version answers.

    Attributes:
        probabilities: whether the address asks for class probabilities; the body may do so as well.
    """

    model: ServedModel
    request: InferenceRequest
    probabilities: bool


class RowsFailed(ModelFailed):
    """Some rows of a request failed. It counts as a failure of the version, although the other rows have an answer.

    Attributes:
        answer: the answer.
        reply: the reply that says which rows failed.
        request_id: the id of the answer.
    """

    def __init__(self, answer: Answer, reply: Reply, request_id: str) -> None:
        super().__init__(not_finite(answer.failed[0]).message)
        self.answer = answer
        self.reply = reply
        self.request_id = request_id


def read_timeout_s(value: bytes) -> float:
    """Return the time limit that a request sets, in seconds; raises `BadRequest` if it is no whole number above 0."""
    if not value.isdigit() or not 0 < len(value) <= _MOST_DIGITS or not int(value):
        said = value[:50].decode("latin-1")
        raise BadRequest(f"X-Request-Timeout-Ms must be a whole number of milliseconds, at least 1, not {said!r}")
    return int(value) / 1000


async def body_of(exchange: Exchange, limits: GatewayLimits, limit: int) -> bytes:
    """Read the body of a request, at most `limit` bytes, and unpack it if it is compressed.

    Raises `ClientGone` if the client leaves before its end.
    """
    coding = exchange.headers.get(b"content-encoding")
    packed = None if coding is None else coding_of(coding)
    declared = access.content_length(exchange.headers)
    timeout_s = limits.body_timeout_s
    body = await read_body(exchange.receive, declared=declared, limit=limit, timeout_s=timeout_s, hold=exchange.hold)
    if body is None:
        raise ClientGone
    return body if packed is None else await unpack(body, packed, limit=limit, hold=exchange.hold)


async def read_request(exchange: Exchange, route: Route, limits: GatewayLimits) -> InferenceRequest:
    """Read a prediction request in either format."""
    tensors = route.action is Action.INFER
    json_length = access.json_length(exchange.headers, tensors=tensors)
    body = await body_of(exchange, limits, limits.max_body_bytes)
    most = limits.max_request_rows
    request: InferenceRequest = TensorRequest.decode(body, json_length, most) if tensors else RowsRequest.decode(body)
    if request.row_count > most:
        raise too_many_rows(request.row_count, most)
    return request


def read_query(route: Route, query: bytes) -> bool:
    """Return whether the query asks for class probabilities.

    Raises:
        InvalidInput: it has a parameter that this path does not accept.
        BadRequest: the value of `probabilities` is not true or false.
    """
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    takes = _PARAMETERS.get(route.action, "")
    unknown = [name for name in given if name != takes]
    if unknown:
        raise InvalidInput(f"there is no query parameter {unknown[0][:50]!r} here; this path takes {takes or 'none'}")
    value = given.get("probabilities", "false")
    if value not in ("true", "1", "false", "0"):
        raise BadRequest(f"?probabilities must be true or false, not {value[:50]!r}")
    return value in ("true", "1")
