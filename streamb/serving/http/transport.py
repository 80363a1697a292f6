"""The listener's transport: joins writes, and lingers where the body of a refused request is still coming."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

_FLUSH_BYTES: Final = 64 * 1024
"""More bytes than this are passed on at once, so that flow control sees them."""

_HEAD_END: Final = b"\r\n\r\n"
_LINGER_S: Final = 3.0
_LINGER_BYTES: Final = 256 * 1024 * 1024
"""How long (seconds), and how many bytes of, a refused body is discarded before the connection is closed."""


class CorkedTransport:
    """A transport that joins the writes of one turn of the event loop, and that lingers where a body is still coming.

    Closing a socket with unread bytes resets the connection, and the reset may overtake the reply that says why. So
    while a refused body is still being sent, only the writing side is closed; what comes is dropped for a while.

    Attributes:
        lines: header lines, each with its line end, that are added to the next head that is written.
    """

    __slots__ = (
        "_body_is_coming",
        "_dropped",
        "_loop",
        "_parts",
        "_real",
        "_size",
        "lines",
        "lingers",
        "pause_reading",
    )

    def __init__(
        self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop, body_is_coming: Callable[[], bool]
    ) -> None:
        self._real = real
        self._loop = loop
        self._body_is_coming = body_is_coming
        self._parts: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self.lines = b""
        self.lingers = False
        self.pause_reading = real.pause_reading

    def write(self, data: bytes) -> None:
        """Write `data` together with everything else written in this turn of the event loop."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        if self.lines and data.endswith(_HEAD_END):
            data, self.lines = data[:-2] + self.lines + b"\r\n", b""
        self._parts.append(data)
        self._size += len(data)
        if self._size > _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Pass everything on now."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            if not self._real.is_closing():  # the client may have gone since
                self._real.write(b"".join(parts))

    def close(self) -> None:
        """Close after the pending data; a second call does not linger."""
        self.flush()
        if self.lingers or self._real.is_closing() or not self._body_is_coming():
            self._real.close()
            return
        self.lingers = True
        if self._real.can_write_eof():
            with contextlib.suppress(OSError):  # the client reset the connection
                self._real.write_eof()
        self._real.resume_reading()
        self._loop.call_later(_LINGER_S, self._real.close)

    def drop(self, data: bytes) -> None:
        """Discard data that arrives while the transport lingers."""
        self._dropped += len(data)
        if self._dropped > _LINGER_BYTES:
            self._real.close()

    def is_closing(self) -> bool:
        """Whether nothing more will be written."""
        return self.lingers or self._real.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
