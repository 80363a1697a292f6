"""The user's own modules, as they are in this process: their names, their live values and their source files."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from streamb.errors import ArtifactUnsupported
from streamb.models.code.source_text import SourceText, read_source
from streamb.models.source import CARRIED_PREFIX, is_local, original_name

_MAIN: Final = "__main__"


@dataclass(slots=True)
class Home:
    """A module of the user's own.

    Attributes:
        name: its name in the artifact.
        namespace: its live global values.
        package: the package that its relative imports start from.
        is_package: whether it is a package itself.
        order: how many modules came before it.
        files: its source by file name; a notebook has one for each cell.
    """

    name: str
    namespace: dict[str, Any]
    package: str
    is_package: bool
    order: int
    files: dict[str, SourceText] = field(default_factory=dict)

    @property
    def futures(self) -> set[str]:
        """The features of `__future__` that its files import."""
        return {name for text in self.files.values() for name in text.futures}


class Homes:
    """All modules of the user's own that were asked for."""

    def __init__(self) -> None:
        self._homes: dict[str, Home] = {}
        self._texts: dict[str, SourceText | None] = {}
        self._local: dict[str, bool] = {}

    def is_local(self, module: object) -> bool:
        """Return whether this names a module that is not installed."""
        if not isinstance(module, str):
            return False
        if module not in self._local:
            self._local[module] = is_local(module)
        return self._local[module]

    def home(self, module: str, namespace: dict[str, Any] | None = None) -> Home:
        """Return a module by its name in this process.

        Args:
            namespace: its globals, where a function states them; by default those of the imported module.
        """
        name = original_name(module)
        if name not in self._homes:
            if namespace is None:
                namespace = vars(sys.modules[module])
            is_package = "__path__" in namespace and module != _MAIN
            package = name if is_package else name.rpartition(".")[0]
            home = Home(name, namespace, package, is_package, len(self._homes))
            home.files.update({text.name: text for text in self._files(module, namespace)})
            self._homes[name] = home
        return self._homes[name]

    @property
    def known(self) -> list[Home]:
        """Every module that was asked for."""
        return list(self._homes.values())

    def order(self, name: str) -> int:
        """How many modules came before the one with this name in the artifact."""
        return self._homes[name].order

    def text(self, home: Home, filename: str) -> SourceText | None:
        """Return the source of a file that a code object names; None if it is not known."""
        if filename.startswith(CARRIED_PREFIX):
            return None
        if filename not in self._texts:
            self._texts[filename] = read_source(filename, home.namespace)
        found = self._texts[filename]
        if found is not None:
            home.files.setdefault(filename, found)
        return found

    def _files(self, module: str, namespace: dict[str, Any]) -> Iterator[SourceText]:
        names = [namespace.get("__file__")]
        if module == _MAIN:  # the cells of a notebook are known to `linecache` and were never files
            names += [name for name, entry in linecache.cache.items() if len(entry) == 4 and entry[1] is None]
        for name in names:
            if isinstance(name, str) and not name.startswith((CARRIED_PREFIX, "<attrs")):
                try:
                    found = read_source(name, namespace)
                except ArtifactUnsupported:  # a cell that never ran, or a file of another kind
                    continue
                if found is not None:
                    self._texts[name] = found
                    yield found


def local_module(value: object, homes: Homes) -> bool:
    """Return whether a value is a module of the user's own."""
    return isinstance(value, ModuleType) and homes.is_local(value.__name__)
