"""Turns collected definitions into the files of an artifact: one per module, and the order in which all of it runs.

The statements of all modules run in one order, each after what it needs at once, wherever that is: so modules that
import each other need no care.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from streamb.errors import ArtifactUnsupported
from streamb.models.source import ORDER_FILE, VALUES_FOLDER, SourceBundle

Key = tuple[str, str]
"""A name in a module: the module's name in the artifact, and the name."""

IMPORT, CONSTANT, DEFINITION, VALUE = range(4)


@dataclass(eq=False, slots=True)
class Unit:
    """Some statements that run together.

    Attributes:
        module: the module in which they run.
        text: their source.
        rank: where they come, if nothing else decides: the kind, then the place in the user's own source.
        at_once: what must be bound before they run.
        later: what the functions that they define use when they are called.
    """

    module: str
    text: str
    rank: tuple[int, ...]
    at_once: set[Key] = field(default_factory=set)
    later: set[Key] = field(default_factory=set)


def write_code(
    units: Mapping[Key, Unit], packages: Iterable[str], futures: Mapping[str, set[str]], values: list[bytes]
) -> SourceBundle:
    """Return the bundle.

    Args:
        units: every unit by each name that it binds.
        packages: the modules that are packages.
        futures: for each module what it imports from `__future__`.
        values: the content of the values' files, in order; the first has the number 1.
    """
    lines: dict[str, list[str]] = {}
    order: list[list[object]] = []
    kinds: dict[str, int] = {}
    for unit in _in_order(units):
        module = lines.setdefault(unit.module, _heading(futures.get(unit.module, set())))
        before, kinds[unit.module] = kinds.get(unit.module, unit.rank[0]), unit.rank[0]
        if module and DEFINITION in (before, unit.rank[0]):
            module += ["", ""]
        first = len(module) + 1
        module += unit.text.rstrip("\n").split("\n")
        if order and order[-1][0] == unit.module:
            order[-1][2] = len(module)
        else:
            order.append([unit.module, first, len(module)])
    stems = {module: module.replace(".", "/") for module in lines}
    inner = set(packages)
    files = {
        stems[module] + ("/__init__.py" if module in inner else ".py"): ("\n".join(text) + "\n").encode()
        for module, text in sorted(lines.items())
    }
    files[ORDER_FILE] = json.dumps(order).encode() + b"\n"
    files |= {f"{VALUES_FOLDER}/{number}.skops": content for number, content in enumerate(values, 1)}
    return SourceBundle(files)


def _heading(futures: set[str]) -> list[str]:
    return [f"from __future__ import {', '.join(sorted(futures))}", ""] if futures else []


def _in_order(units: Mapping[Key, Unit]) -> list[Unit]:
    """The units, each after what it needs at once and all that this uses; otherwise by rank.

    Raises:
        ArtifactUnsupported: two units need each other at once.
    """
    _refuse_circles(units)
    done: list[Unit] = []
    started: set[int] = set()
    running: set[int] = set()

    def waits(unit: Unit) -> bool:
        """Whether it needs a unit that is still waiting for its own."""
        needed = [units[key] for key in unit.at_once & units.keys()]
        return any(id(one) in running or (id(one) not in started and waits(one)) for one in needed)

    def visit(unit: Unit) -> None:
        if id(unit) in started:
            return
        started.add(id(unit))
        running.add(id(unit))
        for key in sorted(unit.at_once & units.keys()):
            visit(units[key])
            visit_used(units[key], set())
        running.remove(id(unit))
        done.append(unit)

    def visit_used(unit: Unit, seen: set[int]) -> None:
        """Also what it uses when it is called, as far as that can come first."""
        seen.add(id(unit))
        for key in sorted((unit.later | unit.at_once) & units.keys()):
            if id(units[key]) not in seen and not waits(units[key]):
                visit(units[key])
                visit_used(units[key], seen)

    for unit in sorted(set(units.values()), key=lambda unit: (unit.rank, unit.module, unit.text)):
        visit(unit)
    return done


def _refuse_circles(units: Mapping[Key, Unit]) -> None:
    needs = {id(unit): [units[key] for key in unit.at_once if key in units] for unit in units.values()}
    sorter = TopologicalSorter({unit: {id(other) for other in others} for unit, others in needs.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        names = sorted({key[1] for key, unit in units.items() if id(unit) in error.args[1]})
        raise ArtifactUnsupported(
            f"{' and '.join(names)} hold each other, so that neither can be made first; make one of them an attribute "
            "or an argument of the other"
        ) from error
