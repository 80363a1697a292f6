"""Models of any kind behind one interface: wrap, check input, save, verify, sign, load.

Importing this package imports no machine-learning library; each name is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamb.models.archive import pack, unpack
    from streamb.models.artifact import sign_artifact, verify_artifact
    from streamb.models.manifest import FORMAT_VERSION, FileEntry, Manifest
    from streamb.models.model import Model, Task, load_artifact, save_artifact
    from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_HOMES = {
    "FORMAT_VERSION": "manifest",
    "Feature": "schema",
    "FeatureKind": "schema",
    "FeatureSchema": "schema",
    "FileEntry": "manifest",
    "Manifest": "manifest",
    "Model": "model",
    "Task": "model",
    "load_artifact": "model",
    "pack": "archive",
    "save_artifact": "model",
    "sign_artifact": "artifact",
    "unpack": "archive",
    "verify_artifact": "artifact",
}

__all__ = [
    "FORMAT_VERSION",
    "Feature",
    "FeatureKind",
    "FeatureSchema",
    "FileEntry",
    "Manifest",
    "Model",
    "Task",
    "load_artifact",
    "pack",
    "save_artifact",
    "sign_artifact",
    "unpack",
    "verify_artifact",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
