"""Outcomes over time: each version's counts in the last seconds, and since a moment, over all gateways together.

Gateways report what they counted since they started. The difference between two reports of a gateway is what happened
in between, and is kept by the second in which the later one arrived. All of it is integer addition, so the windows of
many gateways equal those of a single gateway that did all the work.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from streamb.metrics.snapshot import Snapshot, Told, merge_version

CALLERS_S: Final = 16
"""For so many seconds back, `recent` knows the counts by caller; they would cost too much memory for longer."""

MOST_TOLD: Final = 100_000
"""So many answers with feedback are remembered, so that what two gateways were told counts once."""

REMEMBERED_SOURCES: Final = 32
"""How many ended sources are remembered with their last report, so that a returning one is not counted twice."""

_Version = tuple[str, str]
ByVersion = Mapping[_Version, Snapshot]


@dataclass(frozen=True, slots=True)
class Report:
    """The last report of a source for each version, and its time."""

    at: float
    counts: ByVersion


@dataclass(frozen=True, slots=True)
class WindowsState:
    """The state of the windows, to be kept over a restart.

    Attributes:
        sources: by source, when it last reported, and what.
        gone: the same of sources that are gone.
        buckets: by second, what was counted in it.
        totals: everything counted, by version.
    """

    sources: Mapping[str, Report] = field(default_factory=dict)
    gone: Mapping[str, Report] = field(default_factory=dict)
    buckets: Mapping[int, ByVersion] = field(default_factory=dict)
    totals: ByVersion = field(default_factory=dict)


class OutcomeWindows:
    """One-second buckets per model version, merged over sources. Safe to use from several threads.

    Bounded: buckets older than the horizon are dropped, empty ones are never made, and versions cost one total each.
    The class labels that a version's total has by name are those that its windows have; all others are "other".

    Args:
        horizon_s: how many seconds back `recent` can look.
    """

    def __init__(self, horizon_s: int = 900) -> None:
        self._horizon_s = horizon_s
        self._lock = threading.Lock()
        self._sources: dict[str, Report] = {}
        self._gone: dict[str, Report] = {}
        self._buckets: dict[int, dict[_Version, Snapshot]] = {}
        self._plain: set[int] = set()
        self._told: dict[int, dict[str, None]] = {}
        self._newest = -math.inf
        self._totals: dict[_Version, Snapshot] = {}
        self._overdue: dict[str, dict[_Version, int]] = {}

    def feed(self, source: str, at: float, snapshots: Iterable[Snapshot], *, began_earlier: bool = False) -> None:
        """Add a source's counts since it started; new counts belong to the second of `at`.

        A report older than the source's last one is ignored. If a version's counters decreased, its source restarted
        and counts from zero.

        Args:
            source: one incarnation of a process.
            at: when the report arrived, in seconds of the clock that `recent` uses.
            snapshots: the source's counts.
            began_earlier: whether the source may have counted before these windows existed. Then its first report only
                sets where counting starts, as its counts may be old.
        """
        snapshots = list(snapshots)
        with self._lock:
            last = self._sources.get(source) or self._gone.get(source)
            if last is not None and at < last.at:
                return
            self._gone.pop(source, None)
            counts = dict(last.counts) if last is not None else {}
            second = math.floor(at)
            self._make_room(second)
            self._overdue[source] = {(one.model_id, one.version): one.overdue for one in snapshots if one.overdue}
            for snapshot in snapshots:
                key = (snapshot.model_id, snapshot.version)
                now = replace(snapshot, in_flight=0, queued=0, overdue=0, told={})
                earlier = counts.get(key, Snapshot(*key))
                counts[key] = now
                twice = self._told_twice(source, snapshot) if snapshot.told else []
                if last is not None or not began_earlier:
                    new = now.minus(earlier)
                    self._count(key, second, new.less_told(twice) if twice else new)
            self._sources[source] = Report(at, counts)

    def _told_twice(self, source: str, snapshot: Snapshot) -> list[Told]:
        """Return the feedback in a report, new in it, that another source was told before."""
        twice = []
        for name, told in snapshot.told.items():
            sources = self._told.setdefault(name, {})
            if sources and source not in sources:
                twice.append(told)
            sources[source] = None
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        return twice

    def forget(self, source: str) -> None:
        """Record that a source has ended. Its counts stay; if it returns, only its new counts are added."""
        with self._lock:
            self._overdue.pop(source, None)
            last = self._sources.pop(source, None)
            if last is not None:
                self._gone[source] = last
                while len(self._gone) > REMEMBERED_SOURCES:
                    del self._gone[next(iter(self._gone))]

    def recent(self, model_id: str, version: str, now: float, seconds: int) -> Snapshot:
        """Return the counts of the last `seconds` one-second buckets; the last is that of `now`, which just began."""
        key = (model_id, version)
        last = math.floor(now)
        first = last - min(seconds, self._horizon_s) + 1
        with self._lock:
            found = [self._buckets[second] for second in range(first, last + 1) if second in self._buckets]
            window = [bucket[key] for bucket in found if key in bucket]
        return merge_version(model_id, version, window)

    def total(self, model_id: str, version: str) -> Snapshot:
        """Return all counts since these windows exist; the difference of two totals is what was counted in between.

        `overdue` is that of the present: the sum over the newest reports of all sources.
        """
        key = (model_id, version)
        with self._lock:
            overdue = sum(late.get(key, 0) for late in self._overdue.values())
            return replace(self._totals.get(key, Snapshot(*key)), overdue=overdue)

    def versions(self) -> list[tuple[str, str]]:
        """Return every model and version with counts."""
        with self._lock:
            return list(self._totals)

    def asked(self, now: float, seconds: int) -> set[tuple[str, str]]:
        """Return the models and versions that had requests in the last `seconds` buckets."""
        first = math.floor(now) - min(seconds, self._horizon_s) + 1
        with self._lock:
            late = [bucket for second, bucket in self._buckets.items() if first <= second <= math.floor(now)]
            return {key for bucket in late for key, counted in bucket.items() if counted.total}

    def rewind(self, at: float) -> None:
        """Move later buckets to this moment, after the clock was set back to it."""
        with self._lock:
            now = math.floor(at)
            for kept in (self._sources, self._gone):
                kept.update({name: replace(one, at=min(one.at, at)) for name, one in kept.items()})
            later = [self._buckets.pop(second) for second in sorted(self._buckets) if second > now]
            self._newest = min(self._newest, now)
            for bucket in later:
                for key, counted in bucket.items():
                    _add(self._buckets.setdefault(now, {}), key, counted)

    def state(self) -> WindowsState:
        """Return the state of these windows."""
        with self._lock:
            buckets = {second: dict(bucket) for second, bucket in self._buckets.items()}
            return WindowsState(dict(self._sources), dict(self._gone), buckets, dict(self._totals))

    def restore(self, state: WindowsState) -> None:
        """Continue from the state of other windows. Call it before anything is fed."""
        with self._lock:
            self._sources.update(state.sources)
            self._gone.update(state.gone)
            self._buckets = {second: dict(bucket) for second, bucket in state.buckets.items()}
            self._newest = max(self._buckets, default=-math.inf)
            self._totals = dict(state.totals)

    def _count(self, key: _Version, second: int, new: Snapshot) -> None:
        if new == Snapshot(*key):
            return
        total = self._totals.get(key, Snapshot(*key))
        new = new.with_labels(total.labels)
        self._totals[key] = merge_version(*key, (total, new))
        if second > self._newest - self._horizon_s:
            _add(self._buckets.setdefault(second, {}), key, new)

    def _make_room(self, second: int) -> None:
        """Drop the buckets that are beyond the horizon at this second."""
        if second > self._newest:
            self._newest = second
            for old in [kept for kept in self._buckets if kept <= second - self._horizon_s]:
                del self._buckets[old]
            for old in [kept for kept in self._buckets if kept <= second - CALLERS_S and kept not in self._plain]:
                self._plain.add(old)
                self._buckets[old] = {key: replace(one, callers={}) for key, one in self._buckets[old].items()}
            self._plain.intersection_update(self._buckets)


def by_version(snapshots: Iterable[Snapshot]) -> dict[_Version, Snapshot]:
    """Snapshots of different versions by `(model_id, version)`."""
    return {(snapshot.model_id, snapshot.version): snapshot for snapshot in snapshots}


def _add(counts: dict[_Version, Snapshot], key: _Version, new: Snapshot) -> None:
    counts[key] = merge_version(*key, (counts[key], new)) if key in counts else new
