"""Imports whole source files out of artifacts that were written before definitions were carried alone.

A carried `__main__` is the user's script: of it, only imports, definitions and constants run.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Final

from streamb.models.source import CARRIED, SourceBundle

_SCRIPT: Final = "__main__.py"
_DEFINES: Final = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_RUNS: Final = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


class FileFinder(MetaPathFinder):
    """Finds the modules of bundles without an order."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec of a carried module, else None."""
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
        importing = carried_import(self._root, self._bundle)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": importing}
        tree = ast.parse(self.get_source(module.__name__))
        if self._file == _SCRIPT:
            tree.body = definitions_only(tree.body)
        exec(compile(tree, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - signed


def definitions_only(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the imports, definitions and constants of a module; what calls something or decides by it is left out."""
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, _DEFINES) or (isinstance(node, ast.Assign | ast.AnnAssign) and not _calls(node)):
            kept.append(node)
        elif isinstance(node, ast.If) and not _calls(node.test):
            node.body, node.orelse = definitions_only(node.body) or [ast.Pass()], definitions_only(node.orelse)
            kept.append(ast.fix_missing_locations(ast.copy_location(node, node)))
        elif isinstance(node, ast.Try):
            node.body = definitions_only(node.body) or [ast.Pass()]
            for handler in node.handlers:
                handler.body = definitions_only(handler.body) or [ast.Pass()]
            node.orelse, node.finalbody = definitions_only(node.orelse), definitions_only(node.finalbody)
            kept.append(ast.fix_missing_locations(node))
    return kept


def _calls(node: ast.AST) -> bool:
    return any(isinstance(part, _RUNS) for part in ast.walk(node))


def carried_import(root: str, bundle: SourceBundle) -> Callable[..., ModuleType]:
    """Return `__import__` for carried code: absolute names of carried modules lead to them, not to namesakes here."""
    carried = {path.partition("/")[0].removesuffix(".py") for path in bundle.files if path.endswith(".py")}

    def import_module(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in carried:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{root}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{root}.{top}"]

    return import_module
