"""What is collected for one artifact: units of code, and those whose names are still to be resolved."""

from __future__ import annotations

import builtins
import keyword
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from streamb.models.code.homes import Home, Homes
from streamb.models.code.source_text import Found, SourceText
from streamb.models.code.written_code import DEFINITION, Key, Unit

PROVIDED: Final = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__path__", "__builtins__",
     "__qualname__", "__module__", "__values__", "__annotations__", "__class__", "__cached__", "__debug__"}
)  # fmt: skip
"""Names that a module has without binding them."""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit whose names are still to be resolved.

    Attributes:
        unit: the unit.
        home: the module whose names it uses.
        label: what messages call it.
        calls_first: whether its first function is called at once (a factory).
        optional: whether the artifact may do without it.
    """

    unit: Unit
    home: Home
    label: str
    calls_first: bool = False
    optional: bool = False


@dataclass(slots=True)
class Collected:
    """The units of all modules, by each name that they bind, and what is still to be done."""

    homes: Homes = field(default_factory=Homes)
    units: dict[Key, Unit] = field(default_factory=dict)
    tasks: deque[Task] = field(default_factory=deque)

    def add(self, key: Key, unit: Unit, home: Home, label: str) -> None:
        """Take a unit whose names are to be resolved."""
        self.units[key] = unit
        self.tasks.append(Task(unit, home, label))

    def rank(self, home: Home, text: SourceText, found: Found) -> tuple[int, ...]:
        """Return the place of a definition in the user's own source."""
        return DEFINITION, home.order, list(home.files).index(text.name), found.first_line

    def fresh(self, home: Home, base: str) -> str:
        """Return a name that the module does not have yet."""
        base = re.sub(r"\W", "_", base.strip("<>")) or "value"
        base = "function" if keyword.iskeyword(base) else base
        taken = home.namespace.keys() | {name for module, name in self.units if module == home.name}
        name, number = base, 1
        while name in taken or hasattr(builtins, name):
            number += 1
            name = f"{base}_{number}"
        return name
