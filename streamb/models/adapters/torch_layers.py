"""A torch module's structure as JSON, without its weights and without pickle.

Two kinds of nodes:

- `{"layer": "Linear", "arguments": {…}}`: a layer of the list below, made again by its constructor. A model of nothing
  but these carries no code.
- `{"object": "module:Class", "attributes": {…}, "children": {…}, "parameters": {…}, "buffers": {…}}`: any other module,
  made again without its constructor from its class and its plain attributes. It needs its class, so it needs trust.

Weights travel beside, by the names of `state_dict` (plus buffers that are not persistent).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted

if TYPE_CHECKING:
    from torch import nn

_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_CONVOLUTION = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode",
)  # fmt: skip
_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
_MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
_AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    "AdaptiveAvgPool1d": ("output_size",),
    "AdaptiveAvgPool2d": ("output_size",),
    "AvgPool1d": _AVG_POOL,
    "AvgPool2d": _AVG_POOL,
    "BatchNorm1d": _NORM,
    "BatchNorm2d": _NORM,
    "Bilinear": ("in1_features", "in2_features", "out_features", "bias"),
    "Conv1d": _CONVOLUTION,
    "Conv2d": _CONVOLUTION,
    "Dropout": ("p", "inplace"),
    "Dropout1d": ("p", "inplace"),
    "Dropout2d": ("p", "inplace"),
    "ELU": ("alpha", "inplace"),
    "Embedding": ("num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq"),
    "Flatten": ("start_dim", "end_dim"),
    "GELU": ("approximate",),
    "GRU": _RECURRENT,
    "Hardtanh": ("min_val", "max_val", "inplace"),
    "Identity": (),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine", "bias"),
    "LeakyReLU": ("negative_slope", "inplace"),
    "Linear": ("in_features", "out_features", "bias"),
    "LogSoftmax": ("dim",),
    "LSTM": (*_RECURRENT, "proj_size"),
    "MaxPool1d": _MAX_POOL,
    "MaxPool2d": _MAX_POOL,
    "MultiheadAttention": ("embed_dim", "num_heads", "dropout", "bias", "kdim", "vdim", "batch_first"),
    "ReLU": ("inplace",),
    "ReLU6": ("inplace",),
    "SELU": ("inplace",),
    "Sequential": (),
    "SiLU": ("inplace",),
    "Sigmoid": (),
    "Softmax": ("dim",),
    "Softplus": ("beta", "threshold"),
    "Tanh": (),
    "Unflatten": ("dim", "unflattened_size"),
}
"""Layers made again by their constructors: name in `torch.nn` -> constructor arguments, which are attributes too."""

_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_MACHINERY: Final = frozenset(
    {
        "training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules", "_is_full_backward_hook",
        "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
        "_compiled_call_impl", "_version", *_HOOKS,
    }
)  # fmt: skip

Find = Callable[[str, str], Any]


def describe_module(module: nn.Module, name_of: Callable[[Any], str | None]) -> dict[str, Any]:
    """Return the structure of `module` as JSON.

    Args:
        name_of: `module:name` of a class or function that the artifact carries; None for one that is installed.

    Raises:
        ArtifactUnsupported: it has hooks, or an attribute that JSON cannot represent.
    """
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        raise ArtifactUnsupported(f"{type(module).__name__} has hooks, which no artifact can hold; remove them first")
    kind = type(module).__name__
    if kind in LAYERS and _is_library_layer(module, kind):
        node: dict[str, Any] = {"layer": kind}
        if kind == "Sequential":
            node["children"] = {name: describe_module(child, name_of) for name, child in module.named_children()}
        else:
            node["arguments"] = {name: _argument(module, name) for name in LAYERS[kind]}
        return node
    attributes = {key: value for key, value in vars(module).items() if key not in _MACHINERY}
    return {
        "object": name_of(type(module)) or f"{type(module).__module__}:{type(module).__qualname__}",
        "attributes": {key: _plain(f"{kind}.{key}", value, name_of) for key, value in attributes.items()},
        "children": {
            name: None if child is None else describe_module(child, name_of)
            for name, child in module._modules.items()  # noqa: SLF001 - the only place that keeps empty slots
        },
        "parameters": {name: value is not None for name, value in module._parameters.items()},  # noqa: SLF001
        "buffers": {name: value is not None for name, value in module._buffers.items()},  # noqa: SLF001
    }


def needs_code(node: Mapping[str, Any]) -> bool:
    """Return whether rebuilding the structure needs classes beyond the list."""
    return "object" in node or any(child and needs_code(child) for child in (node.get("children") or {}).values())


def build_module(node: Mapping[str, Any], find: Find | None) -> nn.Module:
    """Rebuild the module, with the shapes of weights in listed layers and none yet in the others.

    No memory is taken for weights (torch's device `meta`): what an artifact says of a layer may be larger than this
    machine, and the weights that come with it replace all of them anyway.

    Args:
        find: (module, class name) -> class; None where no code may run.

    Raises:
        ArtifactUntrusted: a class beyond the list, and no `find`.
        ArtifactCorrupt: the structure names a layer that is not on the list.
    """
    import torch
    from torch import nn

    if "layer" in node:
        kind = node["layer"]
        if kind not in LAYERS:
            raise ArtifactCorrupt(f"the architecture names an unknown layer {str(kind)[:100]!r}")
        if kind == "Sequential":
            sequence = nn.Sequential()
            for name, child in node["children"].items():
                sequence.add_module(name, build_module(child, find))
            return sequence
        arguments = {name: _unpacked(value) for name, value in node["arguments"].items() if name in LAYERS[kind]}
        with torch.device("meta"):
            layer: nn.Module = getattr(nn, kind)(**arguments)
        return layer
    if find is None:
        raise ArtifactUntrusted(f"the model uses the class {node['object']!r}, which needs a trusted signature")
    return _build_object(node, find)


def _build_object(node: Mapping[str, Any], find: Find) -> nn.Module:
    import torch
    from torch import nn

    module_name, _, qualname = node["object"].partition(":")
    cls = find(module_name, qualname)
    module: nn.Module = cls.__new__(cls)
    nn.Module.__init__(module)  # not the class's own constructor: its arguments are not known
    for name, value in node["attributes"].items():
        setattr(module, name, _unpacked(value, find))
    for name, child in node["children"].items():
        module.add_module(name, None if child is None else build_module(child, find))
    for name, present in node["parameters"].items():
        module.register_parameter(name, nn.Parameter(torch.empty(0), requires_grad=False) if present else None)
    for name, present in node["buffers"].items():
        module.register_buffer(name, torch.empty(0) if present else None)
    return module


def _is_library_layer(module: nn.Module, kind: str) -> bool:
    """The very class of the library, unchanged, all of whose settings are in the list of arguments."""
    from torch import nn

    if type(module) is not getattr(nn, kind) or "forward" in vars(module):
        return False
    if kind in {"LSTM", "GRU", "MultiheadAttention", "Sequential"}:
        return True
    return not module._modules  # noqa: SLF001 - a layer that was given children is no plain layer any more


def _argument(layer: nn.Module, name: str) -> Any:
    if name == "bias" and not isinstance(getattr(layer, "bias", None), bool):
        weights = "in_proj_bias" if hasattr(layer, "in_proj_bias") else "bias"
        return getattr(layer, weights, None) is not None
    return _plain(f"{type(layer).__name__}.{name}", getattr(layer, name))


def _plain(place: str, value: Any, name_of: Callable[[Any], str | None] | None = None) -> Any:
    """A value as JSON; tuples, functions and tensors' types are marked so that they come back as what they were."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(place, item, name_of) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(place, item, name_of) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(f"{place}[{key!r}]", item, name_of) for key, item in value.items()}}
    carried = name_of(value) if name_of is not None and isinstance(value, FunctionType | type) else None
    function = carried or (_function_name(value) if callable(value) else None)
    if function is not None:
        return {"function": function}
    raise ArtifactUnsupported(
        f"{place} is a {type(value).__name__}, which no artifact can hold; make it a number, a string, a list, a "
        "buffer (register_buffer) or a submodule"
    )


def _function_name(value: Any) -> str | None:
    """`module:name` where a function can be found again; torch's built-in ones do not say where they live."""
    name = getattr(value, "__name__", "")
    homes = (getattr(value, "__module__", None), "torch", "torch.nn.functional")
    modules = (sys.modules.get(home) for home in homes if home)
    home = next((module for module in modules if module and getattr(module, name, None) is value), None)
    return f"{home.__name__}:{name}" if home else None


def _unpacked(value: Any, find: Find | None = None) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, find) for item in value]
    if not isinstance(value, dict):
        return value
    ((mark, content),) = value.items()
    if mark == "tuple":
        return tuple(_unpacked(item, find) for item in content)
    if mark == "dict":
        return {key: _unpacked(item, find) for key, item in content.items()}
    if mark == "function" and find is not None:
        module, _, name = content.partition(":")
        return find(module, name)
    raise ArtifactCorrupt(f"the architecture holds a value of the kind {str(mark)[:100]!r}")
