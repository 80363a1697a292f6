"""The text of one source file, with its definitions and imports, each found by its position or its name."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported

Function = ast.FunctionDef | ast.AsyncFunctionDef
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPOUND: Final = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.AsyncWith, ast.AsyncFor, ast.Match, ast.TryStar)
_BLOCKS: Final = ("body", "orelse", "handlers", "finalbody", "cases")


@dataclass(frozen=True, slots=True)
class Found:
    """A definition in a file.

    Attributes:
        node: the `def`, `class` or `lambda`.
        outer: the definitions around it, the outermost first.
    """

    node: Named | ast.Lambda
    outer: tuple[ast.AST, ...]

    @property
    def qualname(self) -> str:
        """The dotted name that Python gives it."""
        parts = []
        for node in self.outer:
            name = getattr(node, "name", "<lambda>")
            parts.append(name if isinstance(node, ast.ClassDef) else f"{name}.<locals>")
        return ".".join([*parts, getattr(self.node, "name", "<lambda>")])

    @property
    def first_line(self) -> int:
        """The line of the first decorator, else of the definition itself."""
        decorators: list[ast.expr] = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(one.lineno for one in decorators)])


@dataclass(slots=True)
class SourceText:
    """A parsed source file.

    Attributes:
        name: the file's name, as code objects state it.
        text: all of it.
        tree: its syntax tree.
        found: every definition in it, in the order of the text.
    """

    name: str
    text: str
    tree: ast.Module
    found: list[Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.found = list(_definitions(self.tree, ()))

    @property
    def futures(self) -> set[str]:
        """The features that it imports from `__future__`."""
        imports = [node for node in self.tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        return {alias.name for node in imports for alias in node.names}

    def function(self, code: CodeType) -> Found | None:
        """Return the definition that this code was compiled from; None if the file does not contain it (any more)."""
        if code.co_name != "<lambda>":
            named = (one for one in self.found if getattr(one.node, "name", None) == code.co_name)
            starts = (one for one in named if not isinstance(one.node, ast.ClassDef))
            return next((one for one in starts if one.first_line == code.co_firstlineno), None)
        lambdas = [one for one in self.found if isinstance(one.node, ast.Lambda)]
        lambdas = [one for one in lambdas if one.node.lineno == code.co_firstlineno]
        if len(lambdas) > 1:
            lambdas = [one for one in lambdas if _holds(one.node, code)]
            lambdas = lambdas[-1:]  # of nested ones the innermost
        return lambdas[0] if lambdas else None

    def definition_of(self, cls: type) -> Found | None:
        """Return the `class` statement of a class; of several with its name, the one that fits its members best."""
        named = [one for one in self.found if isinstance(one.node, ast.ClassDef) and one.qualname == cls.__qualname__]
        return max(reversed(named), key=lambda one: _likeness(one.node, cls), default=None)

    def bindings(self, name: str) -> list[ast.stmt]:
        """Return the statements outside of functions and classes that bind a name, in the order of the text."""
        return [node for node in _statements(self.tree.body) if name in _bound(node)]

    def imported(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield the modules from which the file imports a name, each with the name that it has there."""
        for node in self.bindings(name):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((node.module, one.name) for one in node.names if (one.asname or one.name) == name)

    def lines(self, node: ast.AST, edits: Iterable[tuple[ast.stmt, str]] = (), *, skip_decorators: bool = False) -> str:
        """Return the text of a statement without the indentation of its first line.

        Args:
            edits: statements within it, and what to write in their place.
            skip_decorators: whether to begin at the `def`.
        """
        first = node.lineno if skip_decorators else Found(node, ()).first_line  # type: ignore[attr-defined, arg-type]
        raw = self.text.encode().splitlines(keepends=True)
        starts = [0]
        for line in raw:
            starts.append(starts[-1] + len(line))
        content, begin = b"".join(raw), starts[first - 1]
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        for statement, text in sorted(edits, key=lambda edit: -edit[0].lineno):
            lower = starts[statement.lineno - 1] + statement.col_offset
            upper = starts[(statement.end_lineno or 0) - 1] + (statement.end_col_offset or 0)
            content = content[:lower] + text.encode() + content[upper:]
            end += len(text.encode()) - (upper - lower)
        comment = content[end:].partition(b"\n")[0]
        end += len(comment) if comment.lstrip().startswith(b"#") else 0
        return indented(content[begin:end].decode(), "")

    def expression(self, node: ast.expr) -> str:
        """Return the text of an expression.

        Raises:
            ArtifactUnsupported: its place in the text is not known exactly (within an f-string).
        """
        segment = ast.get_source_segment(self.text, node) or ""
        try:
            same = ast.dump(ast.parse(f"({segment}\n)", mode="eval").body) == ast.dump(node)
        except SyntaxError:
            same = False
        if not same:
            raise ArtifactUnsupported(
                f"the lambda in line {node.lineno} of {self.name} cannot be cut out of its line; define it with `def`"
            )
        return segment


