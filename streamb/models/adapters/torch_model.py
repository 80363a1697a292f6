"""Any `torch.nn.Module` that maps a batch to one output per row; weights travel as safetensors.

A module of nothing but the layers in `torch_layers.LAYERS` carries no code. A class of the user's own brings its
source, so it needs a signature. Models here come trained: streamb does not guess a training loop.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, InvalidInput, ModelFailed
from streamb.models.adapters.torch_layers import build_module, describe_module, needs_code
from streamb.models.adapters.torch_values import Forward, InputTypes, call, layer_kind
from streamb.models.code.carried import find_attribute, install
from streamb.models.code.definitions import Definitions
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import FeatureSchema
from streamb.models.source import SourceBundle

if TYPE_CHECKING:
    import torch
    from torch import nn

_WEIGHTS: Final = "weights.safetensors"
_ARCHITECTURE: Final = "architecture.json"


class TorchModel(Model):
    """A torch module behind the `Model` interface, in evaluation mode and without gradients.

    A classifier (told by `task` or `classes`, or ending in a softmax) predicts the label of the highest score; anything
    else predicts the module's output as it is, with a last axis of one element dropped. A module may take several
    inputs (a dict name -> array) and answer several outputs: a dict for values by name, a tuple for a tuple.

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
        module = getattr(module, "_orig_mod", module)  # what torch.compile was given
        self.module = module.eval()
        self._takes = Forward.of(module)
        self._types = InputTypes.of(module, several=self._takes.several)
        width = _input_width(module)
        self.schema = schema if schema is not None or width is None else FeatureSchema.numbers(width, self._types.name)
        self.name = name or type(module).__name__
        self._ending = _ending(module)
        self.task = task or ("classification" if classes is not None or "Softmax" in self._ending else "other")
        self._classes = (
            None if classes is None else [item.item() if isinstance(item, np.generic) else item for item in classes]
        )

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("a torch module comes trained; train it with your own loop and wrap the result")

    def predict(self, X: Any) -> Any:  # noqa: N803
        """See `Model.predict`; a module with several outputs answers a dict or a tuple of arrays."""
        if not self.has_probabilities:
            output = call(self.module, self._takes, self._types.as_declared(self.schema), X)
            one_each = isinstance(output, np.ndarray) and output.ndim > 1 and output.shape[-1] == 1
            return output.reshape(output.shape[:-1]) if one_each else output
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(best if self._classes is None else np.asarray(self._classes)[best])

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if not self.has_probabilities:
            return super().predict_proba(X)
        scores = call(self.module, self._takes, self._types.as_declared(self.schema), X)
        if not isinstance(scores, np.ndarray):
            raise ModelFailed(
                "this module answers several outputs, but a classifier answers one tensor of scores; wrap it without "
                "classes and task, or in a module that returns the scores only"
            )
        return self._to_probabilities(scores)

    @property
    def has_probabilities(self) -> bool:
        return self.task == "classification"

    @property
    def classes(self) -> list[Any] | None:
        return self._classes

    def check_fitted(self) -> None:
        from torch.nn.parameter import is_lazy

        if any(is_lazy(weight) for weight in (*self.module.parameters(), *self.module.buffers())):
            raise InvalidInput(
                f"{self.name} has layers without weights (Lazy…), so it was never fitted; train it, or call it once "
                "with a batch, before you save or register it"
            )

    def write_payload(self, folder: Path) -> bool:
        from safetensors.torch import save_file

        code = Definitions()

        def name_of(target: Any) -> str | None:
            place = code.place(target)
            if place is None and isinstance(target, type) and not _is_findable(target):
                raise ArtifactUnsupported(
                    f"the class {target.__qualname__} is made at run time; save the module as TorchScript or ONNX and "
                    "register that"
                )
            return None if place is None else ":".join(place)

        structure = describe_module(self.module, name_of)
        tensors, aliases = _tensors_of(self.module)
        body = {"structure": structure, "aliases": aliases, "classes": self._classes}
        (folder / _ARCHITECTURE).write_text(json.dumps(body), "utf-8")
        save_file(tensors, folder / _WEIGHTS)
        code.write(folder)
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


def _is_findable(cls: type) -> bool:
    """Whether a process that imports the module of the class finds it there by its name."""
    try:
        return attrgetter(cls.__qualname__)(sys.modules.get(cls.__module__)) is cls
    except AttributeError:
        return False


def _input_width(module: nn.Module) -> int | None:
    """The number of features, where a sequence of layers says it: its first Linear or BatchNorm1d layer.

    The order of layers in a class of the user's own is that class's affair, so it says nothing.
    """
    kind = layer_kind(module)
    if kind == "Linear":
        return int(module.weight.shape[1])  # type: ignore[index]  # TorchScript drops in_features
    if kind == "BatchNorm1d":
        return int(module.running_mean.shape[0])  # type: ignore[index]
    if kind != "Sequential":
        return None
    counting = (child for child in module.children() if layer_kind(child) not in {"Identity", "Dropout", "Flatten"})
    first = next(counting, None)
    return None if first is None else _input_width(first)


def _ending(module: nn.Module) -> str:
    """The name of the last layer of a sequence of layers; empty where the order of layers is the class's own affair."""
    last = module
    while layer_kind(last) == "Sequential" and len(layers := list(last.children())):
        last = layers[-1]
    return layer_kind(last)


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
