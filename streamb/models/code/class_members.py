"""What of a class differs from its source: values that a call made, and members that were set afterwards."""

from __future__ import annotations

import abc
import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final

from streamb.models.code.homes import Homes
from streamb.models.code.literals import literal
from streamb.models.code.source_text import Found, Function, SourceText

_DATA: Final = frozenset({"numpy", "pandas", "scipy"})
_ABSENT: Final = object()


@dataclass(slots=True)
class Written:
    """How a class is written.

    Attributes:
        edits: statements of its body, and what stands in their place.
        members: what is set once the class is there, by name.
    """

    edits: list[tuple[ast.stmt, str]] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)


def written_class(
    cls: type, text: SourceText, found: Found, argument: Callable[[Any, str], str], homes: Homes
) -> Written:
    """Compare a class with its statement.

    A class with decorators or a metaclass is written as it stands: what it has is made by those.

    Args:
        argument: writes a value as an expression; the second argument describes it in messages.
    """
    written, node = Written(), found.node
    if not isinstance(node, ast.ClassDef) or node.decorator_list or type(cls) not in (type, abc.ABCMeta):
        return written
    stated: set[str] = set()
    for statement in node.body:
        name = getattr(statement, "name", None) or _assigned(statement)
        if name is None:
            continue
        if not (isinstance(statement, Function) and not statement.decorator_list):
            stated.add(name)
        value = vars(cls).get(name, _ABSENT)
        stated_value = None if _dunder(name) or not _is_data(value) else getattr(statement, "value", None)
        if isinstance(stated_value, ast.expr) and _calls(stated_value):
            given = argument(value, f"the attribute {cls.__name__}.{name}")
            written.edits.append((statement, f"{_left(statement, text)} = {given}"))
        elif isinstance(stated_value, ast.expr) and _differs(stated_value, value):
            written.members[name] = value
    own = (
        name for name, value in vars(cls).items() if name not in stated and _was_set(name, value, text, found, homes)
    )
    written.members |= {name: vars(cls)[name] for name in own}
    return written


def _assigned(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
        return statement.target.id
    return None


def _left(statement: ast.stmt, text: SourceText) -> str:
    """The text of what an assignment assigns to, with its annotation."""
    left = statement.annotation if isinstance(statement, ast.AnnAssign) else statement.targets[0]  # type: ignore[attr-defined]
    line = text.text.splitlines()[statement.lineno - 1].encode()
    return line[statement.col_offset : left.end_col_offset].decode()


def _calls(value: ast.expr) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(value))


def _differs(stated: ast.expr, value: Any) -> bool:
    """Whether the live value is not the constant that the class body states."""
    try:
        return literal(ast.literal_eval(stated)) != literal(value)
    except ValueError:
        return False


def _is_data(value: Any) -> bool:
    kind = type(value)
    if kind in (list, dict, set, frozenset, tuple) or literal(value) is not None:
        return True
    return kind.__module__.partition(".")[0] in _DATA and not callable(value)


def _was_set(name: str, value: Any, text: SourceText, found: Found, homes: Homes) -> bool:
    """Whether a member is the user's, and not from the class statement."""
    function = getattr(value, "__func__", value)
    if isinstance(function, FunctionType):
        code, node = function.__code__, found.node
        within = code.co_filename == text.name and node.lineno <= code.co_firstlineno <= (node.end_lineno or 0)
        return homes.is_local(function.__globals__.get("__name__")) and not within
    return not name.startswith("_") and _is_data(value)


def _dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
