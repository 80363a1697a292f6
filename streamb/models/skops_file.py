"""Python objects in skops files, made canonical: the same object always gives the same bytes.

skops writes object addresses, random file names and the order of sets into its files, which differ from one process to
the next. Here they are replaced by their order of appearance. A skops file is a ZIP with `schema.json` (a tree of
nodes) and one file per array. Reading builds only types that skops trusts by itself, unless the caller vouches for it.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

import numpy as np

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, ArtifactUntrusted
from streamb.models import stored_values
from streamb.models.archive import write_entry
from streamb.models.skops_import import skops_io
from streamb.models.stored_values import Parts, stored_kinds

_TREE: Final = "schema.json"
_IMMUTABLE: Final = frozenset({"JsonNode", "TypeNode", "FunctionNode", "TupleNode", "BytesNode", "SliceNode"})
_ADDRESSES: Final = frozenset({"_stop_words_id"})  # a vectorizer notes which list of stop words it has checked
_CONTAINERS: Final = frozenset({"JsonNode", "DictNode", "ListNode", "TupleNode", "SetNode", "NdArrayNode", "BytesNode"})
_OPEN_FILE: Final = io.IOBase.__base__
_MAX_NAMED: Final = 10

Rename = Callable[[str], str]
Place = Callable[[Any], tuple[str, str] | None]
"""Where a type or function will be found: (module, name); None where the module and name that it states are right."""


def freeze(obj: Any, *, place: Place = lambda _: None) -> bytes:
    """Return `obj` as canonical skops bytes.

    Args:
        place: asked for every type and function in the object.

    Raises:
        ArtifactUnsupported: something in the object has no skops form.
    """
    try:
        tree, objects, files = _dumped(obj)
    except RecursionError as error:
        raise ArtifactUnsupported(
            f"{type(obj).__name__} refers to itself or is nested too deep to be stored"
        ) from error
    except Exception as error:  # skops raises its own type, and TypeError, ValueError, AttributeError besides
        reason = str(error).rstrip(".")
        raise ArtifactUnsupported(
            f"{type(obj).__name__} holds something that cannot be stored: {reason}. Make the model without it, or "
            "register an object of a class of your own that keeps numbers, strings and arrays and has a predict method"
        ) from error
    canonical = _Canonical(lambda name: name, objects, place)
    canonical.visit(tree)
    contents = {name: _settled(name, files[old]) for old, name in canonical.files.items()}
    return _write(tree, contents)


def _dumped(obj: Any) -> tuple[dict[str, Any], dict[int, Any], dict[str, bytes]]:
    """What `skops.io.dumps` writes: the tree, and the files by name; and each object by the id that the tree states."""
    skops_io()
    from skops import __version__
    from skops.io._utils import SaveContext, _get_state, get_state

    _get_state.register(_OPEN_FILE, _refuse_open_file)
    for kind, parts in stored_kinds():
        _get_state.register(kind, partial(_made_again, parts, get_state))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        context = SaveContext(zip_file=target)
        tree: dict[str, Any] = json.loads(json.dumps(get_state(obj, context)))
    with zipfile.ZipFile(buffer) as source:
        files = {name: source.read(name) for name in source.namelist()}
    return tree | {"protocol": context.protocol, "_skops_version": __version__}, dict(context.memo), files


def _made_again(parts: Parts, get_state: Callable[[Any, Any], Any], obj: Any, context: Any) -> dict[str, Any]:
    """The node of an object that a function of `stored_values` makes again from plainer ones."""
    function, arguments = parts(obj)
    content = get_state(arguments, context)
    return {
        "__class__": function.__name__,
        "__module__": function.__module__,
        "__loader__": "ConstructorFromReduceNode",
        "content": content,
    }


def _refuse_open_file(file: Any, _: Any) -> dict[str, Any]:
    """Stands in for the way in which skops would look at an open file, which can close it."""
    raise TypeError(f"cannot store an open file ({type(file).__name__})")


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
    """

    def __init__(
        self, module_name: Rename, objects: Mapping[int, Any] | None = None, place: Place = lambda _: None
    ) -> None:
        self._module_name, self._objects, self._place = module_name, objects or {}, place
        self._numbers: dict[Any, int] = {}
        self.files: dict[str, str] = {}

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
        if node.get("__id__") in self._objects:
            self._put_in_place(node, self._objects[node["__id__"]])
        if node["__loader__"] in _IMMUTABLE:
            node.pop("__id__", None)  # whether equal constants are one object is an accident of the process
        elif "__id__" in node:
            node["__id__"] = self._numbers.setdefault(node["__id__"], len(self._numbers) + 1)
        node["__module__"] = self._module_name(node["__module__"])
        if isinstance(node.get("file"), str):
            old = node["file"]
            node["file"] = self.files.setdefault(old, f"{len(self.files)}.{old.rpartition('.')[2]}")
        if node["__loader__"] == "ObjectNode" and node["__module__"].startswith("sklearn."):
            _drop_addresses(node.get("content"))
        _sort_sets(node)
        for key, value in node.items():
            if key == "content" and node["__loader__"] == "DictNode":
                for item in value.values():  # its keys are the user's and may be called anything
                    self.visit(item)
            elif isinstance(value, dict | list):
                self.visit(value)

    def _put_in_place(self, node: dict[str, Any], obj: Any) -> None:
        """Name the node's type or function as it will be found where the file is read."""
        loader = node["__loader__"]
        placed = self._place(obj) if loader not in _CONTAINERS and not isinstance(obj, type) else None
        if placed is not None:  # a function, or what a decorator made of one
            _turn(node, "FunctionNode", *placed)
            return
        if isinstance(obj, Enum) and loader in {"ObjectNode", "JsonNode"}:
            _turn(node, "ConstructorFromReduceNode", node["__module__"], node["__class__"])
            node["content"] = _tuple_of(obj.value)
        if loader in {"FunctionNode", "TypeNode"}:
            target = obj
        elif loader == "MethodNode":
            target = obj.__self__ if isinstance(obj.__self__, type) else type(obj.__self__)
            node["__module__"], node["__class__"] = target.__module__, target.__name__
        elif node["__module__"] == stored_values.__name__:
            return
        else:
            target = type(obj)
            if loader == "ObjectNode" and (node.get("content") or {}).get("content", "null") == "null":
                _check_state(obj)
        placed = self._place(target) if isinstance(target, type) else None
        if placed is not None:
            node["__module__"], node["__class__"] = placed
        elif isinstance(target, type | FunctionType | BuiltinFunctionType):
            _check_reachable(target, node["__module__"], node["__class__"])


