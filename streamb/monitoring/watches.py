"""The watches of all versions: created when a version first appears, updated at every look, kept over restarts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streamb.asking import verb
from streamb.clock import Clock, isoformat
from streamb.config import Settings
from streamb.errors import StorageFailed, StreambError
from streamb.monitoring.baselines import BaselineRecord, Baselines
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.aggregator_state import Totals
from streamb.monitoring.collection.push import VersionKey
from streamb.monitoring.drift.drift import Sensitivity, compare
from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.health import STALE_INTERVALS, Metrics, ModelHealth, Status, Thresholds
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile
from streamb.monitoring.watch import METRICS_S, Seen, VersionWatch, drift_threshold
from streamb.store.files import JsonFile

PUSH_S: Final = 10.0
"""Sources push at least this often."""
STALE_S: Final = STALE_INTERVALS * PUSH_S
TICK_S: Final = 5.0
_SAVE_S: Final = 60.0
_MOST_KEPT: Final = 1_000
"""The number of versions without replicas whose state is kept."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """The result of the last look at a version.

    Attributes:
        window_rows: the number of rows that drift was measured on; None without a baseline.
        silence_s: seconds since a replica of it last reported; None if there is no replica.
        totals: its rows, by how they were counted.
        outcomes: its recent requests, by outcome.
    """

    model_id: str
    version: str
    health: ModelHealth
    baseline: BaselineRecord | None
    window_rows: int | None
    silence_s: float | None
    totals: Totals
    outcomes: Mapping[str, int] = field(default_factory=dict)


class Watches:
    """Judges all versions, one after the other. Not thread-safe: the Monitor holds a lock around it.

    Args:
        folder: where thresholds and the watches' state are stored.
        settings: the default thresholds, the sensitivity and the length of the window.
        aggregator: the counts of all sources.
        baselines: the baselines of all versions.
        clock: for the times of looks.
    """

    def __init__(
        self, folder: Path, settings: Settings, aggregator: Aggregator, baselines: Baselines, clock: Clock
    ) -> None:
        self._aggregator = aggregator
        self._baselines = baselines
        self._clock = clock
        self._minutes = settings.monitoring_window_minutes
        self._sensitivity = Sensitivity(settings.drift_sensitivity)
        self._defaults = default_thresholds(settings)
        self._options_file, self._state_file = JsonFile(folder / "thresholds.json"), JsonFile(folder / "watches.json")
        self._options: dict[str, Any] = self._options_file.load()
        self._kept: dict[str, Any] = _loaded(self._state_file)
        self._watches: dict[VersionKey, VersionWatch] = {}
        self._since: dict[VersionKey, float] = {}
        self._labels: dict[str, Any] = {}
        self._saved_at = clock.monotonic()

    def thresholds(self, model_id: str) -> Thresholds:
        """Return the thresholds that a model is judged by: its own, or else those of the settings."""
        given = self._options.get(model_id)
        return self._defaults if given is None else Thresholds.read(given["thresholds"])

    def set_thresholds(self, model_id: str, options: Mapping[str, Any], author: str) -> dict[str, Any]:
        """Judge a model by these thresholds from now on; a threshold that is not given is not judged.

        Args:
            model_id: the model's name.
            options: thresholds by name, the fields of `Thresholds`.
            author: who sets them.

        Raises:
            InvalidInput: a threshold is unknown or not valid; the message names each.
            StorageFailed: they could not be written, and the earlier ones are still in force.
        """
        found = Thresholds.read(options)
        entry = {"thresholds": found.to_json(), "author": author, "at": isoformat(self._clock.now())}
        changed = {**self._options, model_id: entry}
        self._options_file.save(changed)
        self._options = changed
        return self.described(model_id)

    @verb
    def described(self, model_id: str) -> dict[str, Any]:
        """Return a model's thresholds, and who set them when."""
        given = self._options.get(model_id, {"author": "", "at": None})
        options = self.thresholds(model_id).to_json()
        own = model_id in self._options
        return {"model_id": model_id, **given, "thresholds": options, "origin": "own" if own else "settings"}

    def watch(self, key: VersionKey) -> VersionWatch:
        """Return the watch of a version, with its current baseline and thresholds."""
        watch = self._watches.get(key)
        baseline, thresholds = self._baseline_of(key), self.thresholds(key[0])
        if watch is None:
            watch = self._watches[key] = VersionWatch(thresholds, self._sensitivity, interval_s=TICK_S)
        watch.judge_by(thresholds)
        watch.use(baseline)
        if baseline is not None or self._baselines.active_record(*key) is None:
            # Only once its baseline can be read, since the detector's state belongs to that baseline.
            self._restore(key, watch)
        return watch

    def look(self, key: VersionKey) -> Standing:
        """Take one look at a version, and return the result."""
        model_id, version = key
        watch, now = self.watch(key), self._clock.now()
        since = self._since[key] = min(now, self._since.get(key, now))
        window = self._window(key, watch.baseline, self._minutes) if watch.baseline is not None else None
        silence_s = self._aggregator.silence_s(model_id, version)
        outcomes = self._aggregator.outcomes(model_id, version, METRICS_S)
        seen = Seen(
            outcomes=outcomes,
            seconds=min(float(METRICS_S), max(TICK_S, now - since)),
            feedback=self._aggregator.outcomes_total(model_id, version).feedback,
            window=window,
            now=now,
            stale=self._stale(silence_s),
        )
        rows = window.rows if window is not None else None
        record = self._baselines.active_record(model_id, version)
        totals = self._aggregator.totals(model_id, version)
        return Standing(model_id, version, watch.look(seen), record, rows, silence_s, totals, outcomes.counts)

    def unheard(self, key: VersionKey) -> Standing:
        """Return the standing of a version without recent reports."""
        reasons = ("there are no recent reports on this version",)
        health = ModelHealth(Status.UNKNOWN, reasons, Metrics(), None, None, None, (), self._clock.now())
        record, totals = self._baselines.active_record(*key), self._aggregator.totals(*key)
        return Standing(*key, health, record, None, self._aggregator.silence_s(*key), totals)

    def compare(self, key: VersionKey, baseline: Baseline, minutes: int) -> DriftReport:
        """Compare the last minutes of a version with its baseline."""
        window = self._window(key, baseline, minutes)
        return compare(baseline, window, self._sensitivity, threshold=drift_threshold(self.thresholds(key[0])))

    def forget(self, live: set[VersionKey]) -> None:
        """Remove the watches of versions that are not in `live`; their state is kept in case they return."""
        for key in self._watches.keys() - live:
            self._since.pop(key, None)
            self._kept.setdefault(_name(key), self._state_of(key))
            del self._watches[key]
        for name in list(self._kept)[: max(0, len(self._kept) - _MOST_KEPT)]:
            del self._kept[name]

    def save(self, *, now: bool = False) -> None:
        """Save the watches' state if new labels came or a minute has passed (always if `now`).

        After a crash, labels that came after the last save are taken from the aggregator's totals again: none is lost,
        none is counted twice.
        """
        state = {**{_name(key): self._state_of(key) for key in self._watches}, **self._kept}
        labels = {name: one["labels"]["before"] for name, one in state.items()}
        if not now and labels == self._labels and self._clock.monotonic() - self._saved_at < _SAVE_S:
            return
        try:
            self._state_file.save(state)
        except StorageFailed as error:
            _log.error("%s", error.message)
            return
        self._labels, self._saved_at = labels, self._clock.monotonic()

    def _state_of(self, key: VersionKey) -> dict[str, Any]:
        return {**self._watches[key].to_json(), "since": self._since.get(key)}

    def _window(self, key: VersionKey, baseline: Baseline, minutes: int) -> Profile:
        return self._aggregator.window(*key, minutes, baseline.baseline_id) or baseline.empty()

    def _baseline_of(self, key: VersionKey) -> Baseline | None:
        record = self._baselines.active_record(*key)
        return None if record is None or record.learning else self._baselines.active(*key)

    def _stale(self, silence_s: float | None) -> bool:
        gateways_s = self._aggregator.silence_s()
        return any(age is not None and age > STALE_S for age in (silence_s, gateways_s))

    def _restore(self, key: VersionKey, watch: VersionWatch) -> None:
        kept = self._kept.pop(_name(key), None)
        if kept is None:
            return
        if kept.get("since") is not None:  # counts since then are still in the window
            self._since[key] = float(kept["since"])
        try:
            watch.restore(kept)
        except (KeyError, TypeError, ValueError, StreambError):
            _log.exception("the saved state of %s %s cannot be read; its labels are counted from now on", *key)


def default_thresholds(settings: Settings) -> Thresholds:
    """Return the thresholds of models without their own, from the settings; 0 in a setting means not judged."""
    return Thresholds(**{name: getattr(settings, f"monitoring_{name}") or None for name in Thresholds.model_fields})


def _name(key: VersionKey) -> str:
    return "\n".join(key)


def _loaded(file: JsonFile) -> dict[str, Any]:
    """The saved state, or none if it cannot be read: the detectors then start again, but the Monitor starts."""
    try:
        return file.load()
    except StorageFailed as error:
        _log.error("%s", error.message)
        return {}
