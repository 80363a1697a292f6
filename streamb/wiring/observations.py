"""What the Controller has last heard from gateways, consoles and edges. In memory: they report again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from streamb.clock import Clock
from streamb.metrics import Snapshot, merge

Role = Literal["gateway", "console", "edge"]

SILENCE_S: Final = 4.0
"""A process that has not reported for this long counts as gone; it reports every second."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a serving process says of itself, every second.

    Attributes:
        source: unique per incarnation of the process.
        epoch: the routing table that it works by (gateways).
        in_flight: requests waiting for an answer, by app (gateways).
        snapshots: counters since the process started (gateways).
        detail: one line for people.
    """

    role: Role
    source: str
    node: str
    pid: int
    endpoint: Endpoint | None = None
    epoch: int = 0
    in_flight: Mapping[str, int] = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    detail: str = ""


class Observations:
    """The latest report of every source, and the counters of those that are gone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._reports: dict[str, tuple[float, NodeReport]] = {}
        self._retired: list[Snapshot] = []

    @property
    def settled(self) -> bool:
        """True once everybody alive has had the time to report: from then on, silence means something."""
        return self._clock.monotonic() - self._since >= SILENCE_S

    def receive(self, report: NodeReport) -> None:
        """Take in a report; it replaces the source's earlier one."""
        with self._lock:
            self._reports[report.source] = (self._clock.monotonic(), report)

    def forget(self, source: str) -> None:
        """A source says goodbye: it is gone now, not only after the silence."""
        with self._lock:
            gone = self._reports.pop(source, None)
            if gone is not None:
                counts = [replace(snapshot, in_flight=0, queued=0) for snapshot in gone[1].snapshots]
                self._retired = merge([*self._retired, *counts])

    def live(self, role: Role | None = None) -> tuple[NodeReport, ...]:
        """The reports of every source that is not silent."""
        self._retire_silent()
        with self._lock:
            return tuple(report for _, report in self._reports.values() if role in (None, report.role))

    def acknowledged(self, epoch: int) -> bool:
        """True when there is a live gateway and all of them route by this epoch or a later one."""
        gateways = self.live("gateway")
        return bool(gateways) and all(gateway.epoch >= epoch for gateway in gateways)

    def in_flight(self, app: str) -> int:
        """Requests that live gateways have waiting for this app."""
        return sum(gateway.in_flight.get(app, 0) for gateway in self.live("gateway"))

    def snapshots(self) -> list[Snapshot]:
        """Counters of all gateways, those that are gone included, so that no sum ever shrinks."""
        live = [snapshot for report in self.live("gateway") for snapshot in report.snapshots]
        with self._lock:
            return merge([*self._retired, *live])

    def _retire_silent(self) -> None:
        limit = self._clock.monotonic() - SILENCE_S
        with self._lock:
            silent = [source for source, (at, _) in self._reports.items() if at < limit]
        for source in silent:
            self.forget(source)
