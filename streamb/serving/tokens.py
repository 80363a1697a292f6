"""Request ids that carry their own record: a signed token holds what feedback needs weeks later, on any gateway.

The layout, in base64url without padding (little-endian; `sbt1` is how every token begins):

    mark (3) | task (1) | length of version (1) | version | time (4) | number (8) | unit (8) | caller (0 or 8) |
    predictions | tag (16)

The tag is HMAC-SHA256 over the model's id and all that stands before it, cut to 16 bytes: a token that was changed, or
that belongs to another model, is not valid. Unit and caller are keyed hashes, so that a token does not reveal a user's
id. The highest bit of the task says that the answer is no evidence, and the next one that the caller had a key, and
follows.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from itertools import count
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamb.models.outputs import Answer

MARK: Final = "sbt1"
"""How every token begins. The last digit is the version of the layout."""

MAX_ROWS: Final = 16
"""The most rows whose predictions a token carries."""

_MAX_PACKED: Final = 255
_MARK_BYTES: Final = a2b_base64(MARK.encode())
_KEY_BYTES, _TAG_BYTES, _BLOCK_BYTES = 32, 16, 64
_TASKS: Final = ("other", "classification", "regression")
_TAIL: Final = Struct("<IQQ")
_CALLER: Final = Struct("<Q")
_ASIDE, _KEYED = 0x80, 0x40
_HEAD_BYTES: Final = len(_MARK_BYTES) + 2
_SHORTEST: Final = _HEAD_BYTES + _TAIL.size + _TAG_BYTES
_LONGEST: Final = _SHORTEST + 8 + 255 + _MAX_PACKED
_MAX_HEADS: Final = 4096
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")
_NAMES: Final = ("?", "<i1", "<u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_DTYPES: Final = tuple(np.dtype(name) for name in _NAMES)
_CODES: Final = {dtype: code for code, dtype in enumerate(_DTYPES)}
_TEXTS: Final = len(_DTYPES)
"""Code for string predictions, each preceded by its length. Other predictions are the bytes of an array."""


def new_key() -> bytes:
    """Return a new key for `GatewayPolicy.token_key`. Keep it: without it, no earlier request id can be read."""
    return secrets.token_bytes(_KEY_BYTES)


class Record(NamedTuple):
    """The record of one answered request.

    Attributes:
        task: the task of the version that answered, which says what its predictions mean.
        at: time of the answer, in seconds since the Unix epoch.
        unit: keyed hash of the user or other unit; 0 if none was named.
        packed: the predictions, encoded by `pack`.
        caller: keyed hash of the principal that asked; 0 for all who brought no key.
        aside: whether the request named its version, so that the answer is no evidence.
    """

    version: str
    task: str
    at: int
    unit: int
    packed: bytes
    caller: int = 0
    aside: bool = False


class TokenSigner:
    """Makes and reads tokens under one key. Belongs to one event loop.

    HMAC hashes the key, twice, before each message. Here that, and what is the same for all requests of a version, is
    hashed once and copied for each token: a third of the time.
    """

    def __init__(self, key: bytes) -> None:
        signing = hmac.digest(key, b"streamb request token: tag", "sha256").ljust(_BLOCK_BYTES, b"\0")
        self.key = key
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in signing))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in signing))
        self._units = hashlib.blake2b(digest_size=8, key=hmac.digest(key, b"streamb request token: unit", "sha256"))
        self._numbers = count(int.from_bytes(os.urandom(7)))
        self._heads: dict[tuple[str, str, str, int], tuple[bytes, Any]] = {}
        self._callers: dict[str, int] = {}

    def sign(
        self,
        model_id: str,
        version: str,
        task: str,
        unit: str,
        at: float,
        packed: bytes,
        *,
        caller: str = "",
        aside: bool = False,
    ) -> str:
        """Return the token of an answered request; unique even for identical records.

        Args:
            model_id: the model.
            version: the version that answered.
            task: its task.
            unit: the user or other unit; "" if none was named.
            at: the time of the answer, in seconds since the Unix epoch.
            packed: the predictions, encoded by `pack`.
            caller: the principal that asked; "" without a key.
            aside: whether the answer is no evidence.
        """
        key = (model_id, version, task, (_ASIDE if aside else 0) | (_KEYED if caller else 0))
        head, inner = self._heads.get(key) or self._head(key)
        if caller:
            packed = _CALLER.pack(self.caller(caller)) + packed
        tail = _TAIL.pack(int(at), next(self._numbers), self._unit(unit) if unit else 0) + packed
        token = head + tail + self._tag(inner, tail)
        return b2a_base64(token, newline=False).translate(_TO_URL, b"=").decode("ascii")

    def read(self, model_id: str, token: str) -> Record | None:
        """Return the record in a token of this model; None for anything else."""
        raw = _decode(token)
        if raw is None:
            return None
        start = _HEAD_BYTES + raw[_HEAD_BYTES - 1]
        head, tail = raw[:start], raw[start:-_TAG_BYTES]
        if len(tail) < _TAIL.size:
            return None
        tag = self._tag(self._began(model_id, head), tail)
        if not hmac.compare_digest(tag, raw[-_TAG_BYTES:]):
            return None
        at, _, unit = _TAIL.unpack_from(tail)
        flags, packed, caller = head[_HEAD_BYTES - 2], tail[_TAIL.size :], 0
        if flags & _KEYED:
            (caller,), packed = _CALLER.unpack_from(packed), packed[_CALLER.size :]
        task = _TASKS[flags & ~(_ASIDE | _KEYED)]
        return Record(head[_HEAD_BYTES:].decode(), task, at, unit, packed, caller, bool(flags & _ASIDE))

    def caller(self, name: str) -> int:
        """Return the keyed hash of a principal's name; 0 for ""."""
        if not name:
            return 0
        known = self._callers.get(name)
        if known is None:
            if len(self._callers) >= _MAX_HEADS:
                self._callers.clear()
            known = self._callers[name] = self._unit(f"caller: {name}")
        return known

    def _unit(self, unit: str) -> int:
        state = self._units.copy()
        state.update(unit.encode())
        return int.from_bytes(state.digest()) or 1

    def _head(self, key: tuple[str, str, str, int]) -> tuple[bytes, Any]:
        """The shared beginning of all tokens of a version, and its hash."""
        model_id, version, task, flags = key
        named, number = version.encode(), _TASKS.index(task) if task in _TASKS else 0
        head = _MARK_BYTES + bytes((number | flags, len(named))) + named
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        made = self._heads[key] = head, self._began(model_id, head)
        return made

    def _began(self, model_id: str, head: bytes) -> Any:
        state = self._inner.copy()
        model = model_id.encode()
        state.update(len(model).to_bytes(2) + model + head)
        return state

    def _tag(self, inner: Any, tail: bytes) -> bytes:
        state, outer = inner.copy(), self._outer.copy()
        state.update(tail)
        outer.update(state.digest())
        tag: bytes = outer.digest()[:_TAG_BYTES]
        return tag


