"""What to say about code and values that no artifact can carry: what it is, who uses it, what to change."""

from __future__ import annotations

import inspect
import io
import socket
import threading
from typing import Any, Final

from streamb.errors import ArtifactUnsupported

_INSIDE: Final = "make it inside the function that uses it, on its first call"


def no_source(target: Any) -> ArtifactUnsupported:
    """Return the error for a class or function whose source is not known."""
    kind = "class" if isinstance(target, type) else "function"
    return ArtifactUnsupported(
        f"the {kind} {target.__qualname__} of the module {target.__module__!r} has no source file that the artifact "
        "could carry (it was typed at a prompt, compiled from a text, or its file has changed since); define it in a "
        ".py file or a notebook's cell, and start again"
    )


def not_carried(label: str, value: Any, error: ArtifactUnsupported) -> ArtifactUnsupported:
    """Return the error for a value that no file can hold.

    Args:
        label: what it is called and who uses it, as the subject of a sentence.
        error: why it cannot be stored.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    reason = error.message if error.__cause__ is None else str(error.__cause__)
    return ArtifactUnsupported(f"{label} is a {kind}, which an artifact cannot carry ({reason}); {_change(value)}")


def _change(value: Any) -> str:
    module = type(value).__module__
    if isinstance(value, io.IOBase):
        return "open it inside the function that uses it, or keep what it holds in an attribute"
    if inspect.isgenerator(value) or type(value).__name__.endswith("iterator"):
        return "make it a list"
    if isinstance(value, threading.Thread | socket.socket) or module in {"_thread", "threading", "sqlite3", "queue"}:
        return _INSIDE
    return (
        f"{_INSIDE}, keep what it holds in attributes made of arrays, numbers and texts, or move the code that makes "
        "it into a package that is installed where the model is loaded"
    )
