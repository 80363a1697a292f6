"""The types shared by codecs and batcher: the rows of a request, the origin of its answer, and a codec's interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamb.models.columns.casting import as_floats, is_exact
from streamb.models.outputs import Answer
from streamb.models.schema import FeatureSchema
from streamb.serving.outputs import UNKNOWN_OUTPUTS, VersionOutputs

_DIRECT: Final = frozenset("?bBhHiIlLqQfd")

Rows: TypeAlias = NDArray[Any] | list[Any]
"""Checked rows: an array with one row per entry of the first axis, or a list of rows. See `Batch.rows`."""


class Origin(NamedTuple):  # a tuple, like the next one: one is made for every request
    """The origin of an answer, as the reply names it: model, version and request id.

    Attributes:
        outputs: the version's outputs, and the class labels.
    """

    model_id: str
    version: str
    request_id: str
    outputs: VersionOutputs = UNKNOWN_OUTPUTS


class Encoded(NamedTuple):
    """A body, and the headers that describe it."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


JSON_HEADERS: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]


class InferenceRequest(Protocol):
    """A decoded body, in whichever format it came."""

    @property
    def user_id(self) -> str:
        """The sticky unit named in the body; "" if there is none."""
        ...

    @property
    def takes_not_finite(self) -> bool:
        """Whether the reply can hold numbers that are not finite (NaN and infinity)."""
        ...

    @property
    def client_id(self) -> str:
        """The request's own "id" in the body; "" if it has none."""
        ...

    @property
    def row_count(self) -> int:
        """The number of rows, known before they are checked."""
        ...

    def rows(self, schema: FeatureSchema | None) -> Rows:
        """Return the rows, checked against the schema; raises `InvalidFeatures`, which names every problem."""
        ...

    def asks_probabilities(self, outputs: VersionOutputs) -> bool:
        """Return whether the body asks for the class probabilities of a version.

        Args:
            outputs: the outputs of that version.

        Raises:
            UnknownOutput: the body asks for an output that the version does not have.
        """
        ...

    def encode(self, answer: Answer, origin: Origin) -> Encoded:
        """Return the reply's body, in the format of the request."""
        ...


def jsonable(array: NDArray[Any]) -> Any:
    """Return what orjson (with OPT_SERIALIZE_NUMPY) writes fastest: the array itself where it can, else lists."""
    dtype = array.dtype
    direct = dtype.char in _DIRECT and dtype.isnative and array.flags.c_contiguous
    return array if direct else array.tolist()


def untyped_rows(rows: list[Any]) -> Rows:
    """Return rows for a model without a schema: an array if they are numbers or a rectangle of them, else the list.

    A rectangle has float64, or whole numbers where a float64 would change them. Where no array holds all of them
    exactly, as whole numbers beyond 2**53 beside fractions, they stay a list.

    >>> untyped_rows([[1, 2], [3, 4.5]]).tolist()
    [[1.0, 2.0], [3.0, 4.5]]
    >>> untyped_rows([[1, "a"]])
    [[1, 'a']]
    """
    try:
        array = np.asarray(rows)
    except (ValueError, OverflowError):  # ragged
        return rows
    if array.dtype.kind not in "biuf" or not array.ndim:
        return rows
    if array.dtype.kind == "f" and not is_exact(array, leaves(rows, array.ndim)):
        return _wide(rows, array.ndim)
    return as_floats(array) if array.ndim > 1 else array


def _wide(rows: list[Any], depth: int) -> Rows:
    """Whole numbers that no float64 holds, as uint64 if all of them are such; else the rows as they are."""
    if all(type(value) is int and value >= 0 for value in leaves(rows, depth)):
        return np.array(rows, np.uint64)
    return rows


def leaves(rows: Iterable[Any], depth: int) -> Iterable[Any]:
    """Return the values of rows that are nested to a depth, one after another."""
    for _ in range(depth - 1):
        rows = chain.from_iterable(rows)
    return rows
