"""The names that a piece of source takes from its module: when it is defined, and when what it defines is called.

Python's own compiler says which names are global, so that scopes need no rules of their own here.
"""

from __future__ import annotations
import __future__

import ast
import dis
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import resolve_name
from types import CodeType
from typing import Final

_READS: Final = frozenset(
    {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"}
)
_WRITES: Final = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_AT_ONCE: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


@dataclass(slots=True)
class FreeNames:
    """What a piece of source uses.

    Attributes:
        at_once: names that it reads while it is executed: bases, decorators, defaults, class bodies.
        perhaps: the same, but a class body binds them, too, so the module may not have them.
        later: names that its functions read or write when they are called.
        noted: names in annotations that stay text.
        chains: for each name the attributes read of it: `a.b.c` gives ("b", "c"); () where it is used by itself.
        modules: modules that its functions import, each with the name that it is bound to.
        members: names that its functions import from modules: (module, name).
        lines: the line of the first use of each name, in the source given.
    """

    at_once: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    chains: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    modules: list[tuple[str, str]] = field(default_factory=list)
    members: list[tuple[str, str]] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)


def free_names(text: str, *, futures: Iterable[str] = (), package: str = "", calls_first: bool = False) -> FreeNames:
    """Return the names that a piece of source uses.

    Args:
        text: statements, as at the top of a module.
        futures: the features of `__future__` that its module imports.
        package: the package that its relative imports start from.
        calls_first: whether the first function of the source is called at once (a factory).
    """
    flags = 0
    for name in futures:
        flags |= getattr(__future__, name).compiler_flag
    tree = ast.parse(text)
    names = FreeNames()
    code = compile(text, "<definition>", "exec", flags=flags, dont_inherit=True)
    _read(code, names, at_once=True, calls_first=calls_first)
    reader = _Reader(names, package, noted="annotations" in futures)
    reader.visit(tree)
    return names


def _read(code: CodeType, names: FreeNames, *, at_once: bool, calls_first: bool = False) -> None:
    in_class = not code.co_flags & inspect.CO_OPTIMIZED
    stored = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"} if in_class else set()
    for step in dis.get_instructions(code):
        if step.opname in _READS and step.argval not in code.co_freevars:
            group = names.perhaps if step.argval in stored else names.at_once
            (group if at_once else names.later).add(step.argval)
        elif step.opname in _WRITES:
            names.later.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            runs = calls_first or inner.co_name in _AT_ONCE or not inner.co_flags & inspect.CO_OPTIMIZED
            _read(inner, names, at_once=at_once and runs)
            calls_first = False


class _Reader(ast.NodeVisitor):
    """Collects attributes, imports and annotations."""

    def __init__(self, names: FreeNames, package: str, *, noted: bool) -> None:
        self._names, self._package, self._noted = names, package, noted
        self._where: list[str] = []

    def visit_Name(self, node: ast.Name) -> None:
        self._use(node.id, ())

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            parts.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._use(inner.id, tuple(parts))
        else:
            self.visit(inner)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            self._names.modules.append((alias.name, alias.asname or top))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        try:
            base = resolve_name("." * node.level + (node.module or ""), self._package or None)
        except ImportError:  # a relative import outside of any package: it fails here as it would there
            return
        self._names.members += [(base, alias.name) for alias in node.names]

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._where.append(node.name)
        self.generic_visit(node)
        self._where.pop()

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef  # noqa: N815

    def generic_visit(self, node: ast.AST) -> None:
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(note, ast.expr):
                self._names.noted |= set(_names_in(note, as_text=self._noted))
        super().generic_visit(node)

    def _use(self, name: str, chain: tuple[str, ...]) -> None:
        self._names.chains.setdefault(name, set()).add(chain)
        self._names.users.setdefault(name, ".".join(self._where))


def _names_in(note: ast.expr, *, as_text: bool) -> Iterator[str]:
    """Names in an annotation that Python does not evaluate: all of them where `as_text`, else those in strings."""
    for part in ast.walk(note):
        if as_text and isinstance(part, ast.Name):
            yield part.id
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            try:
                inner = ast.parse(part.value, mode="eval").body
            except SyntaxError:
                continue
            yield from _names_in(inner, as_text=True)
