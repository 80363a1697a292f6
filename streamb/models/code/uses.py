"""Follows the names that carried code uses, until everything that they lead to is carried as well."""

from __future__ import annotations

import builtins
import importlib
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.code.collected import PROVIDED, Collected, Task
from streamb.models.code.free_names import FreeNames, free_names
from streamb.models.code.global_values import GlobalValues
from streamb.models.code.homes import Home, local_module
from streamb.models.code.written_code import IMPORT, Unit

_ABSENT: Final = object()


class Uses:
    """What the units of one artifact use."""

    def __init__(self, code: Collected, names: GlobalValues) -> None:
        self._code, self._names = code, names

    def follow_all(self) -> None:
        """Resolve the names of every unit, those that this brings included."""
        while self._code.tasks:
            task = self._code.tasks.popleft()
            try:
                self._follow(task)
            except ArtifactUnsupported:
                if not task.optional:
                    raise
                for key in [key for key, unit in self._code.units.items() if unit is task.unit]:
                    del self._code.units[key]

    def _follow(self, task: Task) -> None:
        unit, home = task.unit, task.home
        names = free_names(unit.text, futures=home.futures, package=home.package, calls_first=task.calls_first)

        def user(name: str) -> str:
            return names.users.get(name) or task.label

        for name in sorted(names.at_once):
            key = self._names.bind(home, name, user(name))
            if key is not None:
                unit.at_once |= {key} if self._code.units[key] is not unit else set()
            elif name not in PROVIDED and not hasattr(builtins, name):
                raise ArtifactUnsupported(
                    f"the definition of {task.label} uses {name!r}, which is no longer there or belongs to the "
                    f"function around it; define {name!r} at the top level of the module and keep it"
                )
        for name in sorted(names.perhaps | names.later):
            key = self._names.bind(home, name, user(name))
            if key is not None and self._code.units[key] is not unit:
                (unit.at_once if name in names.perhaps else unit.later).add(key)
        for name in sorted(names.noted - names.at_once - names.later):
            if isinstance(home.namespace.get(name), type | ModuleType) and name.isidentifier():
                self._try_to_bind(home, name, unit, at_once=True)
        self._follow_modules(names, task)

    def _follow_modules(self, names: FreeNames, task: Task) -> None:
        home, unit = task.home, task.unit
        for name, chains in sorted(names.chains.items()):
            value = home.namespace.get(name)
            if name not in names.at_once | names.later or not isinstance(value, ModuleType):
                continue
            for chain in sorted(chains):
                if local_module(value, self._code.homes):
                    self._follow_chain(value, chain, unit, task.label, at_once=name in names.at_once)
                else:
                    self._import_inner(home, name, value, chain)
        self._follow_imports(names, task)

    def _follow_imports(self, names: FreeNames, task: Task) -> None:
        """Follow the imports within functions."""
        unit = task.unit
        for module, name in names.modules:
            if self._code.homes.is_local(module):
                value = self._imported(module, task.label)
                value = value if name != module.partition(".")[0] else self._imported(name, task.label)
                for chain in sorted(names.chains.get(name, ())) if value is not None else ():
                    self._follow_chain(value, chain, unit, task.label, at_once=False)
        for module, name in names.members:
            if self._code.homes.is_local(module):
                value = self._imported(module, task.label)
                if value is not None:
                    self._follow_chain(value, () if name == "*" else (name,), unit, task.label, at_once=False)

    def _import_inner(self, home: Home, name: str, module: ModuleType, chain: tuple[str, ...]) -> None:
        """Import what `import a.b.c` imported beside `a`: the modules that are read of an installed one."""
        found = module
        for part in chain:
            inner = getattr(found, part, None)
            if not isinstance(inner, ModuleType) or inner.__name__ != f"{found.__name__}.{part}":
                break
            found = inner
        if found is not module and (home.name, f"import {found.__name__}") not in self._code.units:
            as_name = "" if name == module.__name__ else f" as {self._code.fresh(home, found.__name__)}"
            text = f"import {found.__name__}{as_name}"
            self._code.units[home.name, text.partition(" as ")[0]] = Unit(home.name, text, (IMPORT, home.order, 0))

    def _follow_chain(self, module: Any, chain: tuple[str, ...], unit: Unit, label: str, *, at_once: bool) -> None:
        """Bind what is read of a local module: `helper.tables.FACTORS`; of a module used by itself, all it has."""
        home = self._code.homes.home(module.__name__, vars(module))
        group = unit.at_once if at_once else unit.later
        self._code.units.setdefault(
            (home.name, "__name__"), Unit(home.name, f"# {home.name}", (IMPORT, home.order, -1))
        )  # so that the module is there, whatever of it is used
        if not chain:
            for name in [name for name in vars(module) if not name.startswith("__")]:
                self._try_to_bind(home, name, unit, at_once=at_once)
            return
        value = vars(module).get(chain[0], _ABSENT)
        if value is _ABSENT:
            value = self._imported(f"{module.__name__}.{chain[0]}", label) if hasattr(module, "__path__") else None
        if local_module(value, self._code.homes):
            if chain[0] in vars(module) and value.__name__ != f"{module.__name__}.{chain[0]}":
                key = self._names.bind(home, chain[0], label)
                group |= {key} if key else set()
            self._follow_chain(value, chain[1:], unit, label, at_once=at_once)
            return
        key = self._names.bind(home, chain[0], label)
        if key is not None and self._code.units[key] is not unit:
            group.add(key)

    def _imported(self, module: str, label: str) -> Any:
        """A local module, imported as the model's own code would do; None if there is none."""
        try:
            return importlib.import_module(module)
        except ImportError:
            return None
        except Exception as error:
            raise ArtifactUnsupported(
                f"{label} imports {module!r}, which fails here: {type(error).__name__}: {error}"
            ) from error

    def _try_to_bind(self, home: Home, name: str, unit: Unit, *, at_once: bool) -> None:
        """Bind a name if that is possible; without it the model may still work."""
        known = len(self._code.tasks)
        try:
            key = self._names.bind(home, name, "the model")
        except ArtifactUnsupported:
            return
        for position in range(known, len(self._code.tasks)):
            task = self._code.tasks[position]
            self._code.tasks[position] = replace(task, optional=True)
        if key is not None and self._code.units[key] is not unit:
            (unit.at_once if at_once else unit.later).add(key)
