"""The inputs of an ONNX graph: their types and shapes, the arrays that it is fed, and the batches that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, InvalidInput
from streamb.models.columns.exact import fits
from streamb.models.dtypes import exact_whole
from streamb.models.features import INPUT
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

TYPES: Final[Mapping[str, Any]] = {
    "float": np.float32,
    "double": np.float64,
    "bool": np.bool_,
    "string": np.object_,
    **{str(np.dtype(kind)): kind for kind in (np.float16, np.int8, np.int16, np.int32, np.int64)},
    **{str(np.dtype(kind)): kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64)},
}
"""The types of tensors that onnxruntime takes from NumPy, by their names in ONNX."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a graph.

    Attributes:
        name: its name.
        dtype: the NumPy type that it takes; object for strings.
        shape: its shape; None for an axis of any length. The first axis counts rows.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, found: Any) -> Input:
        """Read an input of an onnxruntime session.

        Raises:
            ArtifactUnsupported: it is no tensor, of a type that NumPy lacks, or has no axis for rows.
        """
        inner = found.type.removeprefix("tensor(").removesuffix(")")
        if inner not in TYPES:
            raise ArtifactUnsupported(
                f"the ONNX model's input {found.name!r} is a {found.type}; inputs are tensors of numbers, booleans or "
                "strings. Export the model with such an input, and convert it in the graph (Cast, SplitToSequence)"
            )
        if not found.shape:
            raise ArtifactUnsupported(
                f"the ONNX model's input {found.name!r} is one value for all rows; give it an axis for rows, or make "
                "it a constant of the graph"
            )
        sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in found.shape)
        return cls(found.name, np.dtype(TYPES[inner]), sizes)

    @property
    def kind(self) -> FeatureKind:
        """The kind of its single values."""
        if self.dtype.kind == "O":
            return FeatureKind.TEXT
        if self.dtype.kind == "b":
            return FeatureKind.BOOLEAN
        return FeatureKind.INTEGER if self.dtype.kind in "iu" else FeatureKind.NUMBER

    @property
    def is_column(self) -> bool:
        """Whether it takes one value per row."""
        return len(self.shape) == 1 or self.shape[1:] == (1,)

    def tensor(self, name: str) -> Feature:
        """Describe a row's part of it, whatever its shape."""
        dtype = "str" if self.kind is FeatureKind.TEXT else str(self.dtype)
        return Feature(name, FeatureKind.TENSOR, dtype=dtype, shape=self.shape[1:])

    def feature(self, name: str) -> Feature:
        """Describe one column of it."""
        narrow = self.dtype.kind in "iuf" and self.dtype not in (np.int64, np.float64)
        return Feature(name, self.kind, dtype=str(self.dtype) if narrow else "")

    def array(self, values: Any) -> NDArray[Any]:
        """Return the values in the type and rank that the graph takes.

        Raises:
            InvalidInput: a number that the type of the input cannot hold.
        """
        given = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
        if len(self.shape) == 1 and given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        elif len(self.shape) == 2 and given.ndim == 1:
            given = given.reshape(-1, 1)
        with np.errstate(invalid="ignore", over="ignore"):  # what does not fit is told below
            typed = np.ascontiguousarray(given.astype(self.dtype))
        if self.dtype.kind == "f" and given.dtype != self.dtype:
            self._refuse_changed(given, typed)
        if self.dtype.kind in "iu" and given.dtype != self.dtype and not np.array_equal(typed, given):
            limits = np.iinfo(self.dtype)
            raise InvalidInput(f"the input {self.name!r} takes whole numbers from {limits.min} to {limits.max}")
        return typed

    def _refuse_changed(self, given: NDArray[Any], typed: NDArray[Any]) -> None:
        """Refuse numbers that a narrower type of floats holds as infinity, and whole ones that it rounds."""
        kind, name = given.dtype.kind, self.dtype.name
        rounds = kind in "iu" and not fits(given, exact_whole(name)) and typed.tolist() != given.tolist()
        if rounds or (kind == "f" and (np.isinf(typed) & np.isfinite(given)).any()):
            raise InvalidInput(f"the input {self.name!r} has a number that {name} does not hold")


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs of a graph, in order."""

    items: tuple[Input, ...]

    @classmethod
    def of(cls, found: Sequence[Any]) -> Inputs:
        """Read the inputs of a session; errors are those of `Input.of`."""
        return cls(tuple(Input.of(item) for item in found))

    @property
    def batch(self) -> int | None:
        """The number of rows that the graph takes at once; None if it takes any."""
        sizes = {item.shape[0] for item in self.items}
        return sizes.pop() if len(sizes) == 1 else None

    def schema(self) -> FeatureSchema:
        """The columns or tensors that the inputs require."""
        if len(self.items) > 1:
            if all(item.is_column for item in self.items):
                return FeatureSchema(tuple(item.feature(item.name) for item in self.items), "frame")
            parts = (item.feature(item.name) if len(item.shape) == 1 else item.tensor(item.name) for item in self.items)
            return FeatureSchema(tuple(parts), "tensors")
        (only,) = self.items
        if only.kind is FeatureKind.TEXT and only.is_column:
            return FeatureSchema.texts()
        if len(only.shape) == 1:
            return FeatureSchema((only.feature(only.name),))
        if len(only.shape) != 2 or only.shape[1] is None:
            return FeatureSchema((only.tensor(INPUT),), "tensor")
        return FeatureSchema(tuple(only.feature(f"x{index}") for index in range(only.shape[1])))

    def feed(self, values: Any) -> dict[str, NDArray[Any]]:
        """Return an array for each input.

        Args:
            values: an array or a table for a single input; for several, a dict input -> array, a table with one column
                for each, or an array with one column for each.

        Raises:
            InvalidInput: an input is missing or unknown, or a number does not fit its type.
        """
        if isinstance(values, Mapping) or (len(self.items) > 1 and hasattr(values, "columns")):
            given = {str(name): values[name] for name in values}
        elif len(self.items) == 1:
            return {self.items[0].name: self.items[0].array(values)}
        else:
            given = {item.name: column for item, column in zip(self.items, np.asarray(values).T, strict=False)}
        names = [item.name for item in self.items]
        if set(given) != set(names):
            raise InvalidInput(f"the ONNX model takes the inputs {', '.join(names)}; got {', '.join(given)}")
        return {item.name: item.array(given[item.name]) for item in self.items}

    def batches(self, feed: dict[str, NDArray[Any]]) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
        """Split rows into batches of the size that the graph takes; the last one is filled up with its last row.

        Yields:
            An array for each input, and how many of its rows were asked for.
        """
        count = min((len(array) for array in feed.values()), default=0)
        if self.batch is None or count in (0, self.batch):
            yield feed, count
            return
        for start in range(0, count, self.batch):
            real = min(self.batch, count - start)
            rows = np.minimum(np.arange(start, start + self.batch), count - 1)
            yield {name: array[rows] for name, array in feed.items()}, real
