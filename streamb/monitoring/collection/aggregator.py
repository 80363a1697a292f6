"""Merges the counts of all sources exactly, each push once: by model version, minute and baseline.

A push is answered when its counts are in memory and, if there is a log, on disk. A source that gets no answer sends
the same push again, and what was counted before is not counted again. So no acknowledged count is lost, and none is
counted twice, whichever side fails at any time.
"""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Final

from streamb.clock import Clock
from streamb.errors import ArtifactCorrupt, StorageFailed, StreambError
from streamb.metrics import OutcomeWindows, Snapshot
from streamb.monitoring.collection.aggregator_state import (
    AggregatorState,
    SeriesKey,
    Totals,
    decode_state,
    encode_state,
)
from streamb.monitoring.collection.panes import HOURS_KEPT, Panes, pane_of
from streamb.monitoring.collection.push import (
    Ack,
    Counts,
    Member,
    PaneCounts,
    Push,
    VersionKey,
    decode_counts,
    decode_push,
    encode_push,
    unpack_snapshots,
)
from streamb.monitoring.collection.sources import Sources, SourceState
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile
from streamb.monitoring.profiles.sketch import Sketch
from streamb.store.durable import DurableLog

GRACE_PANES: Final = 60
"""A minute is closed after so many others; rows that are pushed for it later are counted as late."""
FORGET_S: Final = 86_400.0
"""A source that did not push for so many seconds is forgotten."""
NODES_FROM: Final = 1_000
"""With more sources than this, each pushes through the aggregator of its node."""
JUMP_S: Final = 60.0
"""If the clock goes back by less, time stands still until it catches up; by more, the new time is used (seconds)."""
_SWEEP_S: Final = 60.0
_log = logging.getLogger(__name__)


