"""A user's own object with `predict`, or any function of rows: its code as definitions, its state without pickle.

The state is what the object's own `save(folder)` method writes, where its class defines that and `load(folder)`, else
its `__dict__` in a skops file. Loading runs the carried definitions, so such an artifact always needs a signature.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, ClassVar, Final, Self

import numpy as np

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted, InvalidInput
from streamb.models.code.carried import find_attribute, install
from streamb.models.code.definitions import Definitions
from streamb.models.code.refusals import not_carried
from streamb.models.exact_arrays import as_array
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.outputs import class_labels
from streamb.models.schema import FeatureSchema
from streamb.models.skops_file import freeze, thaw
from streamb.models.source import SourceBundle, is_local

_DESCRIPTION: Final = "object.json"
_STATE_FILE: Final = "state.skops"
_STATE_FOLDER: Final = "state"
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made by a class statement
_FUNCTIONS: Final = (FunctionType, MethodType, BuiltinFunctionType, partial, np.ufunc)


class OwnModel(Model):
    """Any object with `predict`, or one that is called with rows; `fit` and `predict_proba` are used if it has them.

    Attributes:
        object: the object or function.
    """

    class_id: ClassVar[str] = "own"
    framework: ClassVar[str] = "python"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "skops")
    says_classes: ClassVar[str] = "your own object says its classes itself, in an attribute named classes_"
    takes: ClassVar[tuple[str, ...]] = ("builtins.object",)

    def __init__(
        self, obj: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        self.object = obj
        self._answer: Callable[[Any], Any] = obj.predict if _predicts(obj) else obj
        if inspect.iscoroutinefunction(self._answer) or inspect.isgeneratorfunction(self._answer):
            raise InvalidInput(
                f"{_name_of(self._answer)} is asynchronous or a generator; a model returns all predictions at once"
            )
        own = getattr(obj, "schema", None)
        self.schema = schema or (own if isinstance(own, FeatureSchema) else None)
        self.name = name or _name_of(obj)
        self.task = task or ("classification" if self.has_probabilities else "other")
        self._learns_schema = self.schema is None

    @classmethod
    def accepts(cls, obj: Any) -> bool:
        return _predicts(obj) or (callable(obj) and _takes_one(obj))

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        if not callable(getattr(self.object, "fit", None)):
            raise InvalidInput(f"{type(self.object).__name__} has no fit method")
        self.object.fit(X, y)
        if self._learns_schema:
            self.schema = FeatureSchema.learn(X)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return as_array(self._answer(X), mixed=False)

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
        code, cls = Definitions(), type(self.object)
        description: dict[str, str] = {}
        if _is_function(self.object) or code.place(self.object) is not None:
            (folder / _STATE_FILE).write_bytes(freeze(self.object, place=code.place))
        else:
            module, name = code.place(cls) or (cls.__module__, cls.__qualname__)
            description = {"module": module, "qualname": name}
            if _saves_itself(cls):
                _save(self.object, folder / _STATE_FOLDER)
            else:
                (folder / _STATE_FILE).write_bytes(_frozen_state(self.object, code))
        code.write(folder)
        (folder / _DESCRIPTION).write_text(json.dumps(description, sort_keys=True), "utf-8")
        return True

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        if not may_run_code:
            raise ArtifactUntrusted("a user's own class runs code of its own; the artifact needs a trusted signature")
        description = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        modules = install(SourceBundle.read(folder))
        if not description:
            return cls(thaw((folder / _STATE_FILE).read_bytes(), may_run_code=True, modules=modules))
        module: str = description["module"]
        own = find_attribute(modules.get(module, module), description["qualname"])
        if not (folder / _STATE_FILE).exists():
            (folder / _STATE_FOLDER).mkdir(exist_ok=True)  # an object may have nothing to save: no archive keeps that
            return cls(own.load(folder / _STATE_FOLDER))
        state = thaw((folder / _STATE_FILE).read_bytes(), may_run_code=True, modules=modules)
        return cls(_with_state(own, state))


def _predicts(obj: Any) -> bool:
    return callable(getattr(obj, "predict", None))


def _is_function(obj: Any) -> bool:
    """Whether it is stored as a function: by its name, or with what it is bound to."""
    named = getattr(sys.modules.get(str(getattr(obj, "__module__", None))), str(getattr(obj, "__name__", None)), None)
    return isinstance(obj, _FUNCTIONS) or named is obj


def _takes_one(function: Any) -> bool:
    """Whether it can be called with the rows alone."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a built-in function that does not state its parameters
        return True
    return True


def _name_of(obj: Any) -> str:
    while isinstance(obj, partial):
        obj = obj.func
    name = getattr(obj, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else type(obj).__name__


def _saves_itself(cls: type) -> bool:
    """Whether the user's own class defines `save(folder)` and `load(folder)`; those of a library mean other things."""
    save, load = (inspect.getattr_static(cls, name, None) for name in ("save", "load"))
    if not isinstance(save, FunctionType) or not isinstance(load, classmethod | staticmethod):
        return False
    if not all(is_local(str(one.__globals__.get("__name__"))) for one in (save, inspect.unwrap(load.__func__))):
        return False
    return _takes_one(partial(save, None)) and _takes_one(cls.load)  # type: ignore[attr-defined]


def _save(obj: Any, folder: Path) -> None:
    """Let an object save itself, and see that its class can read that.

    Raises:
        ArtifactUnsupported: it cannot.
    """
    name = type(obj).__name__
    folder.mkdir()
    obj.save(folder)
    copy = folder.with_name("read")
    shutil.copytree(folder, copy)
    try:
        again = type(obj).load(copy)
    except Exception as error:
        raise ArtifactUnsupported(
            f"{name}.load cannot read what {name}.save wrote: {type(error).__name__}: {error}"
        ) from error
    finally:
        shutil.rmtree(copy)
    if not isinstance(again, type(obj)):
        raise ArtifactUnsupported(f"{name}.load returned a {type(again).__name__}; it must return a {name}")


def _frozen_state(obj: Any, code: Definitions) -> bytes:
    """The state as a skops file.

    Raises:
        ArtifactUnsupported: something in it cannot be stored; the message names the attribute.
    """
    base = next(one for one in type(obj).__mro__ if not one.__flags__ & _HEAP_TYPE)
    if base is not object:
        raise ArtifactUnsupported(
            f"{type(obj).__name__} derives from {base.__name__}, whose content is not in its attributes; keep a "
            f"{base.__name__} in an attribute instead"
        )
    state = _state_of(obj)
    try:
        return freeze(state, place=code.place)
    except ArtifactUnsupported:
        for name, value in (state.get("attributes") or {}).items():
            try:
                freeze(value, place=code.place)
            except ArtifactUnsupported as error:
                raise not_carried(f"the attribute {name!r} of {type(obj).__name__}", value, error) from error
        raise


def _state_of(obj: Any) -> dict[str, Any]:
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
