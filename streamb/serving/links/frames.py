"""The frames sent between a gateway and a replica: call number, kind and payload, read from a byte stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, cast

from streamb.errors import StreambError

MAX_PAYLOAD: Final = 256 * 2**20
GREETING_BYTES: Final = 32
"""Size of the first message of either side: the server sends a random number, the client its proof for it."""

_HEADER: Final = struct.Struct("!QBI")
_BUFFER_BYTES: Final = 64 * 1024
_USER_TIMEOUT_S: Final = 5
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


class MalformedFrame(StreambError):
    """Bytes between a gateway and a replica are not a valid frame, or a frame holds no valid batch, reply or error."""

    status, code = 502, "malformed_frame"


class Kind(IntEnum):
    """The kind of a frame's payload."""

    GREETING = 0  # never on the wire: `FrameReader` names the bytes before the first frame so
    WELCOME = 1
    CALL = 2
    REPLY = 3
    ERROR = 4
    GOAWAY = 5  # the payload says why, if the replica is in trouble
    CANCEL = 6  # nobody waits for the call any more


_KINDS: Final = {int(kind): kind for kind in Kind if kind is not Kind.GREETING}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        call: the number of its call; 0 if it belongs to none.
        kind: the kind of the payload.
        payload: memory that belongs to the frame alone, so that arrays may look into it without a copy and be written.
    """

    call: int
    kind: Kind
    payload: bytearray


def frame_header(call: int, kind: Kind, length: int) -> bytes:
    """Return the header of a frame with a payload of `length` bytes."""
    return _HEADER.pack(call, kind, length)


def read_frame(source: socket.socket, left: Callable[[], float] | None = None) -> Frame | None:
    """Read one frame from a blocking socket; returns None if the other side has closed it.

    Args:
        source: the socket.
        left: how many seconds the whole frame may still take; None: any number.

    Raises:
        TimeoutError: it took too long.
        MalformedFrame: what was sent is no frame.
        OSError: the connection broke.
    """
    header = _read(source, _HEADER.size, left)
    if header is None:
        return None
    call, kind, length = _HEADER.unpack(header)
    if kind not in _KINDS or length > MAX_PAYLOAD:
        raise MalformedFrame("the header of a frame is not valid")
    payload = _read(source, length, left)
    return None if payload is None else Frame(call, _KINDS[kind], payload)


def _read(source: socket.socket, count: int, left: Callable[[], float] | None) -> bytearray | None:
    content = bytearray(count)
    room = memoryview(content)
    while room:
        if left is not None:
            seconds = left()
            if seconds <= 0:
                raise TimeoutError
            source.settimeout(seconds)
        received = source.recv_into(room)
        if not received:
            return None
        room = room[received:]
    return content


class FrameReader:
    """Splits a stream into a greeting and frames. Each byte is copied at most twice, however the stream is split.

    Small frames are received in one fixed buffer. A frame that does not fit gets its own memory once its header has
    arrived, and the rest is received directly into it.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._end = 0
        self._greeted = False
        self._large: Frame | None = None
        self._room: memoryview | None = None  # the rest of the large frame that is being received

    def space(self) -> memoryview:
        """Return the memory for the next bytes; never empty."""
        return self._view[self._end :] if self._room is None else self._room

    def received(self, count: int) -> list[Frame]:
        """Take the `count` bytes that were written at `space()`; return the frames that are now complete.

        Raises:
            MalformedFrame: the header is invalid, so the rest of the stream cannot be read.
        """
        if self._room is None:
            self._end += count
            return self._cut()
        self._room = self._room[count:]
        if len(self._room) or self._large is None:
            return []
        frame, self._large, self._room = self._large, None, None
        return [frame]

    def _cut(self) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        if not self._greeted:
            if self._end < GREETING_BYTES:
                return frames
            self._greeted, start = True, GREETING_BYTES
            frames.append(Frame(0, Kind.GREETING, self._buffer[:GREETING_BYTES]))
        while self._end - start >= _HEADER.size:
            call, number, length = _HEADER.unpack_from(self._buffer, start)
            kind = _KINDS.get(number)
            if kind is None or length > MAX_PAYLOAD:
                raise MalformedFrame(f"a frame of kind {number} with {length} bytes does not exist")
            body = start + _HEADER.size
            if self._end - body >= length:
                start = body + length
                frames.append(Frame(call, kind, self._buffer[body:start]))
                continue
            if _HEADER.size + length > _BUFFER_BYTES:
                self._open_large(call, kind, length, body)
                return frames
            break
        if start:  # an unfinished frame moves to the front once, when the frames before it are done
            rest = self._end - start
            self._view[:rest] = self._view[start : self._end]
            self._end = rest
        return frames

    def _open_large(self, call: int, kind: Kind, length: int, body: int) -> None:
        payload = bytearray(length)
        there = self._end - body
        room = memoryview(payload)
        room[:there] = self._view[body : self._end]
        self._large, self._room, self._end = Frame(call, kind, payload), room[there:], 0


class FrameProtocol(asyncio.BufferedProtocol):
    """One end of a connection: splits bytes into frames, and closes the connection on an invalid stream."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._socket: asyncio.Transport | None = None
        self.paused = False

    def on_frame(self, frame: Frame) -> None:
        """Handle one frame; raising `MalformedFrame` closes the connection."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether the connection is closed for sending."""
        return self._socket is None or self._socket.is_closing()

    @property
    def unsent(self) -> int:
        """Number of bytes that wait because the other side does not read."""
        return self._socket.get_write_buffer_size() if self.paused and self._socket is not None else 0

    def send(self, data: bytes) -> None:
        """Write whole frames at once; does nothing on a closed connection."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def hang_up(self, *, flush: bool = False) -> None:
        """Close the connection: at once, or with `flush` after the pending data was sent."""
        if self._socket is not None:
            (self._socket.close if flush else self._socket.abort)()

    def listen(self, *, on: bool) -> None:
        """Stop or resume reading, so that a peer that does not read answers cannot send more calls."""
        if self._socket is not None and not self._socket.is_closing():
            (self._socket.resume_reading if on else self._socket.pause_reading)()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from asyncio's
        found = transport.get_extra_info("socket")
        if found is not None:
            tune_socket(found)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's hint is no more than that
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for frame in self._reader.received(nbytes):
                if self.closed:  # an earlier frame ended the connection
                    return
                self.on_frame(frame)
        except MalformedFrame:
            self.hang_up()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


def tune_socket(found: socket.socket, *, patience_s: int = _USER_TIMEOUT_S) -> None:
    """Send without delay, and notice within `patience_s` seconds that the other machine is gone or reads nothing."""
    options = [(socket.IPPROTO_TCP, "TCP_NODELAY", 1), (socket.SOL_SOCKET, "SO_KEEPALIVE", 1)]
    options += [(socket.IPPROTO_TCP, name, value) for name, value in _KEEPALIVE]
    options.append((socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", patience_s * 1000))
    for level, name, value in options:
        number = getattr(socket, name, None)  # not every platform has each of them
        if number is not None:
            with contextlib.suppress(OSError):
                found.setsockopt(level, number, value)
