"""The gateway: a raw ASGI app that checks, routes, joins the batch and answers. No I/O but the call to a version.

Everything a request needs is in memory: the routing table is replaced whole by `apply`, and a request reads it once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from streamb.clock import Clock
from streamb.errors import ModelFailed, StreambError, Unavailable
from streamb.metrics import Outcome, Snapshot, VersionRecorder, outcome_of
from streamb.models.outputs import Answer, not_finite
from streamb.security.permissions import Permission
from streamb.serving import metadata
from streamb.serving.answer import InferenceRequest, Origin
from streamb.serving.answering import Answering, no_probabilities
from streamb.serving.batch import Predictor
from streamb.serving.batcher import Batcher
from streamb.serving.breaker import BreakerWatch
from streamb.serving.callers import CallerLimits, Exceeded
from streamb.serving.exchange import (
    TIMEOUT_HEADER,
    Exchange,
    Inquiry,
    RowsFailed,
    body_of,
    read_query,
    read_request,
    read_timeout_s,
)
from streamb.serving.feedback import MAX_BODY_BYTES, FeedbackDesk
from streamb.serving.http import access
from streamb.serving.http.origins import Origins
from streamb.serving.http.receive import CONNECTION, BodyRoom, Message, Receive, Send
from streamb.serving.http.replies import Reply, error_reply, json_reply
from streamb.serving.http.routes import Action, Route, parse_route, path_of
from streamb.serving.labels import Feedback
from streamb.serving.lane import ClientGone
from streamb.serving.limits import GatewayLimits
from streamb.serving.shadow import Mirrors
from streamb.serving.targets import ServedModel, ServedTable, ServedVersion, TableBuilder
from streamb.traffic import RoutingTable
from streamb.traffic.shares import Name
from streamb.version import installed_version

_log = logging.getLogger(__name__)

MOST_USED = 1_000
"""Of how many keys one report tells when they were last used."""

_CLIENT_GONE = 499
"""The status under which requests whose client went away are counted (never sent)."""


class GatewayApp:
    """The data plane of one gateway, as an ASGI application. It belongs to one event loop.

    Args:
        predictor: calls the versions.
        limits: the limits of this gateway.
        clock: the source of time.
        callers: the limits on callers; None: this gateway takes an even part of them, and knows of no edge.
        origins: the names by which, and the pages from which, it may be called; None: whatever stands in front of it
            checks them.
    """

    def __init__(
        self,
        predictor: Predictor,
        limits: GatewayLimits,
        clock: Clock,
        callers: CallerLimits | None = None,
        origins: Origins | None = None,
    ) -> None:
        self._callers = callers or CallerLimits(clock)
        self._limits = limits
        self._origins = origins
        self._clock = clock
        self._predictor = predictor
        self._batcher = Batcher(predictor, limits, clock)
        self._answering = Answering(self._batcher, limits.request_timeout_s, clock, self._reply)
        self._mirrors = Mirrors(predictor, limits, clock)
        self._breaker_watch = BreakerWatch()
        self._builder = TableBuilder()
        self._served = self._nothing = self._builder.build(RoutingTable())
        self._unrouted = VersionRecorder("", "")
        self._request_ids = access.RequestIds()
        self._room = BodyRoom(max(limits.max_held_bytes, limits.max_body_bytes))
        self._feedback = FeedbackDesk(self._builder.recorders, self._unrouted, clock)
        self._streamb_version = installed_version()
        self._heard_at = clock.monotonic()
        self._used: dict[str, float] = {}

    # --- what the cluster calls -----------------------------------------------------------------------------------

    @property
    def table(self) -> RoutingTable:
        """The routing table in force."""
        return self._served.table

    def apply(self, table: RoutingTable) -> bool:
        """Put a table in force. Returns False and changes nothing if it is older than the one in force."""
        if table.epoch < self.table.epoch:
            return False
        self._heard_at = self._clock.monotonic()
        self._served = self._builder.build(table, self._heard_at)
        self._mirrors.keep(self._served)
        self._feedback.use(table.policy.token_key)
        self._callers.use(table.policy.limits)
        current = {version.target.app for version in self._served.versions()}
        for known in self._builder.known():
            if known.target.app not in current:
                self._batcher.retire(known.lane)
                if not known.lane.size:
                    self._builder.forget(known.target.app)
        return True

    def heard(self, used: Collection[str] = ()) -> None:
        """Note that the Controller said now which keys are valid; it knows of the last use of those in `used`."""
        self._heard_at = self._clock.monotonic()
        for key_id in used:
            self._used.pop(key_id, None)

    def used(self) -> dict[str, float]:
        """Return when keys were last used, in seconds since the epoch: of `MOST_USED`, as far as not `heard` of yet."""
        return dict(islice(self._used.items(), MOST_USED))

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
            exchange.count_failed(self._recorder(exchange), Outcome.ABANDONED, _CLIENT_GONE, 0.0)
            return None
        except Exception:
            _log.exception("request %s failed unexpectedly", exchange.request_id)
            reply = self._refuse(exchange, StreambError("the gateway failed; its log has the request id"))
        finally:
            if exchange.held:
                self._room.give_back(exchange.held)
        if exchange.quota is not None:
            connection = scope.get(CONNECTION)
            if connection is not None:
                connection.say(exchange.quota.lines())
            else:
                reply.headers += exchange.quota.headers()
        return await reply.send(send, exchange.request_id)

    async def _answer(self, exchange: Exchange) -> Reply:
        scope = exchange.scope
        try:
            if self._origins is not None:
                self._origins.check_request(scope, exchange.headers)
            route = parse_route(scope["method"], path_of(scope))
            probabilities = bool(scope["query_string"]) and read_query(route, scope["query_string"])
        except StreambError:
            self._count_address(exchange)
            raise
        served = self._served
        if not metadata.is_open(route.action):
            self._admit(exchange, route)
        if self._origins is not None and b"content-type" not in exchange.headers and scope["method"] == "POST":
            access.demand_media_type(exchange.headers, tensors=route.action is Action.INFER)
        if route.action is Action.PREDICT or route.action is Action.INFER:
            return await self._infer(exchange, route, probabilities)
        if route.action is Action.FEEDBACK:
            return await self._learn(exchange, route)
        replicas = self._predictor.replicas
        if route.action is Action.MODELS:
            return metadata.list_models(served, scope["query_string"], replicas, self._covered(exchange))
        return metadata.describe(route, exchange.headers, served, self._streamb_version, replicas)

    def _admit(self, exchange: Exchange, route: Route) -> None:
        """Find out who calls, and whether the caller may.

        Raises:
            RateLimited: an address, or the key or the address without one, sends too many requests.
            Unauthorized: the key is missing or not valid.
            Forbidden: the key does not allow this.
        """
        served, address = self._served, self._count_address(exchange)
        policy, now = served.table.policy, self._clock.now()
        if exchange.started - self._heard_at > policy.keys_last_s or served is self._nothing:
            self._check_keys_known(exchange, served)
        exchange.grant = grant = access.grant_of(exchange.headers, policy, now)
        if grant is not None:
            self._used[grant.key_id] = now
        if address is not None:
            model_id = route.model_id if route.model_id in served.models else ""
            key_id = grant.key_id if grant is not None else ""
            exchange.quota = self._callers.from_caller(key_id, address, model_id, exchange.started)
        if grant is not None and policy.check_permissions:
            access.check_permitted(grant, route, exchange.headers)

    def _check_keys_known(self, exchange: Exchange, served: ServedTable) -> None:
        """Refuse a request with a key, or one that needs a key, if it is not known any more which keys are valid."""
        served.check_known()
        policy = served.table.policy
        if policy.api_key_required or access.key_in(exchange.headers):
            raise Unavailable(
                f"this gateway has not heard from the Controller for {exchange.started - self._heard_at:.0f} s, so it "
                f"does not know whether API keys are still valid (ML_KEYS_LAST_S: {policy.keys_last_s:g} s)",
                retry_after_s=5,
            )

    def _check_key(self, exchange: Exchange, route: Route) -> None:
        """Look at the key of a request again: it may have been revoked while a slow body was on its way."""
        policy = self._served.table.policy
        exchange.grant = access.grant_of(exchange.headers, policy, self._clock.now())
        if exchange.grant is not None and policy.check_permissions:
            access.check_permitted(exchange.grant, route, exchange.headers)

    def _covered(self, exchange: Exchange) -> Callable[[str], bool]:
        """Return what tells whether a model may be named to whoever sent a request."""
        grant = exchange.grant
        return grant.covers if grant is not None and self.table.policy.check_permissions else lambda _: True

    def _count_address(self, exchange: Exchange) -> Name | None:
        """Count a request of an address, and return the name of its limit; None if there are no limits."""
        callers = self._callers
        if not callers.active:
            return None
        address = callers.address_of(exchange.scope, exchange.headers)
        callers.from_address(address, exchange.started)
        return address

    async def _infer(self, exchange: Exchange, route: Route, probabilities: bool) -> Reply:  # noqa: FBT001
        if TIMEOUT_HEADER in exchange.headers:
            exchange.timeout_s = read_timeout_s(exchange.headers[TIMEOUT_HEADER])
        admitted = self._served
        request = await read_request(exchange, route, self._limits)
        if self._served is not admitted:
            self._check_key(exchange, route)
        model = self._served.model(route.model_id)
        chosen = self._choose(exchange, route, model, request)
        inquiry = Inquiry(model, request, probabilities)
        model.budget_of(aside=exchange.aside).count(exchange.started)
        return await self._answering.answer(exchange, inquiry, chosen, pinned=bool(route.version))

    def _reply(
        self,
        exchange: Exchange,
        inquiry: Inquiry,
        version: ServedVersion,
        answer: Answer,
        probabilities: bool,  # noqa: FBT001 - called for each request
    ) -> Reply:
        """Return an answer as a reply; count it as answered, and perhaps copy the request to a shadow version.

        Raises:
            RowsFailed: some rows failed. Another version may answer them all; else this error has the reply.
        """
        request, model = inquiry.request, inquiry.model
        if probabilities and answer.probabilities is None:
            version.lane.no_probabilities = True
            raise no_probabilities(version)
        if answer.failed and len(answer.failed) == request.row_count and not request.takes_not_finite:
            raise not_finite(answer.failed[0])
        request_id = exchange.own_id or self._feedback.sign(
            exchange.request_id, version, exchange.unit, answer, exchange.caller, aside=exchange.aside
        )
        origin = Origin(version.model_id, version.target.version, request_id, version.outputs)
        try:
            encoded = request.encode(answer, origin)
        except (TypeError, UnicodeError) as error:
            raise ModelFailed(f"the model's answer cannot be encoded: {error}") from None
        reply = Reply(200, encoded.body, [*encoded.headers, *version.headers])
        if answer.failed:
            raise RowsFailed(answer, reply, request_id)
        exchange.request_id = request_id  # from here on the id names an answer
        self._remember(exchange, request_id, version, answer)
        if exchange.aside:
            version.recorder.set_aside(Outcome.OK, 200)
            return reply
        seconds, caller = self._clock.monotonic() - exchange.started, exchange.caller
        if exchange.started < version.lane.troubled:
            version.recorder.disturbed(request.row_count, caller)
        else:
            version.recorder.answered(seconds, request.row_count, caller)
        if model.shadow is not None and not exchange.again:
            self._mirrors.offer(model, version, request, answer, seconds, caller)
        return reply

    async def _learn(self, exchange: Exchange, route: Route) -> Reply:
        admitted = self._served
        admitted.model(route.model_id)
        access.json_length(exchange.headers, tensors=False)
        body = await body_of(exchange, self._limits, min(MAX_BODY_BYTES, self._limits.max_body_bytes))
        if self._served is not admitted:
            self._check_key(exchange, route)
        grant, policy = exchange.grant, self._served.table.policy
        of_all = grant is not None and (not policy.check_permissions or Permission.FEEDBACK in grant.permissions)
        told = self._feedback.take(route.model_id, Feedback.decode(body), exchange.caller, of_all=of_all)
        return json_reply(told, 202)

    def _remember(self, exchange: Exchange, request_id: str, version: ServedVersion, answer: Answer) -> None:
        if exchange.own_id or exchange.body_id:
            self._feedback.remember(
                exchange.own_id,
                exchange.body_id,
                request_id,
                version,
                answer,
                exchange.caller,
                aside=exchange.aside,
            )

    def _choose(self, exchange: Exchange, route: Route, model: ServedModel, request: InferenceRequest) -> ServedVersion:
        exchange.unit = user = exchange.headers.get(b"x-user-id", b"").decode("latin-1") or request.user_id
        exchange.body_id = request.client_id
        exchange.served = chosen = model.choose(route.version, exchange.headers, user, exchange.own_id)
        exchange.aside = model.is_aside(route.version, exchange.headers, user)
        return chosen

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _refuse(self, exchange: Exchange, error: StreambError) -> Reply:
        elapsed = self._clock.monotonic() - exchange.started
        if isinstance(error, RowsFailed) and exchange.served is not None:
            exchange.request_id = error.request_id
            self._remember(exchange, error.request_id, exchange.served, error.answer)
            exchange.count_failed(exchange.served.recorder, outcome_of(error), error.reply.status, elapsed)
            return error.reply
        exchange.count_failed(self._recorder(exchange), outcome_of(error), error.status, elapsed)
        headers = exchange.served.headers if exchange.served is not None else ()
        if isinstance(error, Exceeded):
            headers = tuple(error.headers)
        return error_reply(error, exchange.request_id, headers)

    def _recorder(self, exchange: Exchange) -> VersionRecorder:
        return exchange.served.recorder if exchange.served is not None else self._unrouted


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
