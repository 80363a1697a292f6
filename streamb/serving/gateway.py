"""The gateway: a raw ASGI app that checks, routes, joins the batch and answers. No I/O but the call to a version.

Everything a request needs is in memory: the routing table is replaced whole by `apply`, and a request reads it once.
"""

from __future__ import annotations

import logging
from typing import Any

from streamb.clock import Clock
from streamb.errors import InvalidInput, ModelFailed, StreambError
from streamb.metrics import BLAMED, Outcome, Snapshot, VersionRecorder, outcome_of
from streamb.models.outputs import Answer, not_finite
from streamb.serving import metadata
from streamb.serving.answer import InferenceRequest, Origin, Rows
from streamb.serving.batch import Predictor
from streamb.serving.batcher import Batcher
from streamb.serving.breaker import REFUSED, Breaker, BreakerState, BreakerWatch
from streamb.serving.exchange import Exchange, Inquiry, RowsFailed, body_of, read_query, read_request
from streamb.serving.fallback import first_limit_s, may_fall_back
from streamb.serving.feedback import MAX_BODY_BYTES, FeedbackDesk
from streamb.serving.http import access
from streamb.serving.http.receive import BodyRoom, Message, Receive, Send
from streamb.serving.http.replies import Reply, error_reply, json_reply
from streamb.serving.http.routes import Action, Route, parse_route
from streamb.serving.labels import Feedback
from streamb.serving.lane import ClientGone
from streamb.serving.limits import GatewayLimits
from streamb.serving.shadow import Mirrors
from streamb.serving.targets import VERSION_HEADER, ServedModel, ServedVersion, TableBuilder
from streamb.traffic import RoutingTable
from streamb.version import installed_version

_log = logging.getLogger(__name__)

_CLIENT_GONE = 499
"""The status under which requests whose client went away are counted (never sent)."""


