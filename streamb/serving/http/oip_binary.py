"""The binary tensor extension of the Open Inference Protocol V2: JSON first, then the tensors' bytes one after another.

Numbers are little-endian and row-major; one of BF16 is the upper two bytes of the float32. Each element of a BYTES
tensor is its length (four bytes) and its UTF-8 text.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import BadRequest
from streamb.models.dtypes import bfloat16_from_bits
from streamb.serving.http.tensor_data import check_size, place, shaped
from streamb.serving.http.tensors import BF16, DTYPES, Tensor

_LENGTH = struct.Struct("<I")
_BITS: Final = np.dtype("<u2")  # of a BF16


class BinarySection:
    """The bytes after the JSON part, read in the order of the inputs."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._offset = 0

    def take(self, name: str, datatype: str, shape: tuple[int, ...], size: Any) -> Tensor:
        """Return the next `size` bytes as a tensor.

        Raises:
            BadRequest: `size` is not a valid size, exceeds the remaining bytes, or does not fill the shape.
        """
        left = len(self._data) - self._offset
        if type(size) is not int or not 0 <= size <= left:
            raise BadRequest(f'"binary_data_size" of input {name!r} is {size!r}, but {left} bytes are left of the body')
        chunk = self._data[self._offset : self._offset + size]
        self._offset += size
        values = _texts(name, chunk, shape) if datatype == "BYTES" else _numbers(name, chunk, datatype, shape)
        check_size(name, shape, values.size)
        return shaped(name, values, shape, datatype)

    def finish(self) -> None:
        """Raise `BadRequest` if bytes are left that belong to no input."""
        left = len(self._data) - self._offset
        if left:
            raise BadRequest(f'{left} bytes of the body belong to no input; check the "binary_data_size" of each')


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's elements in the extension's binary format."""
    if tensor.datatype != "BYTES":
        return tensor.values.tobytes()
    texts = [b"null" if value is None else str(value).encode() for value in tensor.values.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _numbers(name: str, chunk: memoryview, datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = _BITS if datatype == BF16 else DTYPES[datatype]
    if len(chunk) % dtype.itemsize:
        raise BadRequest(f"input {name!r} has {len(chunk)} bytes, not a multiple of the {dtype.itemsize} of {datatype}")
    values = np.frombuffer(chunk, dtype=dtype)
    if datatype == "BOOL":
        wrong = values.view(np.uint8) > 1
        if wrong.any():
            index = int(wrong.argmax())
            where = place(shape, index)
            raise BadRequest(f"input {name!r} has datatype BOOL, but {where} is the byte {chunk[index]}, not 0 or 1")
    return bfloat16_from_bits(values) if datatype == BF16 else values


def _texts(name: str, chunk: memoryview, shape: tuple[int, ...]) -> NDArray[Any]:
    texts: list[str] = []
    offset = 0
    while offset < len(chunk):
        if offset + 4 > len(chunk):
            raise BadRequest(f"input {name!r} ends inside the length of an element")
        (length,) = _LENGTH.unpack_from(chunk, offset)
        offset += 4
        if offset + length > len(chunk):
            raise BadRequest(f"input {name!r} ends inside an element of {length} bytes")
        try:
            texts.append(str(chunk[offset : offset + length], "utf-8"))
        except UnicodeDecodeError as error:
            where = place(shape, len(texts))
            raise BadRequest(f"input {name!r} has an element that is not UTF-8: {where}: {error}") from None
        offset += length
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    return values
