"""A replica's end of the links: authenticates gateways and answers their batches."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from streamb.errors import ModelFailed, StreambError, words_of
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import GREETING_BYTES, Frame, FrameProtocol, Kind, MalformedFrame, frame_header
from streamb.serving.links.handshake import LinkAddress, is_proof, unavailable, welcome
from streamb.serving.links.wire import decode_batch, encode_error, encode_reply
from streamb.text import shown

_log = logging.getLogger(__name__)
_PROOF_S: Final = 2.0
_MAX_STRANGERS: Final = 64  # connections that have not proven themselves yet
_MAX_GATEWAYS: Final = 1024
_LOOK_S: Final = 1.0
"""How often a replica looks whether it can still answer (seconds)."""


class Desk(Protocol):
    """Where calls are answered (see `serving.predicting.PredictThread`); belongs to the event loop of the links."""

    def submit(self, batch: Batch, told: Callable[[BatchReply | StreambError], None]) -> Any:
        """Queue a call, and return it; `told` gets its outcome later."""
        ...

    def drop(self, work: Any) -> bool:
        """Note that nobody waits for a call; returns whether it had not begun: it is forgotten then."""
        ...

    def trouble(self) -> str:
        """Return why no call can be answered at present; "" if they can."""
        ...


class _Call:
    """One call of a gateway.

    Attributes:
        left: whether nobody waits for its answer.
    """

    __slots__ = ("left", "number", "side", "work")

    def __init__(self, side: _ServerSide, number: int) -> None:
        self.side = side
        self.number = number
        self.left = False
        self.work: Any = None


class LinkServer:
    """A replica's end: takes the calls of all gateways, at most `max_calls` at once. Lives on one event loop.

    Args:
        desk: answers the calls.
        replica: the replica's name.
        secret: what a gateway must prove to know.
        max_calls: how many calls are taken at once; more are refused with `Unavailable`, which a gateway tries
            elsewhere.
    """

    def __init__(self, desk: Desk, *, replica: str, secret: bytes, max_calls: int = 64) -> None:
        self._desk = desk
        self._replica = replica
        self._max_calls = max_calls
        self._secret = secret
        self._sides: set[_ServerSide] = set()
        self._calls: set[_Call] = set()
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._empty: asyncio.Future[None] | None = None  # there from `close` on

    async def start(self, host: str) -> LinkAddress:
        """Listen on a free port of `host`, an address under which gateways reach this machine.

        Raises:
            OSError: this machine has no such address.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _ServerSide(self), host, 0, backlog=128)
        self._timer = loop.call_later(_LOOK_S, self._look)
        name = self._server.sockets[0].getsockname()
        return LinkAddress(str(name[0]), int(name[1]), self._replica)

    async def close(self, drain_s: float) -> None:
        """Stop accepting, ask every gateway to leave, and return when all have left or after `drain_s` seconds.

        A gateway disconnects when its last call is answered, so no call answered in time is lost.
        """
        if self._server is not None:
            self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._empty is None:
            self._empty = asyncio.get_running_loop().create_future()
        for side in list(self._sides):
            side.say_goodbye()
        if self._sides and drain_s > 0:
            await asyncio.wait([self._empty], timeout=drain_s)
        for side in list(self._sides):
            side.hang_up()
        for call in list(self._calls):
            self._leave(call)
        self._calls.clear()

    @property
    def calls(self) -> int:
        """Number of calls that run or wait now."""
        return len(self._calls)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._empty is not None

    def arrived(self, side: _ServerSide) -> bool:
        """Register a new connection; returns False if there are too many."""
        if self._trouble:
            return False
        strangers = sum(not other.known for other in self._sides)
        if self.closing or strangers >= _MAX_STRANGERS or len(self._sides) >= _MAX_GATEWAYS:
            return False
        self._sides.add(side)
        return True

    def left(self, side: _ServerSide) -> None:
        """Forget a connection. A call of it that runs is run to its end: a predicting thread cannot be stopped."""
        self._sides.discard(side)
        for call in list(side.calls.values()):
            self._leave(call)
        if not self._sides and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def admit(self, proof: bytes, nonce: bytes) -> bytes | None:
        """Return the welcome frame for a gateway; None if its proof is wrong."""
        return welcome(self._replica) if is_proof(proof, self._secret, nonce) else None

    def take(self, side: _ServerSide, frame: Frame) -> None:
        """Take one call, or refuse it."""
        if frame.call in side.calls:
            raise MalformedFrame(f"call {frame.call} is not answered yet")
        if self._trouble:
            side.send(encode_error(frame.call, unavailable(self._replica, f"does not answer: {self._trouble}")))
            return
        if len(self._calls) >= self._max_calls:
            busy = unavailable(self._replica, f"runs {self._max_calls} calls already")
            side.send(encode_error(frame.call, busy))
            return
        try:
            batch = decode_batch(frame.payload)
        except MalformedFrame as error:
            side.send(encode_error(frame.call, error))
            return
        call = _Call(side, frame.call)
        side.calls[frame.call] = call
        self._calls.add(call)
        call.work = self._desk.submit(batch, partial(self._ended, call))

    def cancel(self, side: _ServerSide, number: int) -> None:
        """Forget a call that nobody waits for any more; does nothing if it is answered already."""
        call = side.calls.get(number)
        if call is not None:
            self._leave(call)

    def _leave(self, call: _Call) -> None:
        """Let nobody wait for a call. Its gateway hears when it is over, so it knows what this replica still does."""
        if not call.left:
            call.left = True
            if self._desk.drop(call.work):
                self._ended(call, unavailable(self._replica, "was told to leave it"))

    def _ended(self, call: _Call, outcome: BatchReply | StreambError) -> None:
        self._calls.discard(call)
        call.side.calls.pop(call.number, None)
        if call.side.closed:
            return
        if call.left and isinstance(outcome, BatchReply):  # not worth the bytes
            outcome = unavailable(self._replica, "was told to leave it")
        call.side.send(_encoded(call.number, outcome))

    def _look(self) -> None:
        """Say goodbye to all gateways while no call can be answered; they come back when one can."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        trouble, before = self._desk.trouble(), self._trouble
        self._trouble = trouble
        if not trouble or before:
            return
        error = unavailable(self._replica, f"does not answer: {trouble}")
        for call in list(self._calls):
            if self._desk.drop(call.work):
                self._ended(call, error)
        for side in list(self._sides):
            side.say_goodbye(trouble)


def _encoded(number: int, outcome: BatchReply | StreambError) -> bytes:
    """The frame of an outcome."""
    if isinstance(outcome, StreambError):
        return encode_error(number, outcome)
    try:
        return encode_reply(number, outcome)
    except ModelFailed as error:
        return encode_error(number, error)
    except Exception as error:  # the caller must hear of its call in any case
        _log.error("the answer of a model cannot be sent: %s", shown(words_of(error)))
        return encode_error(number, ModelFailed("the model's answer cannot be sent; the log of the replica says why"))


class _ServerSide(FrameProtocol):
    """The replica's side of a connection to one gateway. Stops reading while the gateway does not read its answers."""

    def __init__(self, server: LinkServer) -> None:
        super().__init__()
        self._server = server
        self._nonce = secrets.token_bytes(GREETING_BYTES)
        self._timer: asyncio.TimerHandle | None = None
        self.known = False
        self.calls: dict[int, _Call] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._server.arrived(self):
            self.hang_up()
            return
        self._timer = asyncio.get_running_loop().call_later(_PROOF_S, self.hang_up)
        self.send(self._nonce)

    def on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.CALL:  # the reader makes the greeting come first
            self._server.take(self, frame)
        elif frame.kind is Kind.CANCEL:
            self._server.cancel(self, frame.call)
        elif frame.kind is Kind.GREETING:
            self._check(bytes(frame.payload))
        else:
            raise MalformedFrame(f"a gateway does not send {frame.kind.name}")

    def _check(self, proof: bytes) -> None:
        answer = self._server.admit(proof, self._nonce)
        if answer is None:
            self.hang_up()
            return
        if self._timer is not None:
            self._timer.cancel()
        self.known = True
        self.send(answer)

    def say_goodbye(self, why: str = "") -> None:
        """Ask the gateway to make no more calls, and say why; an unauthenticated connection is closed."""
        if self.known:
            words = why.encode()
            self.send(frame_header(0, Kind.GOAWAY, len(words)) + words)
        else:
            self.hang_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.listen(on=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.listen(on=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._timer is not None:
            self._timer.cancel()
        self._server.left(self)