def _check_state(obj: Any) -> None:
    """Refuse an object whose type keeps its state where skops cannot see it: a lock, a connection, an iterator."""
    try:
        reduced = obj.__reduce_ex__(2)
        type(obj).__new__(type(obj))  # type: ignore[call-overload]
    except Exception as error:
        raise ArtifactUnsupported(f"{type(obj).__name__} objects cannot be stored: {error}") from error
    if isinstance(reduced, str) or len(reduced[1]) > 1 or any(part is not None for part in reduced[3:]):
        raise ArtifactUnsupported(f"{type(obj).__name__} objects cannot be stored: their content is not in attributes")


def _turn(node: dict[str, Any], loader: str, module: str, name: str) -> None:
    node.pop("content", None)
    node.update({"__class__": name, "__module__": module, "__loader__": loader})


def _tuple_of(value: Any) -> dict[str, Any]:
    """The node of a tuple of one plain value."""
    if not isinstance(value, str | int | float | bool | None):
        raise ArtifactUnsupported(f"the member {value!r} of an enumeration is no number or text and cannot be stored")
    inner = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode"}
    content = [inner | {"content": json.dumps(value), "is_json": True}]
    return {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": content}


def _check_reachable(target: Any, module: str, name: str) -> None:
    """Refuse an installed function or type that no other process could find by its name."""
    if "<locals>" not in target.__qualname__ and not (module == "__main__" and not isinstance(target, type)):
        return
    if getattr(sys.modules.get(module), name, None) is not target:
        raise ArtifactUnsupported(
            f"the object holds {target.__qualname__} of {target.__module__}, which another process cannot find by its "
            "name; use a function or class from the top level of a module"
        )


def _sort_sets(node: dict[str, Any]) -> None:
    if node["__loader__"] == "SetNode":
        node["content"].sort(key=_without_identity)
    if (node["__module__"], node["__class__"]) == ("builtins", "frozenset"):
        node["content"]["content"][0]["content"].sort(key=_without_identity)


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
