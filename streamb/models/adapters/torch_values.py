"""Calls a torch module with NumPy values, and turns what it answers into NumPy values.

A module may take one tensor or several, and may answer a tensor, a tuple or values by name. Types: numbers with a point
get the type of the module's weights; whole numbers and booleans stay what they are where a module takes several inputs
or has an embedding; what NumPy has no type for (bfloat16) is answered as float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.columns.casting import cast_numbers
from streamb.models.columns.exact import fits
from streamb.models.columns.rows import as_numpy
from streamb.models.dtypes import exact_whole
from streamb.models.schema import FeatureSchema

if TYPE_CHECKING:
    import torch
    from torch import nn

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Forward:
    """The inputs that the `forward` of a module takes.

    Attributes:
        names: the names of its arguments, in order.
        required: the number of those without a default, which come first.
        any_name: whether it takes others too (`**inputs`).
    """

    names: tuple[str, ...]
    required: int
    any_name: bool = False

    @classmethod
    def of(cls, module: nn.Module) -> Forward:
        """Read the signature of a module, or the schema of a TorchScript module."""
        schema = getattr(module.forward, "schema", None)
        if schema is not None:
            given = schema.arguments[1:]  # the first one is the module itself
            return cls(tuple(one.name for one in given), sum(not one.has_default_value() for one in given))
        parameters = inspect.signature(module.forward).parameters.values()
        taken = [one for one in parameters if one.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
        return cls(
            tuple(one.name for one in taken),
            sum(one.default is inspect.Parameter.empty for one in taken),
            any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters),
        )

    @property
    def several(self) -> bool:
        """Whether more than one input has to be given."""
        return self.required > 1


@dataclass(frozen=True, slots=True)
class InputTypes:
    """How a module wants its numbers.

    Attributes:
        numbers: the type for numbers with a point.
        keeps_whole: whether whole numbers stay whole.
        weights: the types of its weights with a point.
    """

    numbers: torch.dtype
    keeps_whole: bool
    weights: frozenset[torch.dtype] = frozenset()

    @classmethod
    def of(cls, module: nn.Module, *, several: bool) -> InputTypes:
        """Choose by the module's layers and weights."""
        import torch

        leaves = [part for part in module.modules() if not list(part.children())]
        if leaves and layer_kind(leaves[0]) == "Embedding" and not several:
            return cls(torch.int64, keeps_whole=True)
        embeds = any(layer_kind(leaf) in {"Embedding", "EmbeddingBag"} for leaf in leaves)
        floats = [weight.dtype for weight in module.parameters() if weight.dtype.is_floating_point]
        return cls(floats[0] if floats else torch.float32, several or embeds, frozenset(floats))

    @property
    def name(self) -> str:
        """The name of the type for numbers with a point, as a schema has it."""
        return str(self.numbers).removeprefix("torch.")

    def as_declared(self, schema: FeatureSchema | None) -> InputTypes:
        """Return these types with the half type of a schema, where the module has weights of it, or none."""
        import torch

        if schema is None or not schema.half_type:
            return self
        half: torch.dtype = getattr(torch, schema.half_type)
        return replace(self, numbers=half) if half in self.weights or not self.weights else self

    def tensor(self, values: Any) -> torch.Tensor:
        """Make a tensor of one input's values.

        Raises:
            InvalidInput: they are no numbers, or one of them is none that the type of the weights holds.
        """
        import torch

        array = np.asarray(values)
        if array.dtype == object:
            array = np.array(array.tolist())
        if array.dtype.kind not in "biuf":
            raise InvalidInput(f"a torch module takes numbers and booleans, not values of the type {array.dtype}")
        array = np.ascontiguousarray(array) if array.flags.writeable else array.copy()
        is_whole, keeps_whole = array.dtype.kind in "iu", self.keeps_whole or self.numbers == torch.int64
        if is_whole and not fits(array, 2**63 - 1 if keeps_whole else exact_whole(self.name)):
            _refuse_whole(array, self.name if not keeps_whole else "int64")
        made = torch.from_numpy(array)
        if array.dtype.kind != "f" and self.keeps_whole:
            return made.to(torch.int64) if is_whole else made
        typed = made.to(self.numbers)
        if array.dtype.kind == "f" and self.numbers.itemsize < array.dtype.itemsize:
            beyond = typed.isinf() & made.isfinite()
            if beyond.any():
                raise InvalidInput(f"{_cell(int(beyond.flatten().int().argmax()), array)} does not fit {self.name}")
        return typed


