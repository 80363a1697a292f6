"""A user's own object with a `predict` method: its class is stored as source, its state without pickle.

The state is what the object's own `save(folder)` method writes, where it has one (and its class a `load(folder)`),
else its `__dict__` in a skops file. Loading runs the carried source, so such an artifact always needs a signature.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted, InvalidInput
from streamb.models.carried import find_attribute, install
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.outputs import as_array, class_labels
from streamb.models.schema import FeatureSchema
from streamb.models.skops_file import freeze, thaw
from streamb.models.source import SourceBundle, collect, is_local, original_name

_DESCRIPTION: Final = "object.json"
_STATE_FILE: Final = "state.skops"
_STATE_FOLDER: Final = "state"


class OwnModel(Model):
    """Any object with `predict`; `fit` and `predict_proba` are used where it has them."""

    class_id: ClassVar[str] = "own"
    framework: ClassVar[str] = "python"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "skops")
    says_classes: ClassVar[str] = "your own object says its classes itself, in an attribute named classes_"
    takes: ClassVar[tuple[str, ...]] = ("builtins.object",)
    needs_predict: ClassVar[bool] = True

    def __init__(
        self, obj: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        self.object = obj
        own = getattr(obj, "schema", None)
        self.schema = schema or (own if isinstance(own, FeatureSchema) else None)
        self.name = name or type(obj).__name__
        self.task = task or ("classification" if self.has_probabilities else "other")
        self._learns_schema = self.schema is None

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        if not callable(getattr(self.object, "fit", None)):
            raise InvalidInput(f"{type(self.object).__name__} has no fit method")
        self.object.fit(X, y)
        if self._learns_schema:
            self.schema = FeatureSchema.learn(X)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return as_array(self.object.predict(X))

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        if not self.has_probabilities:
            return super().predict_proba(X)
        found = self.object.predict_proba(X)
        several = isinstance(found, list) and any(isinstance(part, np.ndarray) and part.ndim == 2 for part in found)
        return found if several else as_array(found)

    @property
    def has_probabilities(self) -> bool:
        return callable(getattr(self.object, "predict_proba", None))

    @property
    def classes(self) -> list[Any] | None:
        return class_labels(getattr(self.object, "classes_", None))

    def write_payload(self, folder: Path) -> bool:
        cls = type(self.object)
        _check_findable(cls)
        modules = {cls.__module__}
        if callable(getattr(self.object, "save", None)) and callable(getattr(cls, "load", None)):
            (folder / _STATE_FOLDER).mkdir()
            self.object.save(folder / _STATE_FOLDER)
        else:
            frozen = freeze(_state_of(self.object), module_name=original_name)
            (folder / _STATE_FILE).write_bytes(frozen.content)
            modules |= frozen.modules
        collect(module for module in modules if is_local(module)).write(folder)
        description = {"module": original_name(cls.__module__), "qualname": cls.__qualname__}
        (folder / _DESCRIPTION).write_text(json.dumps(description, sort_keys=True), "utf-8")
        return True

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        if not may_run_code:
            raise ArtifactUntrusted("a user's own class runs code of its own; the artifact needs a trusted signature")
        description = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        modules = install(SourceBundle.read(folder))
        module: str = description["module"]
        own = find_attribute(modules.get(module, module), description["qualname"])
        if not (folder / _STATE_FILE).exists():
            (folder / _STATE_FOLDER).mkdir(exist_ok=True)  # an object may have nothing to save: no archive keeps that
            return cls(own.load(folder / _STATE_FOLDER))
        state = thaw((folder / _STATE_FILE).read_bytes(), may_run_code=True, modules=modules)
        return cls(_with_state(own, state))


def _check_findable(cls: type) -> None:
    """A class can only be carried when its module has it under its own name."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not cls:
        raise ArtifactUnsupported(
            f"the class {cls.__qualname__} cannot be found in the module {cls.__module__!r}; define it at the top "
            "level of a .py file (not in a function, not at a prompt)"
        )


def _state_of(obj: Any) -> Any:
    """What a copy needs beyond its class: `__getstate__`'s answer, by default the `__dict__` (and slots) or None."""
    state = obj.__getstate__()
    if isinstance(state, dict):
        return {"attributes": state}
    if isinstance(state, tuple) and len(state) == 2:
        return {"attributes": state[0] or {}, "slots": state[1] or {}}
    if state is None:
        return {"attributes": {}}
    return {"opaque": state}


def _with_state(cls: Any, state: Any) -> Any:
    if not isinstance(state, dict):
        raise ArtifactCorrupt(f"{_STATE_FILE} does not hold an object's state")
    obj = cls.__new__(cls)
    attributes, slots = state.get("attributes"), state.get("slots")
    if "opaque" in state or hasattr(obj, "__setstate__"):
        obj.__setstate__(state.get("opaque", attributes if slots is None else (attributes, slots)))
        return obj
    for name, value in {**(attributes or {}), **(slots or {})}.items():
        object.__setattr__(obj, name, value)
    return obj
