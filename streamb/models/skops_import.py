"""Imports skops without torch: skops looks through all of scikit-learn, and one module there imports torch if it can.

Measured: 180 MB and 3 s for every process that loads a scikit-learn model. Whoever wants torch still gets it later.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _NoTorch:
    """A finder that says torch is not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch":
            raise ModuleNotFoundError("hidden while skops is imported", name=name)


def skops_io() -> ModuleType:
    """The module `skops.io`."""
    loaded = sys.modules.get("skops.io")
    if loaded is not None:
        return loaded
    finder = _NoTorch()
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, finder)
    try:
        import skops.io
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
    module: ModuleType = skops.io
    return module
