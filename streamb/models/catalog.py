"""Finds the adapter for an object or an artifact. An adapter is a subclass of `Model`.

streamb's adapters are the `*_model.py` files of this package; they are imported at the first search, and none of them
imports its library then. Any other adapter joins when its module is imported. Its artifacts name that module, which
is imported for them only if a trusted key has signed them.
"""

from __future__ import annotations

import pkgutil
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.manifest import is_outside

_ADAPTERS: Final[list[type[Any]]] = []


def join(adapter: type[Any]) -> None:
    """Register an adapter; of two for the same class, the later one is used."""
    _ADAPTERS.append(adapter)


def adapters() -> list[type[Any]]:
    """Return every adapter: first those of streamb, then those of other packages."""
    _import_ours()
    return sorted(_ADAPTERS, key=lambda adapter: is_outside(adapter.class_id))


@cache
def _import_ours() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).with_name("adapters"))]):
        if module.name.endswith("_model"):
            import_module(f"{__package__}.adapters.{module.name}")


def adapter_for(obj: Any) -> type[Any] | None:
    """Return the adapter for `obj`: by the suffix of a path, else by the object's most specific class.

    Returns None if no adapter takes the object.

    A library that was never imported cannot have made the object, so no library is imported here.
    """
    if isinstance(obj, str | Path):
        return next((one for one in reversed(adapters()) if Path(obj).suffix.lower() in one.file_suffixes), None)
    by_class = {_loaded(name): adapter for adapter in adapters() for name in adapter.takes}
    fitting = (by_class[cls] for cls in type(obj).__mro__ if cls in by_class)
    return next((one for one in fitting if one.accepts(obj)), None)


def adapter_of(class_id: str) -> type[Any]:
    """Return the adapter that wrote a manifest with this id. An adapter from outside is imported: its code runs.

    Raises:
        ArtifactUnsupported: there is no such adapter.
        ImportError: the module of an adapter from outside is not installed here.
    """
    if is_outside(class_id):
        import_module(class_id.partition(":")[0])
    found: type[Any] | None = next((one for one in reversed(adapters()) if one.class_id == class_id), None)
    if found is None:
        known = ", ".join(sorted(one.class_id for one in adapters()))
        raise ArtifactUnsupported(f"this build cannot load models of the kind {class_id[:100]!r}; it knows {known}")
    return found


def _loaded(name: str) -> Any:
    """Return the class with this full name; None if its module was never imported."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)
