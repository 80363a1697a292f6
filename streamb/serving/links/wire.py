"""Encodes batches, replies and errors: arrays of numbers as raw bytes, the rest as MessagePack; no code is executed.

A payload is the length of its head, the head (MessagePack), and the arrays that the head describes, each at a multiple
of eight bytes. No object is ever built by name, so bytes can be wrong but never do anything.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamb.errors import BodyTooLarge, InvalidInput, ModelFailed, StreambError, error_classes
from streamb.models.named_outputs import named_array
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import MAX_PAYLOAD, Kind, MalformedFrame, frame_header

_T = TypeVar("_T")

_LENGTH: Final = struct.Struct("!I")
_ALIGN: Final = 8
_RAW: Final = "biufU"  # array kinds whose bytes are their values
_RAW_NAME: Final = re.compile(rf"[<>|][{_RAW}][0-9]{{1,9}}")
_OBJECTS: Final = "O"
_NAMED: Final = "V"  # several named outputs: each is described by itself
_BIG_INTEGER: Final = 1  # MessagePack extension: an integer beyond 64 bits, big-endian two's complement
_MAX_UNICODE: Final = 0x10FFFF
_CANNOT_PACK: Final = (TypeError, ValueError, OverflowError, RecursionError)
_BROKEN: Final = (TypeError, ValueError, OverflowError, IndexError, KeyError, RecursionError, struct.error)


def encode_batch(call: int, batch: Batch) -> bytes:
    """Return the frame of a call.

    Raises:
        InvalidInput: the rows hold a value that JSON does not have.
        BodyTooLarge: the payload would exceed `MAX_PAYLOAD`.
    """
    arrays: list[NDArray[Any]] = []
    try:
        rows = _describe(batch.rows, arrays) if isinstance(batch.rows, np.ndarray) else None
        head = [batch.counts, batch.probabilities, rows, None if rows is not None else batch.rows, batch.aside]
        parts, length = _payload(_pack(head), arrays)
    except _CANNOT_PACK as error:
        raise InvalidInput(f"the rows cannot be sent to the model: {error}") from error
    if length > MAX_PAYLOAD:
        raise BodyTooLarge(f"the rows take {length} bytes; a call carries at most {MAX_PAYLOAD}")
    return b"".join([frame_header(call, Kind.CALL, length), *parts])


def encode_reply(call: int, reply: BatchReply) -> bytes:
    """Return the frame of a reply.

    Raises:
        ModelFailed: the predictions have a type that cannot be sent, or are too many.
    """
    arrays: list[NDArray[Any]] = []
    try:
        predictions = _describe(reply.predictions, arrays)
        probabilities = None if reply.probabilities is None else _describe(reply.probabilities, arrays)
        errors = [[int(index), *_describe_error(error)] for index, error in reply.errors.items()]
        parts, length = _payload(_pack([predictions, probabilities, errors, list(reply.failed)]), arrays)
    except _CANNOT_PACK as error:
        raise ModelFailed(f"the model's answer cannot be sent: {error}") from error
    if length > MAX_PAYLOAD:
        raise ModelFailed(f"the model's answer takes {length} bytes; a reply carries at most {MAX_PAYLOAD}")
    return b"".join([frame_header(call, Kind.REPLY, length), *parts])


def encode_error(call: int, error: StreambError) -> bytes:
    """Return the frame with the error of a whole call; details that cannot be sent become text."""
    parts, length = _payload(_pack(_describe_error(error)), [])
    if length > MAX_PAYLOAD:
        parts, length = _payload(_pack([error.code, "the error is too large to be sent", {}]), [])
    return b"".join([frame_header(call, Kind.ERROR, length), *parts])


def decode_batch(payload: bytearray) -> Batch:
    """Return the batch in a call's payload; its array is a view of the payload.

    Raises:
        MalformedFrame: there is no batch in it.
    """
    return _decoded(payload, _batch_of, "batch")


def decode_reply(payload: bytearray) -> BatchReply:
    """Return the reply in a payload; its arrays are views of the payload.

    Raises:
        MalformedFrame: there is no reply in it.
    """
    return _decoded(payload, _reply_of, "reply")


def decode_error(payload: bytearray) -> StreambError:
    """Return the error in a payload, as the class with its code; `ModelFailed` if this build has no such class.

    Raises:
        MalformedFrame: there is no error in it.
    """
    return _decoded(payload, _error_of, "error")


# --- heads and arrays ---------------------------------------------------------------------------------------------


def _payload(head: bytes, arrays: Sequence[NDArray[Any]]) -> tuple[list[Any], int]:
    """Return the pieces of a payload, and their total length."""
    parts: list[Any] = [_LENGTH.pack(len(head)), head]
    length = _LENGTH.size + len(head)
    for array in arrays:
        gap = -length % _ALIGN
        parts += [bytes(gap), array]
        length += gap + array.nbytes
    return parts, length


def _describe(array: NDArray[Any], arrays: list[NDArray[Any]]) -> list[Any]:
    """Describe an array for the head; its bytes go into `arrays` unless it holds Python objects."""
    if array.dtype.names is not None:
        return [_NAMED, array.shape, [[name, _describe(array[name], arrays)] for name in array.dtype.names]]
    if array.dtype.kind == "O":
        return [_OBJECTS, array.shape, array.ravel().tolist()]
    if array.dtype.kind not in _RAW:
        raise TypeError(f"an array of {array.dtype} is neither numbers, booleans nor strings")
    if array.dtype.itemsize == 0:
        array = array.astype("<U1")  # numpy cannot read back strings of no width
    arrays.append(np.ascontiguousarray(array))
    return [array.dtype.str, array.shape]


class _Cursor:
    """Walks over the arrays of a payload."""

    def __init__(self, payload: bytearray, start: int) -> None:
        self._payload = payload
        self._at = start

    def array(self, said: Any) -> NDArray[Any]:
        name, shape = said[0], tuple(said[1])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("a shape is made of counts")
        count = math.prod(shape)
        if name == _NAMED:
            return _named(said[2], shape, self)
        if name == _OBJECTS:
            if type(said[2]) is not list or len(said[2]) != count:
                raise ValueError("the values do not fill the shape")
            return np.fromiter(said[2], dtype=np.object_, count=count).reshape(shape)
        dtype = _raw_dtype(name)
        start = self._at + -self._at % _ALIGN
        self._at = start + count * dtype.itemsize
        if self._at > len(self._payload):
            raise ValueError("the array's bytes are missing")
        if count == 0:
            return np.empty(shape, dtype)
        array: NDArray[Any] = np.frombuffer(self._payload, dtype, count, start)
        if dtype.kind == "U" and int(array.view(f"{dtype.byteorder}u4").max()) > _MAX_UNICODE:
            raise ValueError("the strings hold a number that is no character")
        return array.reshape(shape)

    def finish(self) -> None:
        if self._at != len(self._payload):
            raise ValueError("bytes are left over")


def _named(said: Any, shape: tuple[int, ...], cursor: _Cursor) -> NDArray[Any]:
    parts = {name: cursor.array(part) for name, part in said}
    if (
        len(shape) != 1
        or not parts
        or not all(type(name) is str and len(part) == shape[0] for name, part in parts.items())
    ):
        raise ValueError("named outputs have a name and one value per row")
    return named_array(parts, shape[0])


@lru_cache(maxsize=256)
def _raw_dtype(name: str) -> np.dtype[Any]:
    # The pattern first: what NumPy's own parser raises over other names is anybody's guess (a SyntaxError was seen).
    dtype = np.dtype(name) if _RAW_NAME.fullmatch(name) else None
    if dtype is None or dtype.str != name or dtype.itemsize == 0:
        raise ValueError(f"{name!r} is no type of numbers, booleans or strings")
    return dtype


def _decoded(payload: bytearray, build: Callable[[Any, _Cursor], _T], what: str) -> _T:
    try:
        (length,) = _LENGTH.unpack_from(payload)
        end = _LENGTH.size + length
        if end > len(payload):
            raise ValueError("the head is cut off")
        cursor = _Cursor(payload, end)
        built = build(_unpack(memoryview(payload)[_LENGTH.size : end]), cursor)
        cursor.finish()
    except _BROKEN as error:
        raise MalformedFrame(f"these bytes hold no {what}: {error}") from error
    return built


def _batch_of(head: Any, cursor: _Cursor) -> Batch:
    counts, probabilities, said, rows, *more = head
    if more not in ([], [False], [True]):
        raise ValueError("whether the rows are set aside is not told")
    aside = more == [True]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("the counts are no counts")
    asked = tuple(probabilities)
    if asked and (len(asked) != len(counts) or not {bool}.issuperset(map(type, asked))):
        raise ValueError("who asked for probabilities is not told for each request")
    if said is not None:
        return Batch(cursor.array(said), tuple(counts), asked, aside)
    if type(rows) is not list:
        raise ValueError("the rows are no list")
    return Batch(rows, tuple(counts), asked, aside)


def _reply_of(head: Any, cursor: _Cursor) -> BatchReply:
    said, chances, listed, failed = head
    if not {int}.issuperset(map(type, failed)):
        raise ValueError("rows are named by their index")
    predictions = cursor.array(said)
    probabilities = None if chances is None else cursor.array(chances)
    if probabilities is not None and probabilities.dtype.kind not in "fiubO":
        raise ValueError("probabilities are numbers, or lists of them")
    errors: dict[int, StreambError] = {}
    for index, *error in listed:
        if type(index) is not int:
            raise ValueError("an error belongs to a request by its index")
        errors[index] = _error_of(error, cursor)
    return BatchReply(predictions, probabilities, errors, failed)


# --- errors and values --------------------------------------------------------------------------------------------


def _describe_error(error: StreambError) -> list[Any]:
    details = {str(name): _sendable(value) for name, value in error.details.items()}
    return [error.code, str(error.message), details]


def _error_of(head: Any, _cursor: _Cursor) -> StreambError:
    code, message, details = head
    if not (type(code) is str and type(message) is str and type(details) is dict):
        raise ValueError("an error is a code, a message and details")
    error = error_classes().get(code, ModelFailed)(message)
    error.details.update((str(name), value) for name, value in details.items())
    return error


def _sendable(value: Any) -> Any:
    """Return `value` if MessagePack can carry it unchanged, else `str(value)`."""
    try:
        _unpack(_pack(value))
    except _CANNOT_PACK:
        try:
            return str(value)
        except BaseException:  # a foreign class's own fault must not hide the error it describes
            return f"<{type(value).__name__}>"
    return value


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_extend, unicode_errors="surrogatepass")
    return packed


def _unpack(data: Any) -> Any:
    # Keys other than strings are fine: who writes here has proven to be of this platform.
    return msgpack.unpackb(data, ext_hook=_extension, strict_map_key=False, unicode_errors="surrogatepass")


def _extend(value: Any) -> Any:
    """What MessagePack does not know: numpy's scalars and integers beyond 64 bits."""
    if isinstance(value, np.bool_ | np.number):
        plain = value.item()
        return float(plain) if isinstance(plain, np.floating) else plain
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise TypeError(f"a value of type {type(value).__name__} is no JSON value")


def _extension(number: int, data: bytes) -> Any:
    if number != _BIG_INTEGER:
        raise ValueError(f"the extension {number} is not known")
    return int.from_bytes(data, "big", signed=True)
