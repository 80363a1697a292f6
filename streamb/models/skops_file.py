"""Python objects in skops files, made canonical: the same object always gives the same bytes.

skops writes object addresses, random file names and the order of sets into its files, which differ from one process to
the next. Here they are replaced by their order of appearance. A skops file is a ZIP with `schema.json` (a tree of
nodes) and one file per array. Reading builds only types that skops trusts by itself, unless the caller vouches for it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted
from streamb.models.archive import write_entry
from streamb.models.skops_import import skops_io

_TREE: Final = "schema.json"
_IMMUTABLE: Final = frozenset({"JsonNode", "TypeNode", "FunctionNode", "TupleNode", "BytesNode", "SliceNode"})
_ADDRESSES: Final = frozenset({"_stop_words_id"})  # a vectorizer notes which list of stop words it has checked
_MAX_NAMED: Final = 10

Rename = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The result of `freeze`.

    Attributes:
        content: the bytes of the file.
        modules: the modules of every type in it, by their names in this process.
    """

    content: bytes
    modules: frozenset[str]


def freeze(obj: Any, *, module_name: Rename = lambda name: name) -> Frozen:
    """Return `obj` as canonical skops bytes.

    Args:
        module_name: maps a module's name in this process to the name that is written.

    Raises:
        ArtifactUnsupported: something in the object has no skops form.
    """
    try:
        raw = skops_io().dumps(obj)
    except RecursionError as error:
        raise ArtifactUnsupported(
            f"{type(obj).__name__} refers to itself or is nested too deep to be stored"
        ) from error
    except Exception as error:  # skops raises its own type, and TypeError, ValueError, AttributeError besides
        raise ArtifactUnsupported(f"{type(obj).__name__} holds something that cannot be stored: {error}") from error
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        tree = json.loads(source.read(_TREE))
        canonical = _Canonical(module_name)
        canonical.visit(tree)
        contents = {name: _settled(name, source.read(old)) for old, name in canonical.files.items()}
    return Frozen(_write(tree, contents), frozenset(canonical.modules))


def untrusted_types(content: bytes) -> list[str]:
    """Return the types in the file that skops does not trust by default."""
    return list(skops_io().get_untrusted_types(data=content))


def thaw(content: bytes, *, may_run_code: bool, modules: Mapping[str, str] | None = None) -> Any:
    """Restore the object from `freeze`'s bytes.

    Args:
        may_run_code: whether to build any type that the file names (its module is imported).
        modules: written module name -> the name it has in this process.

    Raises:
        ArtifactUntrusted: the file names types beyond skops's own safe list, and `may_run_code` is False.
        ArtifactCorrupt: it is compressed, which `freeze` never does: it could unpack to any size.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in source.infolist()):
            raise ArtifactCorrupt("the skops file is compressed; save the model with streamb")
    types = untrusted_types(content)
    if types and not may_run_code:
        named = ", ".join(types[:_MAX_NAMED])
        raise ArtifactUntrusted(
            f"the model holds types beyond the safe list ({named}); they load only from a signed artifact",
            types=types,
        )
    if modules:
        content = _renamed(content, modules)
        types = untrusted_types(content)
    return skops_io().loads(content, trusted=types)


def _renamed(content: bytes, modules: Mapping[str, str]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        tree = json.loads(source.read(_TREE))
        contents = {name: source.read(name) for name in source.namelist() if name != _TREE}
    _Canonical(lambda name: modules.get(name, name)).visit(tree)
    return _write(tree, contents)


def _write(tree: Any, contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        # the order of keys is kept: a dictionary's keys and their types are matched by position
        write_entry(target, _TREE, json.dumps(tree, separators=(",", ":")).encode())
        for name, data in contents.items():
            write_entry(target, name, data)
    return buffer.getvalue()


class _Canonical:
    """Walks a skops tree and renumbers what differs between processes.

    Attributes:
        files: the file's name as skops wrote it -> its new name, in order of appearance.
        modules: the modules named in the tree, before they are renamed.
    """

    def __init__(self, module_name: Rename) -> None:
        self._module_name = module_name
        self._numbers: dict[Any, int] = {}
        self.files: dict[str, str] = {}
        self.modules: set[str] = set()

    def visit(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self.visit(item)
        elif isinstance(value, dict):
            if isinstance(value.get("__loader__"), str):
                self._visit_node(value)
            else:
                for item in value.values():
                    self.visit(item)

    def _visit_node(self, node: dict[str, Any]) -> None:
        if node["__loader__"] in _IMMUTABLE:
            node.pop("__id__", None)  # whether equal constants are one object is an accident of the process
        elif "__id__" in node:
            node["__id__"] = self._numbers.setdefault(node["__id__"], len(self._numbers) + 1)
        self.modules.add(node["__module__"])
        node["__module__"] = self._module_name(node["__module__"])
        if isinstance(node.get("file"), str):
            old = node["file"]
            node["file"] = self.files.setdefault(old, f"{len(self.files)}.{old.rpartition('.')[2]}")
        if node["__loader__"] == "ObjectNode" and node["__module__"].startswith("sklearn."):
            _drop_addresses(node.get("content"))
        if node["__loader__"] == "SetNode":
            node["content"].sort(key=_without_identity)
        for key, value in node.items():
            if key == "content" and node["__loader__"] == "DictNode":
                for item in value.values():  # its keys are the user's and may be called anything
                    self.visit(item)
            elif isinstance(value, dict | list):
                self.visit(value)


def _drop_addresses(state: Any) -> None:
    """Take memory addresses out of an estimator's attributes; scikit-learn does without them."""
    if not isinstance(state, dict) or state.get("__loader__") != "DictNode":
        return
    for name in _ADDRESSES & state["content"].keys():
        del state["key_types"]["content"][list(state["content"]).index(name)]
        del state["content"][name]


def _without_identity(node: Any) -> str:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in {"__id__", "file"}}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return json.dumps(strip(node), sort_keys=True)


def _settled(name: str, content: bytes) -> bytes:
    """An array file whose padding bytes, which are whatever memory held, are zero."""
    if not name.endswith(".npy"):
        return content
    table = np.load(io.BytesIO(content), allow_pickle=False)
    if table.dtype.names is None:
        return content
    clean = np.zeros(table.shape, table.dtype)
    for field in table.dtype.names:
        clean[field] = table[field]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
