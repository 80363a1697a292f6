"""The gateway: a raw ASGI app that checks, routes, joins the batch and answers. No I/O but the call to a version.

Everything a request needs is in memory: the routing table is replaced whole by `apply`, and a request reads it once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs

from streamb.clock import Clock
from streamb.errors import BadRequest, InvalidInput, ModelFailed, StreambError
from streamb.metrics import Outcome, Snapshot, VersionRecorder, outcome_of
from streamb.serving import access, metadata
from streamb.serving.answer import Answer, InferenceRequest, Origin
from streamb.serving.batch import Predictor
from streamb.serving.batcher import Batcher
from streamb.serving.lane import ClientGone
from streamb.serving.limits import GatewayLimits
from streamb.serving.oip import TensorRequest
from streamb.serving.receive import Message, Receive, Send, read_body
from streamb.serving.replies import Reply, error_reply
from streamb.serving.routes import Action, Route, parse_route
from streamb.serving.rows import RowsRequest
from streamb.serving.targets import ServedVersion, TableBuilder
from streamb.traffic import RoutingTable
from streamb.version import installed_version

_log = logging.getLogger(__name__)

_CLIENT_GONE = 499
"""The status under which requests are counted whose client went away (never sent)."""


class Exchange:
    """One request from its arrival to its reply.

    Attributes:
        served: the version that answers, once it is chosen.
    """

    __slots__ = ("headers", "receive", "request_id", "scope", "served", "started")

    def __init__(self, scope: Message, receive: Receive, request_ids: access.RequestIds, started: float) -> None:
        self.scope = scope
        self.receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = request_ids.of(self.headers)
        self.started = started
        self.served: ServedVersion | None = None


class GatewayApp:
    """The data plane of one gateway, as an ASGI application. It belongs to one event loop."""

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._batcher = Batcher(predictor, limits, clock)
        self._builder = TableBuilder()
        self._served = self._builder.build(RoutingTable())
        self._unrouted = VersionRecorder("", "")
        self._request_ids = access.RequestIds()
        self._streamb_version = installed_version()

    # --- what the cluster calls -----------------------------------------------------------------------------------

    @property
    def table(self) -> RoutingTable:
        """The routing table in force."""
        return self._served.table

    def apply(self, table: RoutingTable) -> bool:
        """Put a table in force. False, and nothing changes, when it is older than the one in force."""
        if table.epoch < self.table.epoch:
            return False
        self._served = self._builder.build(table)
        current = {version.target.app for version in self._served.versions()}
        for known in self._builder.known():
            if known.target.app not in current:
                self._batcher.retire(known.lane)
                if not known.lane.size:
                    self._builder.forget(known.target.app)
        return True

    def in_flight(self, app: str) -> int:
        """Requests that wait for or are inside a call to `app`; 0 for an app that is not known."""
        return sum(known.lane.size for known in self._builder.known() if known.target.app == app)

    def snapshot(self) -> list[Snapshot]:
        """Everything counted since this gateway started, for each model version (and "" for what reached none)."""
        lanes = [known.lane for known in self._builder.known()]
        snapshots = [self._unrouted.snapshot()]
        for recorder in self._builder.recorders.values():
            mine = [lane for lane in lanes if lane.recorder is recorder]
            queued = sum(len(lane.queue) for lane in mine)
            snapshots.append(recorder.snapshot(in_flight=sum(lane.size for lane in mine), queued=queued))
        return snapshots

    async def close(self) -> None:
        """Refuse what comes from now on, fail what waits, stop the calls."""
        await self._batcher.close()

    # --- ASGI -----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        kind = scope["type"]
        if kind == "lifespan":
            return await _lifespan(receive, send)
        if kind != "http":
            return await send({"type": "websocket.close", "code": 1000})
        exchange = Exchange(scope, receive, self._request_ids, self._clock.monotonic())
        try:
            reply = await self._answer(exchange)
        except StreambError as error:
            reply = self._refuse(exchange, error)
        except ClientGone:
            self._recorder(exchange).failed(Outcome.CLIENT_ERROR, _CLIENT_GONE, 0.0)
            return None
        except Exception:
            _log.exception("request %s failed unexpectedly", exchange.request_id)
            reply = self._refuse(exchange, StreambError("the gateway failed; its log has the request id"))
        return await reply.send(send, exchange.request_id)

    async def _answer(self, exchange: Exchange) -> Reply:
        scope = exchange.scope
        route = parse_route(scope["method"], scope["path"])
        served = self._served
        if route.action is Action.PREDICT or route.action is Action.INFER:
            access.check_key(exchange.headers, served.table.policy)
            return await self._infer(exchange, route)
        if not metadata.is_open(route.action):
            access.check_key(exchange.headers, served.table.policy)
        return metadata.describe(route, served, self._streamb_version)

    async def _infer(self, exchange: Exchange, route: Route) -> Reply:
        request = await self._read(exchange, route)
        chosen = self._choose(exchange, route, request)
        probabilities = request.probabilities or _asks_probabilities(route, exchange.scope["query_string"])
        answer = await self._predict(exchange, chosen, request, probabilities=probabilities)
        if probabilities and answer.probabilities is None:
            raise InvalidInput(f"version {chosen.target.version} of {chosen.model_id!r} gives no class probabilities")
        origin = Origin(chosen.model_id, chosen.target.version, exchange.request_id)
        try:
            encoded = request.encode(answer, origin)
        except TypeError as error:
            raise ModelFailed(f"the model answered what JSON cannot hold: {error}") from None
        chosen.recorder.answered(self._clock.monotonic() - exchange.started, request.row_count)
        return Reply(200, encoded.body, [*encoded.headers, *chosen.headers])

    async def _read(self, exchange: Exchange, route: Route) -> InferenceRequest:
        headers, limits = exchange.headers, self._limits
        tensors = route.action is Action.INFER
        json_length = access.json_length(headers, tensors=tensors)
        declared = access.content_length(headers)
        body = await read_body(
            exchange.receive, declared=declared, limit=limits.max_body_bytes, timeout_s=limits.body_timeout_s
        )
        if body is None:
            raise ClientGone
        request: InferenceRequest = TensorRequest.decode(body, json_length) if tensors else RowsRequest.decode(body)
        if request.row_count > limits.max_request_rows:
            raise InvalidInput(
                f"{request.row_count} rows in one request; send at most {limits.max_request_rows}",
                limit_rows=limits.max_request_rows,
            )
        return request

    def _choose(self, exchange: Exchange, route: Route, request: InferenceRequest) -> ServedVersion:
        served = self._served
        if route.version:
            chosen = served.pinned(route.model_id, route.version)
        else:
            unit = exchange.headers.get(b"x-user-id", b"").decode("latin-1") or request.user_id or exchange.request_id
            chosen = served.choose(route.model_id, unit)
        exchange.served = chosen
        if chosen.broken is not None:
            raise chosen.broken
        return chosen

    def _predict(
        self, exchange: Exchange, chosen: ServedVersion, request: InferenceRequest, *, probabilities: bool
    ) -> asyncio.Future[Answer]:
        rows = request.rows(chosen.schema)
        waiting = self._batcher.admit(rows, probabilities=probabilities, receive=exchange.receive)
        return self._batcher.submit(chosen.lane, waiting)

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _refuse(self, exchange: Exchange, error: StreambError) -> Reply:
        elapsed = self._clock.monotonic() - exchange.started
        self._recorder(exchange).failed(outcome_of(error), error.status, elapsed)
        headers = exchange.served.headers if exchange.served is not None else ()
        return error_reply(error, exchange.request_id, headers)

    def _recorder(self, exchange: Exchange) -> VersionRecorder:
        return exchange.served.recorder if exchange.served is not None else self._unrouted


def _asks_probabilities(route: Route, query: bytes) -> bool:
    if not query or route.action is not Action.PREDICT:
        return False
    values = parse_qs(query.decode("latin-1")).get("probabilities", ["false"])
    if values[-1] not in ("true", "1", "false", "0"):
        raise BadRequest(f"?probabilities must be true or false, not {values[-1][:50]!r}")
    return values[-1] in ("true", "1")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
