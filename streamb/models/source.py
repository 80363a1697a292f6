"""Collects the source code that a user's own classes need, so that an artifact can carry it to another machine.

A class brings its module and every local module that one imports, directly or not; what only a computed name imports is
not found. The standard library, installed distributions and streamb itself are expected over there.
"""

from __future__ import annotations

import ast
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from streamb.errors import ArtifactUnsupported
from streamb.hashing import sha256_chunks, sha256_hex

MAX_SOURCE_BYTES: Final = 8 << 20
MAX_SOURCE_FILES: Final = 2_000
CODE_FOLDER: Final = "code"
CARRIED_PREFIX: Final = "_streamb_carried_"
"""Modules that came out of an artifact live under a package of this name and a digest (see `carried`)."""

_INSTALLED_FOLDERS: Final = {"site-packages", "dist-packages"}
_MAIN: Final = "__main__"


@dataclass(frozen=True, slots=True)
class SourceBundle:
    """Source files by their path below the import root: `pkg/__init__.py`, `pkg/net.py`, `script.py`, `__main__.py`."""

    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of names and contents."""
        return sha256_chunks(f"{path}\0{sha256_hex(self.files[path])}\n".encode() for path in sorted(self.files))

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules in it, as they were imported where it was made."""
        names = (path.removesuffix(".py").replace("/", ".") for path in sorted(self.files))
        return tuple(name.removesuffix(".__init__") for name in names)

    def write(self, folder: Path) -> None:
        """Write the files below `folder/code`."""
        for path, content in self.files.items():
            target = folder / CODE_FOLDER / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    @classmethod
    def read(cls, folder: Path) -> SourceBundle:
        """Read a bundle that `write` wrote; empty if there is none."""
        root = folder / CODE_FOLDER
        return cls({path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))})


CARRIED: Final[dict[str, SourceBundle]] = {}
"""The bundles that `carried` made importable in this process, by the private package's name."""


def original_name(module: str) -> str:
    """Return a module's name outside of this process; it differs for a script run with `-m`, or a carried module.

    >>> original_name("_streamb_carried_0123456789abcdef.pkg.net")
    'pkg.net'
    """
    if module.startswith(CARRIED_PREFIX):
        return module.partition(".")[2]
    if module == _MAIN:
        spec = getattr(sys.modules.get(_MAIN), "__spec__", None)
        return spec.name if spec is not None else _MAIN
    return module


def is_local(module: str) -> bool:
    """Return whether another machine with the same installed distributions would lack this module."""
    if module.startswith(CARRIED_PREFIX) or module == _MAIN:
        return True
    top = module.partition(".")[0]
    if top == "streamb" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    origin = _origin(module)
    if origin is None:
        # typed at a prompt: `collect` says so; anything else without a file is part of something installed
        root = sys.modules.get(top)
        return root is not None and getattr(root, "__file__", None) is None and not hasattr(root, "__path__")
    return not _is_installed(origin)


def collect(modules: Iterable[str]) -> SourceBundle:
    """Collect the source of these modules (names in this process) and of all local modules that they import.

    Raises:
        ArtifactUnsupported: a module has no source file (typed at a prompt, compiled), or all of it is too large.
    """
    files: dict[str, bytes] = {}
    waiting, seen = list(modules), set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if module.startswith(CARRIED_PREFIX):
            files |= CARRIED[module.partition(".")[0]].files
            continue
        name, origin = original_name(module), _origin(module)
        waiting += (parent for parent in _parents(name) if _origin(parent) is not None)
        if origin is None or origin.suffix != ".py" or not origin.is_file():
            raise ArtifactUnsupported(
                f"the module {name!r} has no source file that the artifact could carry; define the class in a .py file"
            )
        is_package = origin.name == "__init__.py"
        content = origin.read_bytes()
        files[name.replace(".", "/") + ("/__init__.py" if is_package else ".py")] = content
        _check_size(files)
        package = name if is_package else name.rpartition(".")[0]
        waiting += (found for found in _imported(name, package, content) if found not in seen and is_local(found))
    return SourceBundle(dict(sorted(files.items())))


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts)))


def _imported(name: str, package: str, content: bytes) -> Iterator[str]:
    """The modules that a source file imports, wherever in it the statement stands."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise ArtifactUnsupported(f"{name}, which the artifact would carry, is not valid Python: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # a relative import outside of any package: it fails here as it would there
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # a module, or a name in one: is_local knows


def _origin(module: str) -> Path | None:
    """The file of a module, found without importing anything; None if there is no such file."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return Path(file).resolve() if file else None
    parent, _, leaf = module.rpartition(".")
    if not parent:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None
    candidates = (folder / end for folder in _folders(parent) for end in (f"{leaf}/__init__.py", f"{leaf}.py"))
    return next((path.resolve() for path in candidates if path.is_file()), None)


def _folders(package: str) -> list[Path]:
    """The folders that hold the modules of a package; empty if this is not a package."""
    loaded = sys.modules.get(package)
    if loaded is not None:
        return [Path(folder) for folder in getattr(loaded, "__path__", ())]
    origin = _origin(package)
    return [origin.parent] if origin is not None and origin.name == "__init__.py" else []


@cache
def _installed_roots() -> tuple[Path, ...]:
    known = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(root).resolve() for root in known | {site.getusersitepackages()} if root)


def _is_installed(origin: Path) -> bool:
    return not _INSTALLED_FOLDERS.isdisjoint(origin.parts) or any(map(origin.is_relative_to, _installed_roots()))


def _check_size(files: Mapping[str, bytes]) -> None:
    if len(files) > MAX_SOURCE_FILES or sum(map(len, files.values())) > MAX_SOURCE_BYTES:
        raise ArtifactUnsupported(
            f"the code to carry has more than {MAX_SOURCE_FILES} files or {MAX_SOURCE_BYTES >> 20} MiB; move the "
            "model's class into a small package of its own, or install its package where streamb runs"
        )