class GatewayApp:
    """The data plane of one gateway, as an ASGI application. It belongs to one event loop."""

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._predictor = predictor
        self._batcher = Batcher(predictor, limits, clock)
        self._mirrors = Mirrors(predictor, limits, clock)
        self._breaker_watch = BreakerWatch()
        self._builder = TableBuilder()
        self._served = self._builder.build(RoutingTable())
        self._unrouted = VersionRecorder("", "")
        self._request_ids = access.RequestIds()
        self._room = BodyRoom(max(limits.max_held_bytes, limits.max_body_bytes))
        self._feedback = FeedbackDesk(self._builder.recorders, self._unrouted, clock)
        self._streamb_version = installed_version()

    # --- what the cluster calls -----------------------------------------------------------------------------------

    @property
    def table(self) -> RoutingTable:
        """The routing table in force."""
        return self._served.table

    def apply(self, table: RoutingTable) -> bool:
        """Put a table in force. Returns False and changes nothing if it is older than the one in force."""
        if table.epoch < self.table.epoch:
            return False
        self._served = self._builder.build(table, self._clock.monotonic())
        self._mirrors.keep(self._served)
        self._feedback.use(table.policy.token_key)
        current = {version.target.app for version in self._served.versions()}
        for known in self._builder.known():
            if known.target.app not in current:
                self._batcher.retire(known.lane)
                if not known.lane.size:
                    self._builder.forget(known.target.app)
        return True

    def in_flight(self, app: str) -> int:
        """Return the number of requests waiting for or inside a call to `app`; 0 for an unknown app."""
        own = sum(known.lane.size for known in self._builder.known() if known.target.app == app)
        return own + self._mirrors.in_flight(app)

    def snapshot(self) -> list[Snapshot]:
        """Return the counts since this gateway started, for each model version ("" for requests that reached none).

        A version that is long gone is left out from some report on: the ones before have told all of it.

        Asked for about once a second; the circuit breakers look at the same counts.
        """
        now = self._clock.monotonic()
        snapshots = [self._unrouted.snapshot(), *self._builder.snapshots(now, self._batcher.overdue())]
        breakers = [known.breaker for known in self._builder.known() if known.breaker is not None]
        if breakers:
            self._breaker_watch.look(now, snapshots, breakers)
        return snapshots

    async def close(self) -> None:
        """Refuse new requests, fail waiting ones, and stop the calls."""
        await self._batcher.close()
        await self._mirrors.close()

    # --- ASGI -----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        kind = scope["type"]
        if kind == "lifespan":
            return await _lifespan(receive, send)
        if kind != "http":
            return await send({"type": "websocket.close", "code": 1000})
        exchange = Exchange(scope, receive, self._request_ids, self._clock.monotonic(), self._room)
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
        finally:
            if exchange.held:
                self._room.give_back(exchange.held)
        return await reply.send(send, exchange.request_id)

    async def _answer(self, exchange: Exchange) -> Reply:
        scope = exchange.scope
        route = parse_route(scope["method"], scope["path"])
        probabilities = bool(scope["query_string"]) and read_query(route, scope["query_string"])
        served = self._served
        if route.action is Action.PREDICT or route.action is Action.INFER:
            access.check_key(exchange.headers, served.table.policy)
            return await self._infer(exchange, route, probabilities)
        if not metadata.is_open(route.action):
            access.check_key(exchange.headers, served.table.policy)
        if route.action is Action.FEEDBACK:
            return await self._learn(exchange, route)
        replicas = self._predictor.replicas
        return metadata.describe(route, exchange.headers, served, self._streamb_version, replicas)

    async def _infer(self, exchange: Exchange, route: Route, probabilities: bool) -> Reply:  # noqa: FBT001
        request = await read_request(exchange, route, self._limits)
        model = self._served.model(route.model_id)
        chosen = self._choose(exchange, route, model, request)
        inquiry = Inquiry(model, request, probabilities)
        model.budget.count(exchange.started)
        second = model.fallback
        if second is None or second is chosen or route.version:
            return await self._ask(exchange, inquiry, chosen, request.rows(chosen.schema))
        limit_s = self._limits.request_timeout_s
        deadline = self._clock.monotonic() + limit_s
        try:
            rows = request.rows(chosen.schema)
            first_s = first_limit_s(second.lane.usual, len(rows), limit_s)
            return await self._ask(exchange, inquiry, chosen, rows, first_s, spare=True)
        except StreambError as error:
            failure = error
        return await self._ask_second(exchange, inquiry, chosen, second, failure, deadline)

    async def _ask(
        self,
        exchange: Exchange,
        inquiry: Inquiry,
        version: ServedVersion,
        rows: Rows,
        timeout_s: float | None = None,
        *,
        spare: bool = False,
    ) -> Reply:
        """Return the answer of one version.

        Args:
            exchange, inquiry: the request.
            version: the version that is asked.
            rows: the rows, checked against its schema.
            timeout_s: how long it may take, in seconds; None: the whole time limit of a request.
            spare: whether another version can answer if this one does not.
        """
        if version.broken is not None:
            raise version.broken
        probabilities = inquiry.request.asks_probabilities(version.outputs) or inquiry.probabilities
        if probabilities and version.lane.no_probabilities:
            raise _no_probabilities(version)
        breaker, generation = version.breaker, REFUSED
        if breaker is not None:
            generation = breaker.enter(exchange.started)
            if generation == REFUSED and inquiry.model.can_spare(version):
                raise breaker.refusal(exchange.started)
        try:
            waiting = self._batcher.admit(
                rows, probabilities=probabilities, receive=exchange.receive, timeout_s=timeout_s
            )
            if spare:
                self._batcher.spare(version.lane, waiting)
            exchange.called = True
            answer = await self._batcher.submit(version.lane, waiting)
            reply = self._reply(exchange, inquiry, version, answer, probabilities=probabilities)
        except BaseException as error:
            if breaker is not None:
                _tell(breaker, generation, error, self._clock.monotonic())
            raise
        if breaker is not None:
            breaker.succeeded(generation, self._clock.monotonic())
        return reply

    async def _ask_second(
        self,
        exchange: Exchange,
        inquiry: Inquiry,
        first: ServedVersion,
        second: ServedVersion,
        failure: StreambError,
        deadline: float,
    ) -> Reply:
        """Return the second version's answer within the rest of the request's time; else raise the first one's failure.

        The failure counts for the first, and the time it took does not count for the second. A client that named the
        version itself hears that its rows are refused.
        """
        now = self._clock.monotonic()
        if not may_fall_back(failure) or not second.healthy or now >= deadline:
            raise failure
        if isinstance(failure, InvalidInput) and exchange.headers.get(VERSION_HEADER):
            raise failure
        try:
            rows = inquiry.request.rows(second.schema)
        except InvalidInput:  # the rows fit the version that they were sent to
            raise failure from None
        opened = first.breaker is not None and first.breaker.state is BreakerState.OPEN
        if exchange.called and not opened and not inquiry.model.budget.take(now):
            raise failure
        first.recorder.failed(outcome_of(failure), failure.status, now - exchange.started)
        first.recorder.fell_back()
        exchange.served, exchange.started, exchange.again = second, now, True
        return await self._ask(exchange, inquiry, second, rows, deadline - now)

    def _reply(
        self, exchange: Exchange, inquiry: Inquiry, version: ServedVersion, answer: Answer, *, probabilities: bool
    ) -> Reply:
        """Return an answer as a reply; count it as answered, and perhaps copy the request to a shadow version.

        Raises:
            RowsFailed: some rows failed. Another version may answer them all; else this error has the reply.
        """
        request, model = inquiry.request, inquiry.model
        if probabilities and answer.probabilities is None:
            version.lane.no_probabilities = True
            raise _no_probabilities(version)
        if answer.failed and len(answer.failed) == request.row_count and not request.takes_not_finite:
            raise not_finite(answer.failed[0])
        request_id = exchange.own_id or self._feedback.sign(exchange.request_id, version, exchange.unit, answer)
        origin = Origin(version.model_id, version.target.version, request_id, version.outputs)
        try:
            encoded = request.encode(answer, origin)
        except (TypeError, UnicodeError) as error:
            raise ModelFailed(f"the model's answer cannot be encoded: {error}") from None
        reply = Reply(200, encoded.body, [*encoded.headers, *version.headers])
        if answer.failed:
            raise RowsFailed(answer, reply, request_id)
        exchange.request_id = request_id  # from here on the id names an answer
        if exchange.own_id or exchange.body_id:
            self._feedback.remember(exchange.own_id, exchange.body_id, request_id, version, answer)
        seconds = self._clock.monotonic() - exchange.started
        if exchange.started < version.lane.troubled:
            version.recorder.disturbed(request.row_count)
        else:
            version.recorder.answered(seconds, request.row_count)
        if model.shadow is not None and not exchange.again:
            self._mirrors.offer(model, version, request, answer, seconds)
        return reply

    async def _learn(self, exchange: Exchange, route: Route) -> Reply:
        self._served.model(route.model_id)
        access.json_length(exchange.headers, tensors=False)
        body = await body_of(exchange, self._limits, min(MAX_BODY_BYTES, self._limits.max_body_bytes))
        return json_reply(self._feedback.take(route.model_id, Feedback.decode(body)), 202)

    def _choose(self, exchange: Exchange, route: Route, model: ServedModel, request: InferenceRequest) -> ServedVersion:
        exchange.unit = user = exchange.headers.get(b"x-user-id", b"").decode("latin-1") or request.user_id
        exchange.body_id = request.client_id
        exchange.served = chosen = model.choose(route.version, exchange.headers, user, exchange.own_id)
        return chosen

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _refuse(self, exchange: Exchange, error: StreambError) -> Reply:
        elapsed = self._clock.monotonic() - exchange.started
        if isinstance(error, RowsFailed) and exchange.served is not None:
            exchange.request_id = error.request_id
            if exchange.own_id or exchange.body_id:
                own_id, body_id = exchange.own_id, exchange.body_id
                self._feedback.remember(own_id, body_id, error.request_id, exchange.served, error.answer)
            exchange.served.recorder.failed(outcome_of(error), error.reply.status, elapsed)
            return error.reply
        self._recorder(exchange).failed(outcome_of(error), error.status, elapsed)
        headers = exchange.served.headers if exchange.served is not None else ()
        return error_reply(error, exchange.request_id, headers)

    def _recorder(self, exchange: Exchange) -> VersionRecorder:
        return exchange.served.recorder if exchange.served is not None else self._unrouted


def _no_probabilities(version: ServedVersion) -> InvalidInput:
    return InvalidInput(f"version {version.target.version} of {version.model_id!r} has no class probabilities")


def _tell(breaker: Breaker, generation: int, error: BaseException, now: float) -> None:
    """Report to a breaker how a call without an answer ended."""
    if isinstance(error, StreambError) and outcome_of(error) in BLAMED:
        breaker.failed(generation, now)
    else:
        breaker.abandoned(generation)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
