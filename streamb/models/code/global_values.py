"""Binds the global names of carried code by their live values.

An installed module, class or function becomes an import, a plain value a constant, a local class or function its
definition, and any other value a skops file beside the code.
"""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.code.collected import PROVIDED, Collected
from streamb.models.code.homes import Home
from streamb.models.code.literals import literal
from streamb.models.code.refusals import not_carried
from streamb.models.code.source_text import Found, SourceText
from streamb.models.code.written_code import CONSTANT, DEFINITION, IMPORT, VALUE, Key, Unit
from streamb.models.skops_file import Place, freeze

_ABSENT: Final = object()
Define = Callable[[Home, str, SourceText, Found], Key]


class GlobalValues:
    """The global names of one artifact.

    Attributes:
        contents: the values that are stored beside the code, as skops files.
    """

    def __init__(self, code: Collected, place: Place, define: Define) -> None:
        """Start with no names.

        Args:
            code: takes the units.
            place: carries a class or function.
            define: carries a definition by its name and its place in a file.
        """
        self._code, self._place, self._define = code, place, define
        self._values: dict[int, tuple[Any, int, set[Key]]] = {}
        self.contents: list[bytes] = []

    def bind(self, home: Home, name: str, user: str) -> Key | None:
        """Make sure that a module of the artifact has a name; returns None where it has none here either."""
        key = (home.name, name)
        if key in self._code.units:
            return key
        if name in PROVIDED or name not in home.namespace:
            return None
        self._resolve(home, name, home.namespace[name], user)
        return key

    def _resolve(self, home: Home, name: str, value: Any, user: str, *, own: bool = True) -> None:
        """Write the unit that binds `name` to `value`.

        Args:
            user: who uses it, for messages.
            own: whether the user's module has this name itself.
        """
        key = (home.name, name)
        text = self._import_of(home, name, value, own=own)
        if text is not None:
            self._code.units[key] = Unit(home.name, text, (IMPORT, home.order, 0))
            return
        plain = literal(value)
        if plain is not None:
            self._code.units[key] = Unit(home.name, f"{name} = {plain}", (CONSTANT, home.order, 0))
            return
        if own and self.decorated(home, name, value):
            return
        if isinstance(value, type | FunctionType):
            placed = self._place(value)
            if placed is not None:
                self._alias(key, placed)
                return
        elif own:
            made = self.made_by_call(home, name) if type(value).__module__ in {"typing", "types"} else None
            if made is not None:
                self._code.add(key, made, home, name)
                return
        self._keep(key, value, user)

    def _alias(self, key: Key, placed: Key) -> None:
        if placed == key:
            return
        (module, name), (source, original) = key, placed
        text = f"{name} = {original}"
        if module != source:
            text = f"from {source} import {original}" + ("" if name == original else f" as {name}")
        self._code.units[key] = Unit(module, text, (DEFINITION, self._code.homes.order(module), -1), at_once={placed})

    def _import_of(self, home: Home, name: str, value: Any, *, own: bool) -> str | None:
        """The import statement for a module, or for what an installed module has; None if there is none."""
        if isinstance(value, ModuleType):
            module = value.__name__
            return _import_module(
                self._code.homes.home(module).name if self._code.homes.is_local(module) else module, name
            )
        for text in home.files.values() if own else ():
            for module, original in text.imported(name):
                if self._is_there(module, original, value):
                    return _import_name(module, original, name)
        if isinstance(value, type | FunctionType | BuiltinFunctionType) or hasattr(value, "__qualname__"):
            found, path = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
            if isinstance(found, str) and isinstance(path, str) and self._is_there(found, path, value):
                return _import_name(found, path, name)
        return None

    def _is_there(self, module: str, path: str, value: Any) -> bool:
        """Whether an installed module has this very object under this name."""
        if self._code.homes.is_local(module):
            return False
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, _ABSENT)
        return found is value

    def decorated(self, home: Home, name: str, value: Any) -> bool:
        """Carry a definition whose decorators made something else of it."""
        if (
            isinstance(value, FunctionType)
            and value.__code__.co_qualname == name
            and value.__globals__ is home.namespace
        ):
            return False
        inner = value
        while hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        line = getattr(getattr(inner, "__code__", None), "co_firstlineno", None)
        for text in reversed(home.files.values()):
            bindings = text.bindings(name)
            found = [one for one in text.found if one.node in bindings and getattr(one.node, "decorator_list", None)]
            if isinstance(value, type):
                found = [one for one in found if isinstance(one.node, ast.ClassDef) and value.__qualname__ != name]
            best = [one for one in found if one.first_line == line]
            best = best or [one for one in found if one.node is bindings[-1]]
            if best:
                self._define(home, name, text, best[-1])
                self._register_variants(home, name, value)
                return True
        return False

    def _register_variants(self, home: Home, name: str, value: Any) -> None:
        """Carry what `functools.singledispatch` was given for types of their own, each with its function."""
        registry = getattr(value, "registry", None)
        if not callable(getattr(value, "dispatch", None)) or not isinstance(registry, Mapping):
            return
        for kind, function in registry.items():
            if kind is not object:
                key = (home.name, f"{name}.register {kind.__qualname__}")
                order = (VALUE, self._code.homes.order(home.name), 0, len(self._code.units))
                unit = Unit(home.name, "", order, at_once={(home.name, name)})
                written = [self.argument(home, part, f"the function {name!r}", unit) for part in (kind, function)]
                unit.text = f"{name}.register({', '.join(written)})"
                self._code.units[key] = unit
                self._code.units[home.name, name].later.add(key)

    def made_by_call(self, home: Home, name: str) -> Unit | None:
        """The assignment that made a type without a `class` statement: `Point = namedtuple(…)`, `Row = list[float]`."""
        for text in reversed(home.files.values()):
            bindings = text.bindings(name)
            if bindings and isinstance(bindings[-1], ast.Assign | ast.AnnAssign):
                node = bindings[-1]
                rank = (DEFINITION, home.order, list(home.files).index(text.name), node.lineno)
                return Unit(home.name, _statement(text, node), rank)
        return None

    def _keep(self, key: Key, value: Any, user: str) -> None:
        """Store a value beside the code."""
        made = _made_again(value)
        if made is not None:
            self._code.units[key] = Unit(key[0], f"{key[1]} = {made}", (CONSTANT, self._code.homes.order(key[0]), 0))
            return
        number, needs = self._frozen(value, f"the global {key[1]!r}, which {user} uses,")
        text = f"{key[1]} = __values__[{number}]  # {type(value).__name__}"
        self._code.units[key] = Unit(key[0], text, (VALUE, self._code.homes.order(key[0]), number), at_once=needs)

    def _frozen(self, value: Any, label: str) -> tuple[int, set[Key]]:
        """Store a value once; returns its number, and the definitions that reading it needs."""
        if id(value) not in self._values:
            needs: set[Key] = set()

            def place(target: Any) -> Key | None:
                key = self._place(target)
                if key is not None:
                    needs.add(key)
                return key

            try:
                content = freeze(value, place=place)
            except ArtifactUnsupported as error:
                raise not_carried(label, value, error) from error
            self.contents.append(content)
            self._values[id(value)] = (value, len(self.contents), needs)
        return self._values[id(value)][1:]

    def argument(self, home: Home, value: Any, label: str, unit: Unit) -> str:
        """The expression that gives a value to a factory or a class; what it needs is noted in the unit."""
        plain = literal(value)
        if plain is not None:
            return plain
        placed = self._place(value) if isinstance(value, type | FunctionType) else None
        if placed is not None and placed[0] == home.name:
            unit.at_once.add(placed)
            return placed[1]
        if isinstance(value, type | FunctionType | ModuleType | BuiltinFunctionType):
            name = next((own for own, found in home.namespace.items() if found is value and own.isidentifier()), None)
            key = self.bind(home, name, label) if name else None
            if key is None:
                name = self._code.fresh(home, getattr(value, "__name__", "value").rpartition(".")[2])
                key = (home.name, name)
                self._resolve(home, name, value, label, own=False)
            unit.at_once.add(key)
            return key[1]
        made = _made_again(value)
        if made is not None:
            return made
        number, needs = self._frozen(value, label)
        unit.at_once |= needs
        return f"__values__[{number}]"


def _import_module(module: str, name: str) -> str:
    top, _, leaf = module.rpartition(".")
    if name == module:
        return f"import {module}"
    return f"from {top} import {leaf}" if top and leaf == name else f"import {module} as {name}"


def _import_name(module: str, path: str, name: str) -> str:
    top, _, rest = path.partition(".")
    if rest:
        return f"from {module} import {top} as {name}\n{name} = {name}.{rest}"
    return f"from {module} import {top}" + ("" if top == name else f" as {name}")


def _statement(text: SourceText, node: ast.stmt) -> str:
    return ast.get_source_segment(text.text, node) or ""


def _made_again(value: Any) -> str | None:
    """An expression for values that only their own function can make."""
    if type(value) is logging.Logger:
        return f"__import__('logging').getLogger({value.name!r})"
    if isinstance(value, re.Pattern):
        return f"__import__('re').compile({value.pattern!r}, {value.flags})"
    return None