def _decode(token: str) -> bytes | None:
    """Decode a token to bytes; None if it is not in the one valid form (others differ in unused bits)."""
    if not token.startswith(MARK) or not token.isascii() or len(token) > _LONGEST * 4 // 3 + 3:
        return None
    text = token.encode()
    try:
        raw = a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4), strict_mode=True)
    except Base64Error:
        return None
    again = b2a_base64(raw, newline=False).translate(_TO_URL, b"=")
    return raw if len(raw) >= _SHORTEST and again == text else None


# --- predictions --------------------------------------------------------------------------------------------------


def known(answer: Answer) -> NDArray[Any]:
    """Return the predictions of an answer, with NaN, or None beside other values, for the rows that failed."""
    if not answer.failed:
        return answer.predictions
    numbers = answer.predictions.dtype.kind == "f"
    predictions = answer.predictions.copy() if numbers else answer.predictions.astype(np.object_)
    predictions[list(answer.failed)] = np.nan if numbers else None
    return predictions


def pack(predictions: NDArray[Any]) -> bytes:
    """Encode predictions compactly; b"" for more than 16 rows, long strings, or not exactly one value per row.

    >>> unpack(pack(np.array([1.5, -2.0])))
    [1.5, -2.0]
    >>> unpack(pack(np.array(["setosa"])))
    ['setosa']
    >>> pack(np.zeros(17))
    b''
    """
    rows = len(predictions)
    if rows > MAX_ROWS or predictions.size != rows:
        return b""
    code = _CODES.get(predictions.dtype)
    if code is None:
        return _pack_values(predictions.ravel().tolist())
    return bytes((code, rows)) + predictions.tobytes()


def unpack(packed: bytes) -> list[Any] | None:
    """Decode packed predictions: booleans, numbers or strings. None if there were too many to carry."""
    if not packed:
        return None
    code, rows, content = packed[0], packed[1], packed[2:]
    if code != _TEXTS:
        values: list[Any] = np.frombuffer(content, _DTYPES[code], rows).tolist()
        return values
    texts, start = [], 0
    for _ in range(rows):
        end = start + 1 + content[start]
        texts.append(content[start + 1 : end].decode())
        start = end
    return texts


def _pack_values(values: list[Any]) -> bytes:
    """Encode an array of another type: strings, objects, and numbers of unusual types."""
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return _pack_texts(values)
    if not kinds or not kinds <= {bool, int, float}:
        return b""
    array = np.array(values)
    code = _CODES.get(array.dtype)
    return b"" if code is None else bytes((code, len(values))) + array.tobytes()


def _pack_texts(texts: list[str]) -> bytes:
    packed = bytes((_TEXTS, len(texts)))
    try:
        for text in texts:
            encoded = text.encode()
            packed += bytes((len(encoded),)) + encoded
    except ValueError:  # half of a surrogate pair, or too long for a one-byte length
        return b""
    return packed if len(packed) <= _MAX_PACKED else b""
