"""Lambdas, and functions and classes that were defined within functions: each is made again by a factory.

The variables that such a function has from around it become the factory's arguments. Functions that share a variable
come from one factory, so that they still share it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.code.homes import Home, Homes
from streamb.models.code.source_text import Found, Function, SourceText, indented

Fresh = Callable[[str], str]
_ABSENT: Final = object()


@dataclass(slots=True)
class Member:
    """One function or class of a group.

    Attributes:
        target: the live object.
        found: its definition.
        name: the name that the artifact has for it; empty if only its group uses it.
    """

    target: Any
    found: Found
    name: str = ""

    @property
    def own_name(self) -> str:
        """The name in its definition; empty for a lambda."""
        return getattr(self.found.node, "name", "")

    @property
    def cells(self) -> dict[str, CellType]:
        """The variables that it has from around it."""
        functions = [self.target] if isinstance(self.target, FunctionType) else list(_methods(self.target))
        pairs = (
            pair for one in functions for pair in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
        )
        keeps_class = isinstance(self.target, FunctionType)
        return {name: cell for name, cell in pairs if keeps_class or name != "__class__"}

    @property
    def defaults(self) -> dict[str, Any]:
        """Names that are the default of a parameter, with the value that they had."""
        if not isinstance(self.target, FunctionType) or isinstance(self.found.node, ast.ClassDef):
            return {}
        arguments = self.found.node.args
        live = self.target.__defaults__ or ()
        pairs = list(zip(arguments.defaults, live, strict=False)) if len(arguments.defaults) == len(live) else []
        by_name = self.target.__kwdefaults__ or {}
        pairs += [
            (expression, by_name[one.arg])
            for one, expression in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if expression is not None and one.arg in by_name
        ]
        return {expression.id: value for expression, value in pairs if isinstance(expression, ast.Name)}


@dataclass(slots=True)
class Group:
    """Functions and classes from one scope that share variables.

    Attributes:
        home: their module.
        text: their file.
        members: all of them, in the order in which they were found.
        factory: the name of the function that makes them.
        newest: the artifact's name for the member that was asked for last.
    """

    home: Home
    text: SourceText
    members: list[Member] = field(default_factory=list)
    factory: str = ""
    newest: str = ""

    @property
    def names(self) -> list[str]:
        """The names that the artifact has for its members."""
        return [member.name for member in self.members if member.name]

    @property
    def cells(self) -> dict[str, CellType]:
        """The variables of all members."""
        return {name: cell for member in self.members for name, cell in member.cells.items()}

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.members[0].found.qualname

    @property
    def values(self) -> dict[str, Any]:
        """The arguments of the factory: variables and defaults that are not made in the factory itself."""
        made = {id(member.target): member.own_name for member in self.members}
        found: dict[str, Any] = {}
        for name, cell in sorted(self.cells.items()):
            try:
                content = cell.cell_contents
            except ValueError:  # it has no value yet, and using it fails here as it will there
                continue
            if made.get(id(content)) != name:
                found[name] = content
        for member in self.members:
            for name, value in sorted(member.defaults.items()):
                if name not in found and self.home.namespace.get(name, _ABSENT) is not value:
                    found[name] = value
        return found

    @property
    def is_factory(self) -> bool:
        """Whether a function has to make them; a lambda without variables stands alone."""
        lone = len(self.members) == 1 and isinstance(self.members[0].found.node, ast.Lambda)
        return not lone or bool(self.values)


class Closures:
    """The groups of one artifact."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._groups: list[Group] = []

    def group_of(self, target: Any, home: Home, text: SourceText, found: Found) -> Group:
        """Return the group of a function or class, with it and what it shares variables with as members."""
        member = Member(target, found)
        _refuse_private_names(member)
        group = next((one for one in self._groups if any(each.target is target for each in one.members)), None)
        if group is None:
            group = next((one for one in self._groups if _shares(one, member) and _fits(one, member)), None)
        if group is None:
            group = Group(home, text)
            self._groups.append(group)
        self._add(group, member)
        return group

    def name(self, group: Group, target: Any, fresh: Fresh) -> str:
        """Give a member its name in the artifact: the global name that it has, else a new one."""
        member = next(one for one in group.members if one.target is target)
        if not member.name:
            own = (name for name, value in group.home.namespace.items() if value is member.target)
            plain = next((name for name in own if name.isidentifier() and not name.startswith("_")), None)
            member.name = plain or fresh(member.own_name or "function")
        if not group.factory:
            group.factory = fresh(f"_make_{member.name}")
        return member.name

    def written(self, group: Group, argument: Callable[[Any, str], str]) -> str:
        """Return the source that makes the members.

        Args:
            argument: writes a value as an expression; the second argument describes it in messages.
        """
        if not group.is_factory:
            node = group.members[0].found.node
            return f"{group.names[0]} = ({group.text.expression(node)})"  # type: ignore[arg-type]
        values = group.values
        lines = [f"def {group.factory}({', '.join(values)}):\n"]
        in_order = sorted(group.members, key=lambda one: one.found.first_line)
        lines += [indented(_definition(group.text, member), "    ").rstrip("\n") + "\n\n" for member in in_order]
        exported = [member for member in group.members if member.name]
        inner = [member.own_name or member.name for member in exported]
        lines.append(f"    return {', '.join(inner)}\n\n\n")
        given = ", ".join(argument(value, f"the variable {name!r} of {group.label}") for name, value in values.items())
        lines.append(f"{', '.join(member.name for member in exported)} = {group.factory}({given})")
        return "".join(lines)

    def _add(self, group: Group, member: Member) -> None:
        if any(one.target is member.target for one in group.members):
            return
        group.members.append(member)
        for name, cell in member.cells.items():
            sibling = self._sibling(group, member, name, cell)
            if sibling is not None and _fits(group, sibling):
                self._add(group, sibling)

    def _sibling(self, group: Group, member: Member, name: str, cell: CellType) -> Member | None:
        """The function or class beside `member` that this variable holds under its own name."""
        try:
            content = cell.cell_contents
        except ValueError:
            return None
        if isinstance(content, FunctionType) and content.__code__.co_filename == group.text.name:
            found = group.text.function(content.__code__)
        elif isinstance(content, type) and content.__module__ == group.home.namespace.get("__name__"):
            found = group.text.definition_of(content)
        else:
            return None
        if found is None or found.outer != member.found.outer or getattr(found.node, "name", None) != name:
            return None
        return Member(content, found)


