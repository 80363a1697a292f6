"""Runs the code in an artifact from memory, under a private name, so that it cannot clash with local modules.

`pkg.net` of an artifact becomes `_streamb_carried_<digest>.pkg.net`. Imports within the carried code, relative or
absolute, find the carried modules; everything else is imported as usual. Call this only for signed artifacts.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import importlib
import json
import linecache
import sys
import threading
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.code.carried_files import FileFinder, carried_import
from streamb.models.skops_file import thaw
from streamb.models.source import CARRIED, CARRIED_PREFIX, ORDER_FILE, VALUES_FOLDER, SourceBundle

_LOCK: Final = threading.RLock()


def install(bundle: SourceBundle) -> dict[str, str]:
    """Make a bundle importable for the rest of this process. Repeating it changes nothing.

    Returns:
        The private name of each module, by its original name.

    Raises:
        ArtifactUnsupported: the code does not run here.
    """
    if not bundle.files:
        return {}
    root = CARRIED_PREFIX + bundle.digest[:16]
    with _LOCK:
        if root not in CARRIED:
            CARRIED[root] = bundle
            if ORDER_FILE in bundle.files:
                _run(root, bundle)
            elif not any(isinstance(finder, FileFinder) for finder in sys.meta_path):
                sys.meta_path.append(FileFinder())
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


def _run(root: str, bundle: SourceBundle) -> None:
    """Make the modules of a bundle, then run their statements in the bundle's order."""
    modules = _Modules(root, bundle)
    try:
        for module, first, last in json.loads(bundle.files[ORDER_FILE]):
            modules.run(module, first, last)
    except BaseException as error:
        modules.remove()
        del CARRIED[root]
        if isinstance(error, ImportError) or not isinstance(error, Exception):
            raise
        raise ArtifactUnsupported(
            f"the code that the artifact carries does not run here: {type(error).__name__}: {error}"
        ) from error


class _Modules:
    """The modules of one bundle."""

    def __init__(self, root: str, bundle: SourceBundle) -> None:
        self._root, self._bundle = root, bundle
        self._sources: dict[str, ast.Module] = {}
        values = _Values(bundle, {module: f"{root}.{module}" for module in bundle.modules})
        self._made: list[str] = []
        self._make(root, "", values)
        for path in sorted(bundle.files):
            if path.endswith(".py"):
                name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                self._make_with_parents(name, path, values)
                self._sources[name] = ast.parse(bundle.files[path])

    def run(self, module: str, first: int, last: int) -> None:
        """Run the statements of a module from one line to another."""
        tree = self._sources[module]
        flags = 0
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    flags |= getattr(__future__, alias.name).compiler_flag
        body = [node for node in tree.body if first <= (node.end_lineno or 0) <= last]
        namespace = vars(sys.modules[f"{self._root}.{module}"])
        code = compile(ast.Module(body, []), namespace["__file__"], "exec", flags=flags, dont_inherit=True)
        exec(code, namespace)  # noqa: S102 - signed

    def remove(self) -> None:
        for name in self._made:
            sys.modules.pop(name, None)

    def _make_with_parents(self, name: str, path: str, values: _Values) -> None:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            parent = ".".join(parts[:depth])
            if f"{self._root}.{parent}" not in sys.modules:
                self._make(f"{self._root}.{parent}", "", values)
        if f"{self._root}.{name}" not in sys.modules:
            self._make(f"{self._root}.{name}", path, values)
        module = sys.modules[f"{self._root}.{name}"]
        module.__file__ = f"{self._root}/{path}"
        text = self._bundle.files[path].decode()
        lines = text.splitlines(keepends=True)
        linecache.cache[module.__file__] = (len(text), None, lines, module.__file__)  # for tracebacks

    def _make(self, name: str, path: str, values: _Values) -> None:
        is_package = path.endswith("__init__.py") or not path
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=is_package)
        module.__package__ = name if is_package else name.rpartition(".")[0]
        if is_package:
            module.__path__ = []
        importing = carried_import(self._root, self._bundle)
        vars(module).update({"__builtins__": {**vars(builtins), "__import__": importing}, "__values__": values})
        sys.modules[name] = module
        self._made.append(name)
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)


class _Values:
    """The values that a bundle holds beside its code, by number; each is read once, when it is asked for."""

    def __init__(self, bundle: SourceBundle, modules: Mapping[str, str]) -> None:
        self._bundle, self._modules = bundle, modules
        self._read: dict[int, Any] = {}

    def __getitem__(self, number: int) -> Any:
        if number not in self._read:
            content = self._bundle.files[f"{VALUES_FOLDER}/{number}.skops"]
            self._read[number] = thaw(content, may_run_code=True, modules=self._modules)
        return self._read[number]
