"""Limits numerical libraries to one thread: for trials that run side by side, and for a search's small matrices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Pools:
    """The thread pools of the numerical libraries; looked up again when more modules were loaded."""

    def __init__(self) -> None:
        self._controller: Any = None
        self._seen = -1

    @contextmanager
    def limited(self) -> Iterator[None]:
        from threadpoolctl import ThreadpoolController

        if self._controller is None or self._seen != len(sys.modules):
            self._controller, self._seen = ThreadpoolController(), len(sys.modules)
        with self._controller.limit(limits=1):
            yield


one_thread = _Pools().limited
"""A context in which numerical libraries use one thread: results are the same on any machine, and small matrices do
not wait for threads on a busy machine."""
