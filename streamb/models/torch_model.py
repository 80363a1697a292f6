"""Any `torch.nn.Module` that maps a batch (rows, features) to one output per row; weights travel as safetensors.

A module of nothing but the layers in `torch_layers.LAYERS` carries no code. A class of the user's own brings its
source, so it needs a signature. Models here come trained: streamb does not guess a training loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, InvalidInput
from streamb.models.carried import find_attribute, install
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import FeatureSchema
from streamb.models.source import SourceBundle, collect, is_local, original_name
from streamb.models.torch_layers import build_module, describe_module, needs_code

if TYPE_CHECKING:
    import torch
    from torch import nn

_WEIGHTS: Final = "weights.safetensors"
_ARCHITECTURE: Final = "architecture.json"


class TorchModel(Model):
    """A torch module behind the `Model` interface, in evaluation mode and without gradients.

    A classifier (told by `task` or `classes`, or ending in a softmax) predicts the label of the highest score; anything
    else predicts the module's output as it is, with a last axis of one element dropped.

    Attributes:
        module: the module itself.
    """

    class_id: ClassVar[str] = "torch"
    framework: ClassVar[str] = "torch"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "safetensors", "torch")
    takes: ClassVar[tuple[str, ...]] = ("torch.nn.Module",)

    def __init__(
        self,
        module: nn.Module,
        *,
        schema: FeatureSchema | None = None,
        name: str | None = None,
        task: Task | None = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.module = module.eval()
        width = _input_width(module)
        self.schema = schema if schema is not None or width is None else FeatureSchema.numbers(width)
        self.name = name or type(module).__name__
        self._ending = _ending(module)
        self.task = task or ("classification" if classes is not None or "Softmax" in self._ending else "other")
        self._classes = (
            None if classes is None else [item.item() if isinstance(item, np.generic) else item for item in classes]
        )
        self._input_type = _input_type(module)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("a torch module comes trained; train it with your own loop and wrap the result")

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        scores = self._forward(X)
        if not self.has_probabilities:
            return scores.reshape(scores.shape[:-1]) if scores.ndim > 1 and scores.shape[-1] == 1 else scores
        best = self._to_probabilities(scores).argmax(axis=1)
        return np.asarray(best if self._classes is None else np.asarray(self._classes)[best])

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if not self.has_probabilities:
            return super().predict_proba(X)
        return self._to_probabilities(self._forward(X))

    @property
    def has_probabilities(self) -> bool:
        return self.task == "classification"

    @property
    def classes(self) -> list[Any] | None:
        return self._classes

    def write_payload(self, folder: Path) -> bool:
        from safetensors.torch import save_file

        used: set[str] = set()

        def class_name(cls: type) -> str:
            used.add(cls.__module__)
            if "<locals>" in cls.__qualname__:
                raise ArtifactUnsupported(
                    f"the class {cls.__qualname__} is defined in a function; move it to the top level"
                )
            return f"{original_name(cls.__module__)}:{cls.__qualname__}"

        structure = describe_module(self.module, class_name)
        tensors, aliases = _tensors_of(self.module)
        body = {"structure": structure, "aliases": aliases, "classes": self._classes}
        (folder / _ARCHITECTURE).write_text(json.dumps(body), "utf-8")
        save_file(tensors, folder / _WEIGHTS)
        collect(module for module in used if is_local(module)).write(folder)
        return needs_code(structure)

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        from safetensors.torch import load_file

        body = json.loads((folder / _ARCHITECTURE).read_text("utf-8"))
        modules = install(SourceBundle.read(folder)) if may_run_code else {}

        def find(module: str, qualname: str) -> Any:
            return find_attribute(modules.get(module, module), qualname)

        module = build_module(body["structure"], find if may_run_code else None)
        _fill(module, load_file(folder / _WEIGHTS), body["aliases"])
        return cls(module, classes=body["classes"])

    def _forward(self, X: Any) -> NDArray[Any]:  # noqa: N803
        import torch

        values = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
        with torch.inference_mode():
            output = self.module(torch.from_numpy(np.ascontiguousarray(values)).to(self._input_type))
            result: NDArray[Any] = output.numpy()
        return result

    def _to_probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of shape (rows, classes), or of one logit per row, as probabilities of shape (rows, classes)."""
        values = scores.astype(np.float64)
        if values.ndim == 1 or values.shape[1] == 1:  # two classes, the score is that of the second
            positive = values.reshape(-1)
            positive = positive if self._ending == "Sigmoid" else 1.0 / (1.0 + np.exp(-positive))
            return np.column_stack([1.0 - positive, positive])
        if self._ending == "Softmax":
            return values
        exponents = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _leaves(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if not list(part.children())]


def _input_width(module: nn.Module) -> int | None:
    """The number of features, where the first layer says it: a Linear layer, or one that keeps the width before it."""
    for layer in _leaves(module):
        kind = type(layer).__name__
        if kind == "Linear":
            return int(layer.in_features)  # type: ignore[arg-type]
        if kind == "BatchNorm1d":
            return int(layer.num_features)  # type: ignore[arg-type]
        if kind not in {"Identity", "Dropout", "Flatten"}:
            return None
    return None


def _ending(module: nn.Module) -> str:
    """The name of the last layer of a sequence of layers; empty where the order of layers is the class's own affair."""
    last = module
    while type(last).__name__ == "Sequential" and len(last):  # type: ignore[arg-type]
        last = last[-1]  # type: ignore[index]
    return type(last).__name__


def _input_type(module: nn.Module) -> torch.dtype:
    import torch

    leaves = _leaves(module)
    if leaves and isinstance(leaves[0], torch.nn.Embedding):
        return torch.int64
    floats = (weight.dtype for weight in module.parameters() if weight.dtype.is_floating_point)
    return next(floats, torch.float32)


def _tensors_of(module: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All parameters and buffers by name, and which names share another one's tensor (tied weights)."""
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[int, str] = {}
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    for name, tensor in named:
        if id(tensor) in seen:
            aliases[name] = seen[id(tensor)]
            continue
        seen[id(tensor)] = name
        tensors[name] = tensor.detach().cpu().clone().contiguous()
    return tensors, aliases


def _fill(module: nn.Module, tensors: dict[str, torch.Tensor], aliases: dict[str, str]) -> None:
    """Put the weights where they belong; every place must be filled and every weight used."""
    from torch import nn

    places = dict((*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)))
    if set(places) != set(tensors) | set(aliases):
        raise ValueError(f"weights and architecture differ: {sorted(set(places) ^ (set(tensors) | set(aliases)))[:5]}")
    filled: dict[str, torch.Tensor] = {}
    for name, place in places.items():
        source = aliases.get(name, name)
        tensor = filled.setdefault(
            source,
            nn.Parameter(tensors[source], requires_grad=False) if isinstance(place, nn.Parameter) else tensors[source],
        )
        if place.numel() and place.shape != tensor.shape:
            raise ValueError(f"the weight {name!r} has the shape {list(tensor.shape)}, its layer {list(place.shape)}")
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, tensor)
