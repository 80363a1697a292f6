"""A fitted skorch net, kept as its torch module; a process that loads it needs torch, not skorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from streamb.errors import InvalidInput
from streamb.models.adapters.torch_model import TorchModel
from streamb.models.manifest import Manifest
from streamb.models.model import Task

_DESCRIPTION: Final = "skorch.json"
_ENDINGS: Final = {"BCELoss": "Sigmoid", "BCEWithLogitsLoss": "", "CrossEntropyLoss": ""}
"""What a module answers that is trained with a loss: probabilities or scores. All others of skorch's take
probabilities of each class."""


class SkorchModel(TorchModel):
    """A skorch net; inputs, outputs and classes are as in `TorchModel`.

    Its module answers what the loss that it was trained with needs, and probabilities follow from that as in skorch.
    """

    class_id: ClassVar[str] = "skorch"
    framework: ClassVar[str] = "skorch"
    says_classes: ClassVar[str] = "a skorch net says its classes itself"
    takes: ClassVar[tuple[str, ...]] = ("skorch.net.NeuralNet",)

    @classmethod
    def from_object(cls, obj: Any, *, classes: Any = None, task: Any = None, **rest: Any) -> Self:
        """See `Model.from_object`; `obj` is a fitted net."""
        if classes is not None:
            raise InvalidInput(cls.says_classes)
        name = type(obj).__name__
        if not getattr(obj, "initialized_", False) or not hasattr(obj, "module_"):
            raise InvalidInput(f"{name} was never fitted; call fit(X, y) with your training data first")
        if getattr(obj, "threshold", 0.5) != 0.5 or callable(obj.predict_nonlinearity):
            raise InvalidInput(
                f"{name} has a threshold or a predict_nonlinearity of its own; put it into the module, or register an "
                "object of a class of your own with a predict method"
            )
        labels = _labels(obj)
        kind: Task = "classification" if labels is not None else "regression" if "Regressor" in name else "other"
        model = cls(obj.module_, classes=labels, task=task or kind, **{"name": name, **_given(rest)})
        return model if labels is None else model._ends_in(_ENDINGS.get(type(obj.criterion_).__name__, "Softmax"))

    def write_payload(self, folder: Path) -> bool:
        (folder / _DESCRIPTION).write_text(json.dumps({"ending": self._ending}), "utf-8")
        return super().write_payload(folder)

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:
        model = super().read_payload(folder, manifest, may_run_code=may_run_code)
        return model._ends_in(json.loads((folder / _DESCRIPTION).read_text("utf-8"))["ending"])  # noqa: SLF001 - its own

    def _ends_in(self, layer: str) -> Self:
        self._ending = layer
        return self


def _labels(net: Any) -> list[Any] | None:
    from sklearn.base import is_classifier

    return [label.item() for label in net.classes_] if is_classifier(net) else None


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
