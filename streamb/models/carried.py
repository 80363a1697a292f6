"""Imports the code in an artifact from memory, under a private name, so that it cannot clash with local modules.

`pkg.net` of an artifact becomes `_streamb_carried_<digest>.pkg.net`. Imports within the carried code, relative or
absolute, find the carried modules; everything else is imported as usual. Call this only for signed artifacts.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from operator import attrgetter
from types import ModuleType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.source import CARRIED, CARRIED_PREFIX, SourceBundle

_LOCK: Final = threading.Lock()


def install(bundle: SourceBundle) -> dict[str, str]:
    """Make a bundle importable for the rest of this process. Repeating it changes nothing.

    Returns:
        The private name of each module, by its original name.
    """
    if not bundle.files:
        return {}
    root = CARRIED_PREFIX + bundle.digest[:16]
    with _LOCK:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.append(_Finder())
        CARRIED.setdefault(root, bundle)
    return {module: f"{root}.{module}" for module in bundle.modules}


def find_attribute(module: str, qualname: str) -> Any:
    """Return a class or function by its module (the name in this process) and dotted name.

    Raises:
        ArtifactUnsupported: the module has no attribute of this name.
    """
    found = importlib.import_module(module)
    try:
        return attrgetter(qualname)(found)
    except AttributeError as error:
        raise ArtifactUnsupported(f"the module {module!r} has no {qualname!r}") from error


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        root, _, inner = fullname.partition(".")
        bundle = CARRIED.get(root)
        if bundle is None:
            return None
        stem = inner.replace(".", "/")
        for file, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if file in bundle.files:
                return spec_from_loader(fullname, _Loader(root, bundle, file), is_package=is_package)
        if not inner or any(name.startswith(f"{stem}/") for name in bundle.files):
            return spec_from_loader(fullname, _Loader(root, bundle, None), is_package=True)
        return None


class _Loader(InspectLoader):
    """Loads one module of a bundle; a file of None is a folder without code."""

    def __init__(self, root: str, bundle: SourceBundle, file: str | None) -> None:
        self._root, self._bundle, self._file = root, bundle, file

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import system's signature
        return "" if self._file is None else importlib.util.decode_source(self._bundle.files[self._file])

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        return self._file is None or self._file.endswith("/__init__.py")

    def exec_module(self, module: ModuleType) -> None:
        file = f"{self._root}/{self._file or ''}"
        module.__file__ = file
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(self.source_to_code(self.get_source(module.__name__), file), module.__dict__)  # noqa: S102 - signed

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` for the carried code: absolute names of carried modules lead to them, not to namesakes here."""
        top = name.partition(".")[0]
        if level or not any(file == f"{top}.py" or file.startswith(f"{top}/") for file in self._bundle.files):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{self._root}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{self._root}.{top}"]