def read_source(filename: str, namespace: dict[str, Any] | None = None) -> SourceText | None:
    """Read a file, or a notebook's cell, through `linecache`. Returns None if its text is not known.

    Raises:
        ArtifactUnsupported: the text is not valid Python.
    """
    linecache.checkcache(filename)
    text = "".join(linecache.getlines(filename, namespace))
    if not text:
        return None
    try:
        return SourceText(filename, text, ast.parse(text))
    except (SyntaxError, ValueError) as error:
        raise ArtifactUnsupported(
            f"{filename}, which the artifact would carry, is not valid Python: {error}"
        ) from error


def indented(text: str, indent: str) -> str:
    """Return statements at another indentation; lines that begin within a string stay as they are.

    >>> indented("    if x:\\n        y()\\n", "")
    'if x:\\n    y()\\n'
    """
    old = text[: len(text) - len(text.lstrip(" \t"))]
    lines = text.splitlines(keepends=True)
    inside: set[int] = set()
    for node in ast.walk(ast.parse(f"if 1:\n{text}" if old else text)):
        if isinstance(node, ast.Constant | ast.JoinedStr) and (node.end_lineno or 0) > node.lineno:
            shift = 2 if old else 1
            inside |= set(range(node.lineno + 1 - shift, (node.end_lineno or 0) + 1 - shift))
    moved = [
        line if index in inside or not line.strip() else indent + line.removeprefix(old)
        for index, line in enumerate(lines)
    ]
    return "".join(moved)


def _definitions(node: ast.AST, outer: tuple[ast.AST, ...]) -> Iterator[Found]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            yield Found(child, outer)
            yield from _definitions(child, (*outer, child))
        else:
            yield from _definitions(child, outer)


def _holds(node: ast.AST, code: CodeType) -> bool:
    """Whether every instruction of a lambda's code lies within the lambda's body."""
    body = node.body  # type: ignore[attr-defined]
    lower, upper = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    places = [
        (line, column, end, last) for line, end, column, last in code.co_positions() if column is not None and last
    ]
    return all(lower <= (line, column) and (end, last) <= upper for line, column, end, last in places)


def _likeness(node: Named | ast.Lambda, cls: type) -> int:
    """How many methods and constants of the statement are those of the class."""
    score = 0
    for child in getattr(node, "body", ()):
        member = vars(cls).get(getattr(child, "name", ""))
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(child, Function) and isinstance(member, FunctionType):
            score += 2 * (Found(child, ()).first_line == member.__code__.co_firstlineno)
        elif isinstance(child, ast.Assign) and isinstance(child.value, ast.Constant):
            score += any(vars(cls).get(name) == child.value.value for name in _bound(child))
    return score


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, (*_COMPOUND, ast.ExceptHandler, ast.match_case)):
            for block in _BLOCKS:
                yield from _statements(getattr(node, block, ()))


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement binds by itself, not by the statements within it."""
    if isinstance(node, Named):
        return {node.name}
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    inner: list[ast.AST] = [node]
    if isinstance(node, _COMPOUND):
        inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
    names = (part for child in inner for part in ast.walk(child) if isinstance(part, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}
