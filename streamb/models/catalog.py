"""Which loader reads which kind of model: class id -> adapter, as data, so that nothing is imported before its use.

A built-in model or a plug-in joins with `register(ModelKind(...))`; an id that is not here cannot be loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from streamb.errors import ArtifactUnsupported, Conflict


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One kind of model.

    Attributes:
        class_id: written into manifests; never changes its meaning.
        module, attribute: where the `Model` subclass lives; imported on first use.
    """

    class_id: str
    module: str
    attribute: str

    def resolve(self) -> type[Any]:
        """Import the `Model` subclass."""
        found: type[Any] = getattr(import_module(self.module), self.attribute)
        return found


_KINDS: Final[dict[str, ModelKind]] = {}


def register(kind: ModelKind) -> None:
    """Add a kind; the same one twice is fine.

    Raises:
        Conflict: the id already names another class.
    """
    known = _KINDS.setdefault(kind.class_id, kind)
    if known != kind:
        raise Conflict(f"the class id {kind.class_id!r} already names {known.module}.{known.attribute}")


def find(class_id: str) -> ModelKind:
    """The kind with this id.

    Raises:
        ArtifactUnsupported: this build knows no such kind.
    """
    kind = _KINDS.get(class_id)
    if kind is None:
        known = ", ".join(sorted(_KINDS))
        raise ArtifactUnsupported(f"this build cannot load models of the kind {class_id[:100]!r}; it knows {known}")
    return kind


for _kind in (
    ModelKind("sklearn", "streamb.models.sklearn_model", "SklearnModel"),
    ModelKind("torch", "streamb.models.torch_model", "TorchModel"),
    ModelKind("onnx", "streamb.models.onnx_model", "OnnxModel"),
    ModelKind("own", "streamb.models.own_model", "OwnModel"),
):
    register(_kind)
