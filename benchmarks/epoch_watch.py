"""How long a weight change takes to reach every gateway, seen from outside: through the platform's status."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from streamb.clock import SystemClock

_LOOK_S: Final = 0.005
_IDLE_LOOK_S: Final = 0.02
"""While every gateway has the newest table: looking costs the platform some milliseconds of CPU each time."""
_clock = SystemClock()


class EpochWatch:
    """Asks the platform all the time which routing table is newest and which each gateway has.

    A time counts from the beginning of the last look that did not show a table to the end of the first one that
    shows every gateway with it: never too short, and too long by two looks at most.

    Attributes:
        times_ms: of every table, how long it took to be everywhere.
        looks_ms: how long each look took.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._address = urlsplit(url).netloc
        self._headers = dict(headers)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._newest = -1
        self._open: dict[int, float] = {}
        self.times_ms: list[float] = []
        self.looks_ms: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(10)

    def _watch(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        last_look = _clock.monotonic()
        while not self._stopped.wait(_LOOK_S if self._open else _IDLE_LOOK_S):
            began = _clock.monotonic()
            try:
                connection.request("GET", "/api/status", headers=self._headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if answer.status == http.client.OK:
                now = _clock.monotonic()
                self._see(json.loads(content), last_look, now)
                self.looks_ms.append((now - began) * 1e3)
                last_look = began

    def _see(self, status: Mapping[str, Any], last_look: float, now: float) -> None:
        if self._newest >= 0:
            self._open |= dict.fromkeys(range(self._newest + 1, status["epoch"] + 1), last_look)
        self._newest = status["epoch"]
        everywhere = min((gateway["epoch"] for gateway in status["gateways"]), default=-1)
        for epoch in [epoch for epoch in self._open if epoch <= everywhere]:
            self.times_ms.append((now - self._open.pop(epoch)) * 1e3)
