"""Bodies with a Content-Encoding: unpacked in pieces, so that one that grows without end costs little."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from streamb.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from streamb.serving.http.receive import SMALL_BODY

Reader: TypeAlias = Callable[[], bytes]
"""Returns the next piece of an unpacked body, at most `_PIECE` bytes; b"" at its end."""

_PIECE: Final = 256 * 1024
_INPUT: Final = 64 * 1024
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def coding_of(header: bytes | None) -> str | None:
    """Return how a body is compressed, by the value of its Content-Encoding; None if it is not.

    Raises:
        UnsupportedMediaType: it is compressed in another way, or more than once.
    """
    coding = "" if header is None else header.decode("latin-1").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in _READERS:
        return coding
    why = "a body is compressed at most once" if "," in coding else f"not {coding[:50]!r}"
    raise UnsupportedMediaType(f"Content-Encoding must be gzip, deflate, zstd or identity: {why}")


async def unpack(body: bytes, coding: str, *, limit: int, hold: Callable[[int], None]) -> bytes:
    """Return the unpacked body.

    Args:
        body: the body as it was sent.
        coding: what `coding_of` returned.
        limit: the largest size of the unpacked body, in bytes.
        hold: called with the number of bytes in memory, packed and unpacked together, as they grow; may raise.

    Raises:
        BodyTooLarge: it grows past the limit; not much more than that was unpacked.
        BadRequest: it is broken, ends too early, or goes on after its end.
    """
    apart = len(body) > SMALL_BODY or coding == "zstd"  # the first zstd imports what it needs
    read = await asyncio.to_thread(_READERS[coding], body) if apart else _READERS[coding](body)
    unpacked = bytearray()
    while piece := await _next(read, coding, apart=apart):
        unpacked += piece
        if len(unpacked) > limit:
            raise BodyTooLarge(
                f"the body is larger than {limit} bytes when it is unpacked; send fewer rows at once", limit_bytes=limit
            )
        if len(body) + len(unpacked) > SMALL_BODY:
            hold(len(body) + len(unpacked))
        apart = True  # large bodies are unpacked in a thread, and others are answered meanwhile
    if len(body) + len(unpacked) > SMALL_BODY:
        hold(len(unpacked))
    return bytes(unpacked)


async def _next(read: Reader, coding: str, *, apart: bool) -> bytes:
    try:
        return await asyncio.to_thread(read) if apart else read()
    except (zlib.error, OSError, EOFError, ValueError) as error:
        raise BadRequest(f"the body cannot be unpacked as {coding}: {error}") from None


def _gzip(body: bytes) -> Reader:
    return _inflated(body, _GZIP)


def _deflate(body: bytes) -> Reader:
    """A body of Content-Encoding deflate: zlib's format, or without its header, as some clients send it."""
    has_header = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return _inflated(body, _ZLIB if has_header else _RAW)


def _inflated(body: bytes, window_bits: int) -> Reader:
    inflate = zlib.decompressobj(window_bits)
    pieces = iter([body[start : start + _INPUT] for start in range(0, len(body), _INPUT)])
    pending = b""

    def read() -> bytes:
        nonlocal pending
        while not inflate.eof:
            more = pending or next(pieces, None)
            piece = inflate.decompress(more or b"", _PIECE)
            pending = inflate.unconsumed_tail
            if piece:
                return piece
            if more is None and not inflate.eof:
                raise EOFError("it ends too early")
        if inflate.unused_data or pending or next(pieces, None) is not None:
            raise ValueError("something follows its end")
        return b""

    return read


def _zstd(body: bytes) -> Reader:
    import pyarrow as pa  # pyarrow has zstd; it is imported only by a gateway that gets such bodies

    stream = pa.CompressedInputStream(pa.BufferReader(body), "zstd")

    def read() -> bytes:
        return bytes(stream.read(_PIECE))

    return read


_READERS: Final[Mapping[str, Callable[[bytes], Reader]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
