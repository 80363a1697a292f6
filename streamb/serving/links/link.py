"""A direct link from a gateway to a replica: one socket for many calls at once, answered in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from streamb.errors import Unavailable
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import MAX_PAYLOAD, Frame, FrameProtocol, Kind, MalformedFrame, frame_header
from streamb.serving.links.handshake import LinkAddress, is_welcome, prove, unavailable
from streamb.serving.links.server import LinkServer
from streamb.serving.links.wire import decode_error, decode_reply, encode_batch

__all__ = ["Link", "LinkAddress", "LinkServer"]

_MAX_PENDING: Final = 256
_MAX_UNSENT: Final = MAX_PAYLOAD


class Link:
    """A gateway's end: one connection to one replica. Made by `connect`; lives on one event loop.

    Attributes:
        address: the replica it leads to.
        trouble: why the replica asked to end the link; "" if it did not, or just stops.
    """

    def __init__(self, address: LinkAddress, secret: bytes, on_lost: Callable[[Link], None]) -> None:
        self.address = address
        self._secret = secret
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._side = _ClientSide(self)
        self._calls: dict[int, asyncio.Future[BatchReply]] = {}
        self._abandoned: set[int] = set()
        self._last = 0
        self._usable = False
        self._made = False  # whether `connect` has returned it
        self._closed = False
        self.trouble = ""

    @classmethod
    async def connect(
        cls, address: LinkAddress, secret: bytes, *, timeout_s: float = 2.0, on_lost: Callable[[Link], None]
    ) -> Link:
        """Connect, and prove that this gateway may call.

        Args:
            address: the replica.
            secret: the replica's secret.
            timeout_s: time limit for all of it, in seconds.
            on_lost: called once when the connection ended other than by `close`: the replica died or was unreachable,
                or it asked to end the link and every call has been answered.

        Raises:
            Unavailable: nothing answers at the address, or not the replica that it names.
        """
        link = cls(address, secret, on_lost)
        try:
            async with asyncio.timeout(timeout_s):
                await link._loop.create_connection(lambda: link._side, address.host, address.port)
                await link._ready
            if not link._usable:  # closed by the replica, or lost, just after it was made
                raise link._unavailable("takes no more calls")
            link._made = True
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {timeout_s:g} s"
            raise link._unavailable(f"cannot be reached: {reason}") from error
        finally:
            if not link._made:
                link.close()
        return link

    @property
    def pending(self) -> int:
        """Number of calls that wait for their answer."""
        return len(self._calls)

    @property
    def load(self) -> int:
        """Number of calls that the replica has not answered, including abandoned ones: it answers these as well."""
        return len(self._calls) + len(self._abandoned)

    @property
    def usable(self) -> bool:
        """Whether calls may be made: not after `close`, a lost connection, or the replica's request to end the link."""
        return self._usable

    def call(self, batch: Batch) -> asyncio.Future[BatchReply]:
        """Send a batch. Cancelling the future forgets the call; the replica does not begin it then.

        The future fails with the replica's `StreambError`, or with `Unavailable` when the connection is lost first.

        Raises:
            Unavailable: the link is not usable, too many calls are pending, or the replica reads too slowly.
            InvalidInput: the rows hold a value that JSON does not have.
            BodyTooLarge: the rows are too large for a frame.
        """
        if not self._usable:
            raise self._unavailable("takes no more calls")
        if self.load >= _MAX_PENDING:
            raise self._unavailable(f"has {_MAX_PENDING} calls of this gateway to answer")
        if self._side.unsent > _MAX_UNSENT:
            raise self._unavailable(f"is more than {_MAX_UNSENT} bytes behind in reading")
        self._last += 1
        data = encode_batch(self._last, batch)
        future: asyncio.Future[BatchReply] = self._loop.create_future()
        self._calls[self._last] = future
        future.add_done_callback(partial(self._forget, self._last))
        self._side.send(data)
        return future

    def close(self) -> None:
        """Close the connection; pending calls fail with `Unavailable`."""
        self._closed = True
        self._usable = False
        self._ready.cancel()
        self._side.hang_up()
        self._fail_all("was disconnected")

    def greeted(self, frame: Frame) -> None:
        """Answer the replica's random number with the proof."""
        self._side.send(prove(self._secret, bytes(frame.payload)))

    def welcomed(self, frame: Frame) -> None:
        """Check the replica's welcome; from now on the link is usable."""
        if self._ready.done():
            return
        if not is_welcome(frame.payload, self.address.replica):
            self._ready.set_exception(self._unavailable("is another replica, or of another release"))
            return
        self._usable = True
        self._ready.set_result(None)

    def answered(self, frame: Frame) -> None:
        """Deliver an answer to its caller; that of an abandoned call is discarded."""
        self._abandoned.discard(frame.call)
        future = self._calls.pop(frame.call, None)
        if future is None or future.done():
            return
        try:
            if frame.kind is Kind.REPLY:
                future.set_result(decode_reply(frame.payload))
            else:
                future.set_exception(decode_error(frame.payload))
        except MalformedFrame as error:
            future.set_exception(self._unavailable(f"sent an unreadable answer: {error.message}"))

    def told_to_go(self, frame: Frame) -> None:
        """Make no more calls, and close the connection when the last one is answered."""
        self._usable = False
        self.trouble = frame.payload.decode("utf-8", "replace")
        self._leave_when_done()

    def lost(self) -> None:
        """Handle the end of the connection."""
        self._usable = False
        if not self._ready.done():
            self._ready.set_exception(self._unavailable("refused the connection, or went away"))
        self._fail_all("was lost before it answered")
        if self._made and not self._closed:
            self._closed = True
            self._on_lost(self)

    def _forget(self, call: int, future: asyncio.Future[BatchReply]) -> None:
        if self._calls.pop(call, None) is not None and future.cancelled():
            self._abandoned.add(call)
            self._side.send(frame_header(call, Kind.CANCEL, 0))
        self._leave_when_done()

    def _leave_when_done(self) -> None:
        if not self._usable and not self._calls and not self._side.closed:
            self._side.hang_up()

    def _fail_all(self, why: str) -> None:
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(self._unavailable(why))

    def _unavailable(self, why: str) -> Unavailable:
        return unavailable(self.address.replica, why)


class _ClientSide(FrameProtocol):
    """The gateway's side of a connection to one replica."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def on_frame(self, frame: Frame) -> None:
        if frame.kind is Kind.REPLY or frame.kind is Kind.ERROR:
            self._link.answered(frame)
        elif frame.kind is Kind.GREETING:
            self._link.greeted(frame)
        elif frame.kind is Kind.WELCOME:
            self._link.welcomed(frame)
        elif frame.kind is Kind.GOAWAY:
            self._link.told_to_go(frame)
        else:
            raise MalformedFrame(f"a replica does not send {frame.kind.name}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._link.lost()
