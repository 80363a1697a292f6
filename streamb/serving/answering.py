"""How a request gets its answer: from the version that was chosen, or in time from the one that stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from streamb.clock import Clock
from streamb.errors import InvalidInput, StreambError
from streamb.metrics import BLAMED, outcome_of
from streamb.models.outputs import Answer
from streamb.serving.answer import Rows
from streamb.serving.batcher import Batcher
from streamb.serving.breaker import REFUSED, Breaker, BreakerState
from streamb.serving.exchange import Exchange, Inquiry
from streamb.serving.fallback import first_limit_s, may_fall_back
from streamb.serving.http.receive import when_gone
from streamb.serving.http.replies import Reply
from streamb.serving.targets import VERSION_HEADER, ServedVersion

ReplyWith: TypeAlias = Callable[[Exchange, Inquiry, ServedVersion, Answer, bool], Reply]
"""Makes the reply from a version's answer, with class probabilities or without, and counts it."""


class TimeLimit(NamedTuple):
    """How long an answer may take.

    Attributes:
        seconds: the time, from the end of the request's body.
        own: whether the request itself set it.
    """

    seconds: float
    own: bool = False


class Answering:
    """Asks versions for the answers to requests.

    Args:
        batcher: calls the versions.
        longest_s: the gateway's time limit, in seconds.
        clock: tells the time.
        reply: makes the reply from a version's answer.
    """

    def __init__(self, batcher: Batcher, longest_s: float, clock: Clock, reply: ReplyWith) -> None:
        self._batcher = batcher
        self._usual = TimeLimit(longest_s)
        self._clock = clock
        self._reply = reply

    async def answer(self, exchange: Exchange, inquiry: Inquiry, chosen: ServedVersion, *, pinned: bool) -> Reply:
        """Return the answer to a request.

        Args:
            exchange, inquiry: the request.
            chosen: the version that is to answer.
            pinned: whether no other version may stand in for it.
        """
        limit = self._limit(exchange, chosen)
        second = inquiry.model.fallback
        if second is None or second is chosen or pinned:
            return await self._ask(exchange, inquiry, chosen, inquiry.request.rows(chosen.schema), limit)
        deadline = self._clock.monotonic() + limit.seconds
        try:
            rows = inquiry.request.rows(chosen.schema)
            first_s = first_limit_s(second.lane.usual, len(rows), limit.seconds)
            return await self._ask(exchange, inquiry, chosen, rows, TimeLimit(first_s, limit.own), limit.seconds)
        except StreambError as error:
            failure = error
        return await self._ask_second(exchange, inquiry, chosen, second, failure, deadline)

    def _limit(self, exchange: Exchange, version: ServedVersion) -> TimeLimit:
        """The version's time limit or the gateway's, whichever is shorter; or the request's own if it is shorter still.

        (The edge gives up on a gateway soon after its limit, so a version cannot have more.)
        """
        longest_s = self._usual.seconds
        if version.target.timeout_s is not None:
            longest_s = min(version.target.timeout_s, longest_s)
        elif exchange.timeout_s is None:
            return self._usual
        if exchange.timeout_s is not None and exchange.timeout_s < longest_s:
            return TimeLimit(exchange.timeout_s, own=True)
        return TimeLimit(longest_s)

    async def _ask(
        self,
        exchange: Exchange,
        inquiry: Inquiry,
        version: ServedVersion,
        rows: Rows,
        limit: TimeLimit,
        spare_s: float = 0.0,
    ) -> Reply:
        """Return the answer of one version.

        Args:
            exchange, inquiry: the request.
            version: the version that is asked.
            rows: the rows, checked against its schema.
            limit: how long it may take.
            spare_s: if another version can answer should this one not: the time limit of both together, in seconds.
        """
        if version.broken is not None:
            raise version.broken
        probabilities = inquiry.request.asks_probabilities(version.outputs) or inquiry.probabilities
        if probabilities and version.lane.no_probabilities:
            raise no_probabilities(version)
        breaker, generation, lane = version.breaker, REFUSED, version.lane
        if breaker is not None:
            generation = breaker.enter(exchange.started, trial=not exchange.aside)
            if generation == REFUSED and inquiry.model.can_spare(version):
                raise breaker.refusal(exchange.started)
            breaker = None if exchange.aside else breaker
        try:
            waiting = self._batcher.admit(
                rows,
                probabilities=probabilities,
                timeout_s=limit.seconds,
                own_limit=limit.own,
                aside=exchange.aside,
            )
            if spare_s:
                self._batcher.spare(lane, waiting, spare_s)
            exchange.called = True
            future = self._batcher.submit(lane, waiting)
            if not when_gone(exchange.scope, lambda: self._batcher.leave(lane, waiting)):
                waiting.receive = exchange.receive
            answer = await future
            reply = self._reply(exchange, inquiry, version, answer, probabilities)
        except BaseException as error:
            if breaker is not None:
                _tell(breaker, generation, error, self._clock.monotonic(), exchange.caller)
            raise
        if breaker is not None:
            breaker.succeeded(generation, self._clock.monotonic(), exchange.caller)
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
        if exchange.called and not opened and not inquiry.model.budget_of(aside=exchange.aside).take(now):
            raise failure
        exchange.count_failed(first.recorder, outcome_of(failure), failure.status, now - exchange.started)
        first.recorder.fell_back()
        exchange.served, exchange.started, exchange.again = second, now, True
        own = self._limit(exchange, first).own
        return await self._ask(exchange, inquiry, second, rows, TimeLimit(deadline - now, own))


def no_probabilities(version: ServedVersion) -> InvalidInput:
    """Return the error for a client that asks for probabilities where the version has none."""
    return InvalidInput(f"version {version.target.version} of {version.model_id!r} has no class probabilities")


def _tell(breaker: Breaker, generation: int, error: BaseException, now: float, caller: str) -> None:
    """Report to a breaker how a call without an answer ended."""
    if isinstance(error, StreambError) and outcome_of(error) in BLAMED:
        breaker.failed(generation, now, caller)
    else:
        breaker.abandoned(generation)