class Aggregator:
    """Receives pushes, and answers requests about their counts. Safe to use from several threads.

    Args:
        clock: gives the times at which pushes arrive.
        log: stores what is acknowledged; without one, counts are kept in memory only.

    Raises:
        ArtifactCorrupt: the log holds a state that cannot be read.
    """

    def __init__(self, clock: Clock, log: DurableLog | None = None) -> None:
        self._clock = clock
        self._log = log
        self._lock = threading.RLock()
        self._sources = Sources()
        self._totals: dict[VersionKey, Totals] = {}
        self._series: dict[SeriesKey, Panes[Counts]] = {}
        self._windows = OutcomeWindows()
        self._active: dict[VersionKey, tuple[str, bytes]] = {}
        self._latest = 0.0
        self._swept = 0.0
        self._began = math.inf  # what is restored is old, but no source is forgotten for that
        self._compacting = threading.Lock()
        if log is not None:
            self._recover(log)
        self._began = self._now()

    # --- what sources call --------------------------------------------------------------------------------------------

    def receive(self, push: Push) -> Ack:
        """Count a push once. Returns when its counts are stored, which takes as long as the disk takes.

        Raises:
            StorageFailed: the push could not be written (yet); the source sends it again.
        """
        with self._lock:
            old = tuple(member for member in push.members if self._sources.counted(member))
            now = self._now()
            ticket = self._log.last if self._log is not None else 0
            if not old:
                self._apply(push, now)
                if self._log is not None and not push.empty:
                    ticket = self._log.append(encode_push(push, now))
            ack = self._answer(push, old)
        if self._log is not None:
            # Even if all was counted before: the first answer may be missing because the disk failed.
            self._log.wait(ticket)
            self.compact()
        return ack

    def activate(self, model_id: str, version: str, baseline: Baseline | None) -> None:
        """Send this baseline to every replica of a version that folds by another one; None: send no baseline."""
        with self._lock:
            if baseline is None:
                self._active.pop((model_id, version), None)
            else:
                self._active[model_id, version] = (baseline.baseline_id, baseline.to_bytes())

    # --- questions ----------------------------------------------------------------------------------------------------

    def window(self, model_id: str, version: str, minutes: int, baseline_id: str | None = None) -> Profile | None:
        """Return the counts of the last `minutes`, including the current one; beyond two hours, of whole hours.

        Args:
            model_id: the model's name.
            version: the version.
            minutes: the length of the window.
            baseline_id: the baseline by which rows were folded; by default the active one.

        Returns:
            The counts, or None if nothing was folded by that baseline.
        """
        with self._lock:
            wanted = self._active.get((model_id, version), ("", b""))[0] if baseline_id is None else baseline_id
            found = self._window((model_id, version, wanted), minutes) if wanted else None
        return found if isinstance(found, Profile) else None

    def sketch(self, model_id: str, version: str, minutes: int) -> Sketch | None:
        """Return the sketch of the last `minutes` from replicas without a baseline; None if there is none."""
        with self._lock:
            found = self._window((model_id, version, ""), minutes)
        return found if isinstance(found, Sketch) else None

    def outcomes(self, model_id: str, version: str, seconds: int) -> Snapshot:
        """Return the outcomes of requests that gateways reported within the last `seconds` (at most 900)."""
        return self._windows.recent(model_id, version, self._now(), seconds)

    def outcomes_total(self, model_id: str, version: str) -> Snapshot:
        """Return the outcomes of requests since monitoring began."""
        return self._windows.total(model_id, version)

    def totals(self, model_id: str, version: str) -> Totals:
        """Return the number of rows since monitoring began, by how they were counted."""
        with self._lock:
            return self._totals.get((model_id, version), Totals())

    def versions(self) -> list[VersionKey]:
        """Return every model version with any counts, sorted."""
        with self._lock:
            known = {*self._totals, *self._sources.versions(), *self._windows.versions()}
        return sorted(key for key in known if key[0])

    def live(self, silence_s: float, seconds: int) -> list[VersionKey]:
        """Return versions with a push within `silence_s` or requests within `seconds`, sorted."""
        with self._lock:
            now = self._now()
            found = {key for key in self._sources.versions() if key[0] and (self.silence_s(*key) or 0.0) <= silence_s}
            return sorted(found | self._windows.asked(now, seconds))

    def sources(self) -> list[SourceState]:
        """Return the last push of every source that has not left and pushed within a day, sorted by name."""
        with self._lock:
            return self._sources.present()

    def silence_s(self, model_id: str = "", version: str = "") -> float | None:
        """Return the seconds since a replica of the version (by default: a gateway) pushed, or since the start.

        Returns:
            The seconds, or None if none has ever pushed or the last one has left.
        """
        with self._lock:
            heard = self._sources.heard_at((model_id, version))
            return None if heard is None else max(0.0, self._now() - max(self._began, heard))

    # --- keeping ------------------------------------------------------------------------------------------------------

    def compact(self, *, now: bool = False) -> None:
        """Save a snapshot if one is due (always if `now`), so that the log stays small and a restart is quick."""
        if self._log is None or not (now or self._log.outgrown) or not self._compacting.acquire(blocking=False):
            return
        try:
            with self._lock:
                number, state = self._log.rotate(), self._state()
            self._log.save_snapshot(number, encode_state(state))
        except StorageFailed as error:
            _log.error("%s", error.message)
        finally:
            self._compacting.release()

    def close(self) -> None:
        """Write what is not written yet, and close the log."""
        if self._log is not None:
            self._log.close()

    def _recover(self, log: DurableLog) -> None:
        found = log.recover()
        if found.snapshot is not None:
            self._restore(decode_state(found.snapshot))
        for record in found.records:
            try:
                push, at = decode_push(record)
            except StreambError as error:
                _log.error("a record of the log is left out: %s", error.message)
                continue
            if not any(self._sources.counted(member) for member in push.members):
                self._apply(push, at)

    def _state(self) -> AggregatorState:
        return AggregatorState(
            at=self._latest,
            sources=self._sources.states(),
            totals=dict(self._totals),
            series={key: tuple(panes.items()) for key, panes in self._series.items()},
            outcomes=self._windows.state(),
        )

    def _restore(self, state: AggregatorState) -> None:
        self._latest = state.at
        self._sources = Sources(state.sources)
        self._totals = dict(state.totals)
        self._windows.restore(state.outcomes)
        for key, listed in state.series.items():
            panes = self._series[key] = Panes()
            for pane, counts in listed:
                panes.add(pane, counts)

    # --- counting -----------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        """The wall clock, as far as it is believed."""
        with self._lock:
            self._go_to(self._clock.now())
            return self._latest

    def _go_to(self, at: float) -> None:
        if at < self._latest - JUMP_S:
            _log.warning("the clock was set back by %.0f s; later counts are moved to the new time", self._latest - at)
            self._sources.rewind(at)
            self._windows.rewind(at)
            for panes in self._series.values():
                panes.rewind(pane_of(at))
            self._latest, self._swept = at, min(self._swept, at)
            self._began = at if at < self._began < math.inf else self._began
        self._latest = max(self._latest, at)

    def _apply(self, push: Push, at: float) -> None:
        self._go_to(at)
        for member in push.members:
            self._sources.note(member, at)
        for counts in push.panes:
            key = (counts.model_id, counts.version)
            self._totals[key] = self._totals.get(key, Totals()).plus(self._count(counts, at))
        for told in push.outcomes:
            try:
                self._windows.feed(f"{told.source}/{told.incarnation}", at, unpack_snapshots(told.data))
            except StreambError as error:
                _log.error("what %s counted cannot be read: %s", told.source, error.message)
        for member in push.members:
            if member.leaving:
                self._windows.forget("/".join(member.name))
        if at - self._swept >= _SWEEP_S:
            self._sweep(at)

    def _count(self, told: PaneCounts, at: float) -> Totals:
        """Add one pane; returns how its rows were counted."""
        now, others = pane_of(at), Totals(dropped=told.dropped, unreadable=told.unreadable)
        if told.pane < now - GRACE_PANES:
            return others.plus(Totals(late=told.rows))
        try:
            counts = decode_counts(told)
            if counts is not None:
                series = self._series.setdefault((told.model_id, told.version, told.baseline_id), Panes())
                series.add(min(told.pane, now), counts)  # a source's fast clock must not close minutes early
        except StreambError as error:
            _log.error("counts of %s %s cannot be read: %s", told.model_id, told.version, error.message)
            return others.plus(Totals(damaged=told.rows))
        return others.plus(Totals(rows=told.rows))

    def _answer(self, push: Push, old: tuple[Member, ...]) -> Ack:
        baselines: dict[VersionKey, bytes] = {}
        for member in push.members:
            baseline_id, data = self._active.get(member.key, (member.baseline_id, b""))
            if baseline_id != member.baseline_id:
                baselines[member.key] = data
        rejected = old if len(old) < len(push.members) else ()
        return Ack(rejected, baselines, through_node=len(self._sources) > NODES_FROM)

    def _window(self, key: SeriesKey, minutes: int) -> Counts | None:
        series = self._series.get(key)
        return series.window(pane_of(self._now()), minutes) if series is not None else None

    def _sweep(self, at: float) -> None:
        """Forget sources that have not pushed for `FORGET_S`, and series without recent panes."""
        self._swept = at
        if at - self._began >= FORGET_S:  # while this process was down, no push could arrive
            for name in self._sources.forget(at - FORGET_S):
                self._windows.forget("/".join(name))
        oldest = pane_of(at) - HOURS_KEPT * 60
        for key in [key for key, series in self._series.items() if series.newest < oldest]:
            del self._series[key]


def open_aggregator(folder: Path, clock: Clock) -> Aggregator:
    """Open an aggregator that stores its counts in a folder, and restore what is there.

    A state that cannot be read is moved aside and logged: a Monitor that starts from zero is better than none.

    Raises:
        StorageFailed: the folder cannot be used.
    """
    try:
        return Aggregator(clock, DurableLog(folder))
    except ArtifactCorrupt as error:
        aside = folder.with_name(f"{folder.name}-unreadable-{int(clock.now())}")
        _log.error("%s; %s is moved to %s, and counting starts from zero", error.message, folder, aside)
        folder.rename(aside)
        return Aggregator(clock, DurableLog(folder))
