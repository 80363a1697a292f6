"""A replica's end of the links: authenticates gateways and answers their batches."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from streamb.errors import ModelFailed, StreambError
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import GREETING_BYTES, Frame, FrameProtocol, Kind, MalformedFrame, frame_header
from streamb.serving.links.handshake import LinkAddress, is_proof, unavailable, welcome
from streamb.serving.links.wire import decode_batch, encode_error, encode_reply

_PROOF_S: Final = 2.0
_MAX_STRANGERS: Final = 64  # connections that have not proven themselves yet
_MAX_GATEWAYS: Final = 1024
_CANCEL_S: Final = 1.0
_MESSAGE_LENGTH: Final = 500


class LinkServer:
    """A replica's end: runs calls of all gateways, at most `max_calls` at once. Lives on one event loop.

    Args:
        predict: answers a batch.
        replica: the replica's name.
        secret: what a gateway must prove to know.
        max_calls: how many calls run at once; more are refused with `Unavailable`, which a gateway tries elsewhere.
    """

    def __init__(
        self, predict: Callable[[Batch], Awaitable[BatchReply]], *, replica: str, secret: bytes, max_calls: int = 64
    ) -> None:
        self._predict = predict
        self._replica = replica
        self._max_calls = max_calls
        self._secret = secret
        self._sides: set[_ServerSide] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._empty: asyncio.Future[None] | None = None  # there from `close` on

    async def start(self, host: str) -> LinkAddress:
        """Listen on a free port of `host`, an address under which gateways reach this machine.

        Raises:
            OSError: this machine has no such address.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _ServerSide(self), host, 0, backlog=128)
        name = self._server.sockets[0].getsockname()
        return LinkAddress(str(name[0]), int(name[1]), self._replica)

    async def close(self, drain_s: float) -> None:
        """Stop accepting, ask every gateway to leave, and return when all have left or after `drain_s` seconds.

        A gateway disconnects when its last call is answered, so no call answered in time is lost.
        """
        if self._server is not None:
            self._server.close()
        if self._empty is None:
            self._empty = asyncio.get_running_loop().create_future()
        for side in list(self._sides):
            side.say_goodbye()
        if self._sides and drain_s > 0:
            await asyncio.wait([self._empty], timeout=drain_s)
        for side in list(self._sides):
            side.hang_up()
        if tasks := list(self._running):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_S)

    @property
    def calls(self) -> int:
        """Number of calls that run now."""
        return len(self._running)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._empty is not None

    def arrived(self, side: _ServerSide) -> bool:
        """Register a new connection; returns False if there are too many."""
        strangers = sum(not other.known for other in self._sides)
        if self.closing or strangers >= _MAX_STRANGERS or len(self._sides) >= _MAX_GATEWAYS:
            return False
        self._sides.add(side)
        return True

    def left(self, side: _ServerSide) -> None:
        """Forget a connection. Its calls run to their end: a predicting thread cannot be stopped."""
        self._sides.discard(side)
        if not self._sides and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def admit(self, proof: bytes, nonce: bytes) -> bytes | None:
        """Return the welcome frame for a gateway; None if its proof is wrong."""
        return welcome(self._replica) if is_proof(proof, self._secret, nonce) else None

    def take(self, side: _ServerSide, frame: Frame) -> None:
        """Start one call, or refuse it."""
        if len(self._running) >= self._max_calls:
            busy = unavailable(self._replica, f"runs {self._max_calls} calls already")
            side.send(encode_error(frame.call, busy))
            return
        try:
            batch = decode_batch(frame.payload)
        except MalformedFrame as error:
            side.send(encode_error(frame.call, error))
            return
        task = asyncio.get_running_loop().create_task(self._run(side, frame.call, batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, side: _ServerSide, call: int, batch: Batch) -> None:
        try:
            data = encode_reply(call, await self._predict(batch))
        except asyncio.CancelledError:
            side.send(encode_error(call, unavailable(self._replica, "stopped the call")))
            raise
        except StreambError as error:
            data = encode_error(call, error)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:_MESSAGE_LENGTH]
            data = encode_error(call, ModelFailed(f"the model raised {reason}"))
        side.send(data)


class _ServerSide(FrameProtocol):
    """The replica's side of a connection to one gateway. Stops reading while the gateway does not read its answers."""

    def __init__(self, server: LinkServer) -> None:
        super().__init__()
        self._server = server
        self._nonce = secrets.token_bytes(GREETING_BYTES)
        self._timer: asyncio.TimerHandle | None = None
        self.known = False

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

    def say_goodbye(self) -> None:
        """Ask the gateway to make no more calls; an unauthenticated connection is closed."""
        if self.known:
            self.send(frame_header(0, Kind.GOAWAY, 0))
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
