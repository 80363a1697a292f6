"""Collects the definitions that a model needs, so that an artifact can carry them: found from the live objects.

A class or function brings the text of its definition and of everything local that this uses. A global name is resolved
by its value: an installed module, class or function becomes an import, a plain value a constant, any other value a
skops file beside the code. Nothing else of a module is carried, so that loading runs no script.
"""

from __future__ import annotations

import ast
import sys
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from streamb.errors import ArtifactUnsupported
from streamb.models.code.class_members import written_class
from streamb.models.code.closures import Closures, Group
from streamb.models.code.collected import Collected, Task
from streamb.models.code.global_values import GlobalValues
from streamb.models.code.homes import Home
from streamb.models.code.refusals import no_source
from streamb.models.code.source_text import Found, SourceText
from streamb.models.code.uses import Uses
from streamb.models.code.written_code import VALUE, Key, Unit, write_code
from streamb.models.source import CARRIED, CARRIED_PREFIX, SourceBundle, check_size


class Definitions:
    """The code that one artifact carries."""

    def __init__(self) -> None:
        self._code = Collected()
        self._names = GlobalValues(self._code, self.place, self._define)
        self._uses = Uses(self._code, self._names)
        self._closures = Closures(self._code.homes)
        self._places: dict[int, tuple[Any, Key | None]] = {}
        self._carried: set[str] = set()

    def place(self, target: Any) -> Key | None:
        """Carry a class or function; returns where it will be found: (module, name).

        Returns None for what is installed, and for what is neither a class nor a function.

        Raises:
            ArtifactUnsupported: it cannot be carried; the message says what to change.
        """
        if id(target) not in self._places:
            key = self._find(target)
            if key is None and not isinstance(target, type | FunctionType):
                return None
            self._places[id(target)] = (target, key)  # kept, so that no other object gets its id
        return self._places[id(target)][1]

    def bundle(self) -> SourceBundle:
        """Return the files to carry; none if nothing local was placed.

        Raises:
            ArtifactUnsupported: as `place`, or all of it is too large.
        """
        self._uses.follow_all()
        if self._carried:
            if self._code.units or len(self._carried) > 1:
                raise ArtifactUnsupported(
                    "the model joins code that came out of an artifact with other code; save the parts as models of "
                    "their own, or import the classes from the module that defines them"
                )
            return CARRIED[next(iter(self._carried))]
        if not self._code.units:
            return SourceBundle({})
        homes = self._code.homes.known
        futures = {home.name: home.futures for home in homes}
        packages = {home.name for home in homes if home.is_package}
        bundle = write_code(self._code.units, packages, futures, self._names.contents)
        check_size(bundle.files)
        return bundle

    def write(self, folder: Path) -> None:
        """Write the files to carry below `folder/code`."""
        self.bundle().write(folder)

    def _find(self, target: Any) -> Key | None:
        if isinstance(target, type):
            return self._find_class(target) if self._code.homes.is_local(target.__module__) else None
        if isinstance(target, FunctionType):
            module = target.__globals__.get("__name__")
            if not self._code.homes.is_local(module):
                return self._find_by_name(target)  # what an installed decorator made of one of the user's own
            return self._find_function(target, str(module))
        if isinstance(target, MethodType | BuiltinFunctionType | partial | ModuleType):
            return None
        return self._find_by_name(target) if callable(target) else None

    def _find_by_name(self, target: Any) -> Key | None:
        """Carry what a decorator made, by the module and the name that it states; None if it is not there."""
        name, module = getattr(target, "__name__", None), getattr(target, "__module__", None)
        if not isinstance(name, str) or not self._code.homes.is_local(module) or module not in sys.modules:
            return None
        if vars(sys.modules[module]).get(name) is not target:
            return None
        if module.startswith(CARRIED_PREFIX):
            return self._find_carried(target, module)
        home = self._code.homes.home(module)
        return (home.name, name) if self._names.decorated(home, name, target) else None

    def _find_carried(self, target: Any, module: str) -> Key:
        root = module.partition(".")[0]
        self._carried.add(root)
        inside = [name for name in sys.modules if name.startswith(f"{root}.") and name != module]
        for found in (module, *inside):
            for name, value in vars(sys.modules[found]).items():
                if value is target:
                    return found.partition(".")[2], name
        raise ArtifactUnsupported(
            f"{target.__qualname__} was made by code that came out of an artifact, and has no name there"
        )

    def _find_class(self, cls: type) -> Key:
        if cls.__module__.startswith(CARRIED_PREFIX):
            return self._find_carried(cls, cls.__module__)
        if cls.__module__ not in sys.modules:
            raise no_source(cls)
        home = self._code.homes.home(cls.__module__)
        outer, _, leaf = cls.__qualname__.rpartition(".")
        if not outer and home.namespace.get(leaf) is cls:
            return self._define_class(cls, home)
        if outer and "<locals>" not in cls.__qualname__:
            key = self._member_of_class(home, cls, cls.__qualname__.split(".")[:-1])
            if key is not None:
                return key
        source = self._class_source(cls, home)
        if source is None:
            raise no_source(cls)
        return self._join(self._closures.group_of(cls, home, *source), cls)

    def _define_class(self, cls: type, home: Home) -> Key:
        key = (home.name, cls.__name__)
        if key in self._code.units:
            return key
        source = self._class_source(cls, home)
        if source is None:
            made = self._names.made_by_call(home, cls.__name__)
            if made is None:
                raise no_source(cls)
            self._code.add(key, made, home, cls.__name__)
            return key
        self._code.units[key] = unit = Unit(home.name, "", self._code.rank(home, *source))
        unit.text = self._class_text(cls, *source, unit, home)
        self._code.tasks.append(Task(unit, home, cls.__name__))
        return key

    def _class_text(self, cls: type, text: SourceText, found: Found, unit: Unit, home: Home) -> str:
        def argument(value: Any, label: str) -> str:
            return self._names.argument(home, value, label, unit)

        written = written_class(cls, text, found, argument, self._code.homes)
        for name, value in written.members.items():
            later = Unit(
                home.name, "", (VALUE, home.order, 0, len(self._code.units)), at_once={(home.name, cls.__name__)}
            )
            given = self._names.argument(home, value, f"the attribute {cls.__name__}.{name}", later)
            later.text = f"{cls.__name__}.{name} = {given}"
            self._code.units[home.name, f"{cls.__name__}.{name}"] = later
            unit.later.add((home.name, f"{cls.__name__}.{name}"))
        return text.lines(found.node, written.edits)

    def _class_source(self, cls: type, home: Home) -> tuple[SourceText, Found] | None:
        """The text of a class: the file of one of its methods, else the files of its module."""
        members = (getattr(member, "__func__", member) for member in vars(cls).values())
        for member in members:
            if isinstance(member, FunctionType) and member.__globals__ is home.namespace:
                self._code.homes.text(home, member.__code__.co_filename)
        texts = reversed(home.files.values())
        return next(((text, found) for text in texts if (found := text.definition_of(cls)) is not None), None)

    def _find_function(self, function: FunctionType, module: str) -> Key:
        if module.startswith(CARRIED_PREFIX):
            return self._find_carried(function, module)
        code, home = function.__code__, self._code.homes.home(module, function.__globals__)
        text = self._code.homes.text(home, code.co_filename)
        found = text.function(code) if text is not None else None
        if text is None or found is None:
            raise no_source(function)
        if not found.outer and code.co_name != "<lambda>" and home.namespace.get(code.co_name) is function:
            return self._define(home, code.co_name, text, found)
        if found.outer and all(isinstance(node, ast.ClassDef) for node in found.outer):
            path = [node.name for node in found.outer if isinstance(node, ast.ClassDef)]
            key = self._member_of_class(home, function, path)
            if key is not None:
                return key
        key = self._find_by_name(function)
        return key or self._join(self._closures.group_of(function, home, text, found), function)

    def _define(self, home: Home, name: str, text: SourceText, found: Found) -> Key:
        key = (home.name, name)
        if key not in self._code.units:
            self._code.add(key, Unit(home.name, text.lines(found.node), self._code.rank(home, text, found)), home, name)
        return key

    def _member_of_class(self, home: Home, target: Any, path: list[str]) -> Key | None:
        """Carry the class around a method or class, and give the inner one a name of its own."""
        owner: Any = home.namespace.get(path[0])
        for part in path[1:]:
            owner = vars(owner).get(part) if isinstance(owner, type) else None
        if not isinstance(owner, type):
            return None
        for name, member in vars(owner).items():
            for ending in ("__func__", "fget", "fset", ""):
                if (getattr(member, ending, None) if ending else member) is target:
                    dotted = ".".join(path)
                    form = f"{dotted}.__dict__[{name!r}].{ending}" if ending else f"{dotted}.{name}"
                    key = (home.name, self._code.fresh(home, "_".join([*path, name])))
                    self._code.units[key] = unit = Unit(home.name, f"{key[1]} = {form}", (VALUE, home.order, 0))
                    placed = self.place(home.namespace[path[0]])
                    unit.at_once |= {placed} if placed else set()
                    return key
        return None

    def _join(self, group: Group, target: Any) -> Key:
        """Write the unit of a group of closures (again: a group may have grown)."""
        home = group.home
        key = (home.name, self._closures.name(group, target, partial(self._code.fresh, home)))
        self._places[id(target)] = (target, key)  # before its variables are: they may hold it
        unit = self._code.units.get((home.name, group.names[0]))
        if unit is None:
            unit = Unit(home.name, "", self._code.rank(home, group.text, group.members[0].found))
        self._code.units[key] = unit

        def argument(value: Any, label: str) -> str:
            return self._names.argument(home, value, label, unit)

        unit.text = self._closures.written(group, argument)
        self._code.tasks.append(Task(unit, home, group.label, calls_first=group.is_factory))
        return key