def _refuse_whole(array: NDArray[Any], name: str) -> None:
    """Refuse whole numbers that a type of torch would round or wrap."""
    flat = array.ravel()
    held = flat.astype(np.int64).tolist() if name == "int64" else cast_numbers(flat.astype(np.float64), name).tolist()
    for index, value in enumerate(flat.tolist()):
        if held[index] != value:
            raise InvalidInput(f"{_cell(index, array)} is a whole number that {name} does not hold exactly")


def _cell(index: int, array: NDArray[Any]) -> str:
    """Name an element by its row, and its place in it."""
    row, column = divmod(index, max(1, array.size // len(array)))
    return f"row {row}, column {column}: {array.ravel()[index]}"


def layer_kind(module: nn.Module) -> str:
    """Return the name of a layer's class, also for a layer of a TorchScript module."""
    return str(getattr(module, "original_name", type(module).__name__))


def call(module: nn.Module, forward: Forward, types: InputTypes, values: Any) -> Any:
    """Call the module without gradients.

    Args:
        values: one array or table with one row per entry of its first axis; or several inputs as a dict name -> array
            (of any names, in the order of the arguments, where none of them is an argument's name), as a list of dicts
            by name, or as the columns of a table.

    Returns:
        A NumPy array for a tensor; a dict for a dict or a named tuple; a tuple for a tuple or a list.

    Raises:
        InvalidInput: the inputs are not those that the module takes.
    """
    import torch

    place = next(module.parameters(), None)
    positional, named = _arguments(forward, values)
    with torch.inference_mode():
        output = module(
            *[_placed(types.tensor(value), place) for value in positional],
            **{name: _placed(types.tensor(value), place) for name, value in named.items()},
        )
        return to_numpy(output)


def to_numpy(output: Any) -> Any:
    """Return a module's output with arrays for tensors; see `call`."""
    import torch

    if isinstance(output, torch.Tensor):
        return as_numpy(output)
    if hasattr(output, "_asdict"):
        output = output._asdict()
    if isinstance(output, Mapping):
        return {str(name): to_numpy(value) for name, value in output.items() if value is not None}
    if isinstance(output, tuple | list):
        return tuple(to_numpy(value) for value in output)
    return output


def _arguments(forward: Forward, values: Any) -> tuple[list[Any], Mapping[str, Any]]:
    if isinstance(values, list) and values and all(isinstance(row, Mapping) for row in values):
        values = {name: [row.get(name) for row in values] for name in values[0]}
    if isinstance(values, Mapping):
        if forward.any_name or set(values) <= set(forward.names):
            return [], values
        if forward.required <= len(values) <= len(forward.names) and not set(values) & set(forward.names):
            return list(values.values()), {}
        raise InvalidInput(
            f"the module's forward takes {', '.join(forward.names)}; got {', '.join(map(str, values))}",
        )
    table: NDArray[Any] = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if not forward.several:
        return [table], {}
    if table.ndim != 2 or table.shape[1] != forward.required:
        raise InvalidInput(
            f"the module's forward takes {forward.required} inputs ({', '.join(forward.names[: forward.required])}); "
            "give a row as an object with one entry for each of them"
        )
    if hasattr(values, "columns"):
        return _arguments(forward, {str(name): values[name].to_numpy() for name in values.columns})
    return list(table.T), {}


def _placed(tensor: torch.Tensor, place: torch.Tensor | None) -> torch.Tensor:
    return tensor if place is None else tensor.to(place.device)