def _methods(cls: type) -> Iterator[FunctionType]:
    for value in vars(cls).values():
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, FunctionType) and function.__globals__.get("__name__") == cls.__module__:
            yield function


def _shares(group: Group, member: Member) -> bool:
    cells = set(map(id, group.cells.values()))
    return group.members[0].found.outer == member.found.outer and any(
        id(cell) in cells for cell in member.cells.values()
    )


def _fits(group: Group, member: Member) -> bool:
    """Whether no name means one variable in the group and another one in the member."""
    known = group.cells
    names = {one.own_name for one in group.members if one.own_name}
    return member.own_name not in names and all(known.get(name, cell) is cell for name, cell in member.cells.items())


def _definition(text: SourceText, member: Member) -> str:
    node = member.found.node
    if isinstance(node, ast.Lambda):
        return f"{member.name} = ({text.expression(node)})\n"
    # a function with decorators that is held by itself is what they were given, not what they made of it
    return text.lines(node, skip_decorators=isinstance(node, Function))


def _refuse_private_names(member: Member) -> None:
    """A name like `__x` means another one outside of the class in which it is written."""
    classes = [node.name for node in member.found.outer if isinstance(node, ast.ClassDef)]
    if not classes or not isinstance(member.target, FunctionType):
        return
    prefix = f"_{classes[-1].lstrip('_')}__"
    if any(name.startswith(prefix) for name in _all_names(member.target.__code__)):
        raise ArtifactUnsupported(
            f"{member.found.qualname} uses a private name (two underscores) of the class {classes[-1]} from outside of "
            "it; give it one underscore"
        )


def _all_names(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars, *code.co_varnames)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _all_names(inner)
