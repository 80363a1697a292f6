"""Which modules are the user's own, and the files of code that an artifact carries of them.

The standard library, installed distributions and streamb itself are expected where the artifact is loaded.
"""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from streamb.errors import ArtifactUnsupported
from streamb.hashing import sha256_chunks, sha256_hex

MAX_SOURCE_BYTES: Final = 8 << 20
MAX_SOURCE_FILES: Final = 2_000
CODE_FOLDER: Final = "code"
ORDER_FILE: Final = "_streamb_order.json"
VALUES_FOLDER: Final = "_streamb_values"
CARRIED_PREFIX: Final = "_streamb_carried_"
"""Modules that came out of an artifact live under a package of this name and a digest (see `carried`)."""

_INSTALLED_FOLDERS: Final = {"site-packages", "dist-packages"}
_MAIN: Final = "__main__"


@dataclass(frozen=True, slots=True)
class SourceBundle:
    """Files by their path below the import root: `pkg/__init__.py`, `pkg/net.py`, `__main__.py`, and two more kinds.

    `ORDER_FILE` lists the order in which the statements run; `VALUES_FOLDER` holds values as skops files. A bundle
    without an order was written before 0.2: its modules are whole source files.
    """

    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of names and contents."""
        return sha256_chunks(f"{path}\0{sha256_hex(self.files[path])}\n".encode() for path in sorted(self.files))

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules in it, as they were imported where it was made."""
        python = (path for path in sorted(self.files) if path.endswith(".py"))
        names = (path.removesuffix(".py").replace("/", ".") for path in python)
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
        return cls(
            {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
        )


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


def check_size(files: Mapping[str, bytes]) -> None:
    """Refuse more code than `MAX_SOURCE_FILES` or `MAX_SOURCE_BYTES`; values do not count.

    Raises:
        ArtifactUnsupported: there is more.
    """
    files = {path: content for path, content in files.items() if path.endswith(".py")}
    if len(files) > MAX_SOURCE_FILES or sum(map(len, files.values())) > MAX_SOURCE_BYTES:
        raise ArtifactUnsupported(
            f"the code to carry has more than {MAX_SOURCE_FILES} files or {MAX_SOURCE_BYTES >> 20} MiB; move the "
            "model's class into a small package of its own, or install its package where streamb runs"
        )
