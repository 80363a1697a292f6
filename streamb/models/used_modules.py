"""Finds the modules that a model uses: those of the types in it, and those that the code it carries imports."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final
from zipfile import ZipFile

import numpy as np

from streamb.models.source import CODE_FOLDER, VALUES_FOLDER

_PLAIN: Final = (str, bytes, int, float, complex, type(None), np.generic)
_DEFINITIONS: Final = (type, FunctionType, BuiltinFunctionType)
_MOST_PARTS: Final = 1_000_000


def used_modules(obj: Any, folder: Path) -> set[str]:
    """Return the full names of the modules that a model uses.

    Args:
        obj: the model, as an object.
        folder: its artifact's files, with the code that it carries.
    """
    found: set[str] = set()
    classes: set[type] = set()
    for part in islice(parts(obj), _MOST_PARTS):
        if isinstance(part, ModuleType):
            found.add(part.__name__)
        elif isinstance(part, _DEFINITIONS):
            found.add(str(part.__module__))
        classes.add(part if isinstance(part, type) else type(part))
    found |= {base.__module__ for cls in classes for base in cls.__mro__}
    for file in (folder / CODE_FOLDER).rglob("*.py"):
        found |= set(_imported(ast.parse(file.read_bytes())))
    for file in (folder / CODE_FOLDER / VALUES_FOLDER).glob("*.skops"):
        with ZipFile(file) as stored:
            found |= set(_named(json.loads(stored.read("schema.json"))))
    return found


def parts(root: Any) -> Iterator[Any]:
    """Yield every object that `root` is made of, itself included, but no plain values; runs none of their code."""
    waiting, seen = [root], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, _PLAIN):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)  # not `+=`: a list of another library may take over
        elif isinstance(part, np.ndarray):
            waiting.extend(part.ravel().tolist() if part.dtype == object else ())
        elif isinstance(part, partial):
            waiting.extend((part.func, part.args, part.keywords))
        elif not isinstance(part, (*_DEFINITIONS, ModuleType)):
            waiting.extend(getattr(part, "__dict__", {}).values())


def _named(node: Any) -> Iterator[str]:
    """Yield the modules of the types in a skops file."""
    if isinstance(node, dict) and isinstance(node.get("__module__"), str):
        yield node["__module__"]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _named(child)


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules that the code needs."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)  # a module, or a name in one
    elif not _is_optional(node):
        for child in ast.iter_child_nodes(node):
            yield from _imported(child)


def _is_optional(node: ast.AST) -> bool:
    """Whether the imports in this statement are for type checkers only, or the code can do without them."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return isinstance(node, ast.Try) and any(map(_catches_import_error, node.handlers))


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return any(name in caught for name in ("ImportError", "ModuleNotFoundError"))
