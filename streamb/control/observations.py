"""The latest reports of gateways, consoles and edges to the Controller, in memory: they report again every second."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from streamb.asking import verb
from streamb.clock import Clock
from streamb.control.drift_scores import DriftScores
from streamb.metrics import OutcomeWindows, Snapshot, merge
from streamb.metrics.snapshot import merge_version
from streamb.metrics.windows import REMEMBERED_SOURCES
from streamb.traffic.shares import Uses

Role = Literal["gateway", "console", "edge"]

SILENCE_S: Final = 4.0
"""A process that has not reported for this long counts as gone; it reports every second."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address on which a process listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A report that a serving process sends about itself every second.

    Attributes:
        source: unique per incarnation of the process.
        epoch: the epoch of the routing table that it uses (gateways).
        in_flight: number of requests that wait for an answer, by app (gateways).
        links: number of replicas that it can call now, by app; 0 while it searches for them (gateways).
        snapshots: counters since the process started (gateways).
        detail: one line for people.
        actor: the name by which Ray knows the process, for as long as it runs (gateways).
        uses: how it uses its shares of the limits on callers; None if it has none to use (gateways, in heartbeats).
        limited: how many requests were above a limit on callers since it started, by the kind of limit and what became
            of them (gateways and consoles).
        used: when API keys were last used, by key id, in seconds since the epoch (gateways, in heartbeats).
        uptime_s: how long the process had been reporting when it made this report; shows which of two reports is the
            newer one, and whether the process is older than the Controller.
    """

    role: Role
    source: str
    node: str
    pid: int
    endpoint: Endpoint | None = None
    epoch: int = 0
    in_flight: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, int] = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    detail: str = ""
    actor: str = ""
    uses: Uses | None = None
    limited: Mapping[tuple[str, str], int] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    uptime_s: float = 0.0


RETIRED_VERSIONS: Final = 256
"""Number of versions whose counts are kept after no gateway reports them any more; each has many Prometheus series."""


class Observations:
    """The latest report of every source, the counters of sources that are gone, and outcomes over time.

    Attributes:
        windows: outcomes for each second of the monotonic clock; see `recent`.
        drift: the drift scores of versions that the Monitor last sent.
    """

    def __init__(self, clock: Clock) -> None:
        self.windows = OutcomeWindows()
        self.drift = DriftScores(clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._reports: dict[str, tuple[float, NodeReport]] = {}
        self._gone: dict[str, NodeReport] = {}
        self._retired: dict[tuple[str, str], Snapshot] = {}
        self._labels: dict[tuple[str, str], set[str]] = {}
        self._limited: Counter[tuple[str, str, str]] = Counter()  # of sources that are forgotten

    @property
    def settled(self) -> bool:
        """True once every live process has had the time to report: from then on, a missing report means it is gone."""
        return self._clock.monotonic() - self._since >= SILENCE_S

    def receive(self, report: NodeReport) -> None:
        """Store a report in place of the source's earlier one; a report that is older than that one is ignored."""
        with self._lock:
            self._receive(report)

    def goodbye(self, report: NodeReport) -> None:
        """Store a source's last report and treat the source as gone at once, without waiting for its silence."""
        with self._lock:
            self._receive(report)
            self._forget(report.source)

    def forget(self, source: str) -> None:
        """Treat a source as gone. If it reports again, its counts are not counted twice."""
        with self._lock:
            self._forget(source)

    def live(self, role: Role | None = None) -> tuple[NodeReport, ...]:
        """Return the latest reports of all live sources, or of those with this role."""
        with self._lock:
            self._retire_silent()
            return tuple(report for _, report in self._reports.values() if role in (None, report.role))

    def acknowledged(self, epoch: int) -> bool:
        """Return True if there is a live gateway and all live gateways use this epoch or a later one."""
        gateways = self.live("gateway")
        return bool(gateways) and all(gateway.epoch >= epoch for gateway in gateways)

    def in_flight(self, app: str) -> int:
        """Return how many requests for this app are waiting for an answer in live gateways."""
        return sum(gateway.in_flight.get(app, 0) for gateway in self.live("gateway"))

    def links(self) -> dict[str, tuple[int, int]]:
        """Return, by app, the fewest and the most replicas that a live gateway can call now."""
        found: dict[str, tuple[int, int]] = {}
        for gateway in self.live("gateway"):
            for app, count in gateway.links.items():
                fewest, most = found.get(app, (count, count))
                found[app] = min(fewest, count), max(most, count)
        return found

    @verb
    def snapshots(self) -> list[Snapshot]:
        """Return the counters of all gateways, including those that are gone, so that no sum decreases.

        Counts of a version that is no longer reported are dropped after `RETIRED_VERSIONS` others.
        """
        with self._lock:
            self._retire_silent()
            reports = [report for _, report in self._reports.values()] + list(self._gone.values())
            told = (snapshot for report in reports for snapshot in report.snapshots)
            return merge([*self._retired.values(), *told])

    @verb
    def limited(self) -> dict[tuple[str, str, str], int]:
        """Return how many requests were above a limit on callers: by role, kind of limit, and what became of them.

        Processes that are gone are included, so that no sum decreases.
        """
        with self._lock:
            self._retire_silent()
            total = Counter(self._limited)
            for report in [*(report for _, report in self._reports.values()), *self._gone.values()]:
                total.update(_of_role(report))
            return dict(total)

    def recent(self, model_id: str, version: str, seconds: int) -> Snapshot:
        """Return a version's outcomes in the last `seconds`, summed over all gateways."""
        return self.windows.recent(model_id, version, self._clock.monotonic(), seconds)

    def _receive(self, report: NodeReport) -> None:
        now = self._clock.monotonic()
        if report.source in self._reports:
            last = self._reports[report.source][1]
        else:
            last = self._gone.get(report.source, report)
        if report.uptime_s < last.uptime_s:
            return
        self._gone.pop(report.source, None)
        told_whole = tuple(map(self._with_labels, report.snapshots))
        # By caller, counts are needed over time only (by rollouts), and would cost each sum of them.
        report = replace(report, snapshots=tuple(replace(one, callers={}, told={}) for one in told_whole))
        self._reports[report.source] = (now, report)
        if report.snapshots:
            told = {(one.model_id, one.version) for one in report.snapshots}
            self._retire(one for one in last.snapshots if (one.model_id, one.version) not in told)
            older = report.uptime_s > now - self._since
            self.windows.feed(report.source, now, told_whole, began_earlier=older)

    def _with_labels(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the class labels that this version has here, whichever gateway reported them."""
        return snapshot.with_labels(self._labels.setdefault((snapshot.model_id, snapshot.version), set()))

    def _forget(self, source: str) -> None:
        self.windows.forget(source)
        at_and_report = self._reports.pop(source, None)
        if at_and_report is None:
            return
        report = at_and_report[1]
        counts = tuple(replace(snapshot, in_flight=0, queued=0, overdue=0) for snapshot in report.snapshots)
        self._gone[source] = replace(report, snapshots=counts)
        while len(self._gone) > REMEMBERED_SOURCES:
            # Merging cannot be undone: after so many others have gone, this source is not expected to return.
            oldest = self._gone.pop(next(iter(self._gone)))
            self._retire(oldest.snapshots)
            self._limited.update(_of_role(oldest))

    def _retire(self, snapshots: Iterable[Snapshot]) -> None:
        """Keep counts that their source will not report again."""
        for snapshot in snapshots:
            key = snapshot.model_id, snapshot.version
            counted = replace(snapshot, in_flight=0, queued=0, overdue=0)
            before = self._retired.pop(key, Snapshot(*key))
            self._retired[key] = merge_version(*key, (before, counted))
        while len(self._retired) > RETIRED_VERSIONS:
            oldest = next(iter(self._retired))
            del self._retired[oldest]
            self._labels.pop(oldest, None)

    def _retire_silent(self) -> None:
        limit = self._clock.monotonic() - SILENCE_S
        for source in [source for source, (at, _) in self._reports.items() if at < limit]:
            self._forget(source)


def _of_role(report: NodeReport) -> dict[tuple[str, str, str], int]:
    return {(report.role, *what): count for what, count in report.limited.items()}
