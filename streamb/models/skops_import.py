"""Imports skops without its search through all of scikit-learn for estimators, which takes a second or two.

Every process that loads a scikit-learn model would pay for that, and with 180 MB more where torch is installed, as one
module there imports it. Which estimators a version of scikit-learn has never changes, so the list of the pinned version
is kept beside this file; with another version skops looks for itself, without torch.

After another version is pinned: `python -m streamb.models.skops_import` writes the list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

LIST: Final = Path(__file__).with_name("sklearn_estimators.json")


class _NoTorch:
    """A finder that says torch is not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch":
            raise ModuleNotFoundError("hidden while skops is imported", name=name)


def skops_io() -> ModuleType:
    """The module `skops.io`."""
    if "skops.io" in sys.modules:
        return sys.modules["skops.io"]
    known = known_estimators()
    with _without_torch() if known is None else _estimators_are(known):
        return import_module("skops.io")


def known_estimators() -> list[str] | None:
    """Paths of the estimators of the scikit-learn that is installed; None when the list is of another version."""
    import sklearn

    kept = json.loads(LIST.read_text(encoding="utf-8"))
    return kept["estimators"] if kept["version"] == sklearn.__version__ else None


@contextmanager
def _without_torch() -> Iterator[None]:
    finder = _NoTorch()
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


@contextmanager
def _estimators_are(paths: list[str]) -> Iterator[None]:
    """Skops asks for classes and uses their names: it gets empty classes of these names."""
    import sklearn.utils

    named = [path.rsplit(".", 1) for path in paths]
    classes = [(name, type(name, (), {"__module__": module})) for module, name in named]
    asked = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = lambda: classes
    try:
        yield
    finally:
        sklearn.utils.all_estimators = asked


def found_estimators() -> list[str]:
    """Paths of the estimators of the scikit-learn that is installed, found by looking through it."""
    from sklearn.utils import all_estimators

    return sorted(f"{one.__module__}.{one.__name__}" for _, one in all_estimators())


if __name__ == "__main__":
    import sklearn

    LIST.write_text(json.dumps({"version": sklearn.__version__, "estimators": found_estimators()}, indent=1) + "\n")
