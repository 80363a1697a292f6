"""Watches one model version: computes its health from live data, on the platform or in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.metrics import Snapshot
from streamb.monitoring.collection.panes import Panes, pane_of
from streamb.monitoring.drift.concept import detector_for, detector_from_json
from streamb.monitoring.drift.concept_alarm import ConceptDetector
from streamb.monitoring.drift.drift import THRESHOLD, DriftReport, Sensitivity, compare
from streamb.monitoring.health.health import HealthJudge, ModelHealth, Thresholds, metrics_of
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.estimation import Estimate, not_estimated
from streamb.monitoring.profiles.profile import Profile

METRICS_S: Final = 300
"""Errors, latency and throughput are measured over so many seconds."""
_LABEL_MINUTES: Final = 60
_COUNTED: Final = ("labels", "correct", "error_micro", "squared_error_micro")


@dataclass(frozen=True, slots=True)
class Seen:
    """The data that one look judges.

    Attributes:
        outcomes: outcomes and latencies of the requests of the last `seconds`.
        seconds: the length of that period; less than `METRICS_S` shortly after the start.
        feedback: the labels counted so far, as in `metrics.Snapshot.feedback`.
        window: the rows of the last minutes; None: there is no baseline, or drift is not watched.
        now: the time of the look, seconds since the epoch.
        confidences: predictions of these minutes by confidence, in the bins of the baseline's table.
        stale: whether there was no report for so long that this data must not be judged.
    """

    outcomes: Snapshot
    seconds: float
    feedback: Mapping[str, int]
    window: Profile | None
    now: float
    confidences: NDArray[np.int64] | None = None
    stale: bool = False


class VersionWatch:
    """A version's baseline, its detector of concept drift, and its health over time. Not thread-safe.

    Args:
        thresholds: the limits that the version is judged by.
        sensitivity: how small a drift is reported.
        interval_s: the time between two looks that count, in seconds.
    """

    def __init__(self, thresholds: Thresholds, sensitivity: Sensitivity, *, interval_s: float) -> None:
        self._sensitivity = sensitivity
        self._interval_s = interval_s
        self._judge = HealthJudge(thresholds, interval_s=interval_s)
        self._baseline: Baseline | None = None
        self._detector: ConceptDetector | None = None
        self._labels = _LabelWindow()

    @property
    def baseline(self) -> Baseline | None:
        """The baseline that live rows are compared with; None if there is none."""
        return self._baseline

    @property
    def thresholds(self) -> Thresholds:
        """The limits that the version is judged by."""
        return self._judge.thresholds

    def use(self, baseline: Baseline | None) -> None:
        """Compare with this baseline from now on, with a new concept detector; the same baseline changes nothing."""
        if baseline == self._baseline:
            return
        self._baseline = baseline
        performance = baseline.performance if baseline is not None else None
        self._detector = None if performance is None else detector_for(performance, self._sensitivity)

    def judge_by(self, thresholds: Thresholds) -> None:
        """Judge by these thresholds from now on; different ones discard the results of earlier looks."""
        if thresholds != self._judge.thresholds:
            self._judge = HealthJudge(thresholds, interval_s=self._interval_s)

    def look(self, seen: Seen) -> ModelHealth:
        """Take one look at the data, and return the version's health."""
        new = self._labels.take(seen.feedback, seen.now)
        if self._detector is not None and new:
            self._detector.observe(new, seen.now)
        performance = self._baseline.performance if self._baseline is not None else None
        labelled = replace(seen.outcomes, feedback=self._labels.window(seen.now))
        return self._judge.judge(
            metrics_of(labelled, seen.seconds, task=performance.task if performance is not None else None),
            self.compare(seen.window) if seen.window is not None else None,
            self._detector.report() if self._detector is not None else None,
            stale=seen.stale,
            now=seen.now,
            estimated=self._estimate(seen.confidences),
        )

    def compare(self, window: Profile) -> DriftReport:
        """Compare a window with the baseline.

        Raises:
            InvalidInput: there is no baseline, or the window belongs to another one.
        """
        if self._baseline is None:
            raise InvalidInput("there is nothing to compare with: give the version a baseline first")
        return compare(self._baseline, window, self._sensitivity, threshold=drift_threshold(self.thresholds))

    def to_json(self) -> dict[str, Any]:
        """Return the state of the detector, the labels and the health as JSON, for `restore`."""
        return {
            "baseline_id": self._baseline.baseline_id if self._baseline is not None else "",
            "detector": self._detector.to_json() if self._detector is not None else None,
            "labels": self._labels.to_json(),
            "judge": self._judge.to_json(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a result of `to_json`; call `use` and `judge_by` first. Ignores another baseline's detector."""
        self._labels = _LabelWindow.from_json(document["labels"])
        self._judge.restore(document["judge"])
        mine = self._baseline.baseline_id if self._baseline is not None else ""
        kept = document["detector"]
        if self._detector is not None and kept is not None and document["baseline_id"] == mine:
            found = detector_from_json(kept)
            if found.sensitivity == self._detector.sensitivity:
                self._detector = found

    def _estimate(self, confidences: NDArray[np.int64] | None) -> Estimate | None:
        performance = self._baseline.performance if self._baseline is not None else None
        if performance is None:
            return None
        if performance.calibration is None:
            return not_estimated(performance.task)
        table = performance.calibration
        return table.estimate(np.zeros(len(table.labels), np.int64) if confidences is None else confidences)


class _LabelWindow:
    """The labels of the last hour, counted by the minute, so that accuracy is measured on recent labels.

    Computes the new labels and those of the window from growing totals.
    """

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._panes: Panes[Counter[str]] = Panes()

    def take(self, totals: Mapping[str, int], now: float) -> Mapping[str, int]:
        """Add the current totals (as `metrics.Snapshot.feedback`), and return what came since the last call.

        If a total has fallen, counting was restarted, and all labels are new.
        """
        present = {key: totals.get(key, 0) for key in _COUNTED}
        new = {key: count - self._before.get(key, 0) for key, count in present.items()}
        if any(count < 0 for count in new.values()):
            new = present
        self._before = present
        found = {key: count for key, count in new.items() if count}
        self._panes.rewind(pane_of(now))  # only has an effect if the clock was set back
        if found:
            self._panes.add(pane_of(now), Counter(found))
        return found

    def window(self, now: float) -> Mapping[str, int]:
        """Return the labels that came in the last hour, counted under the same names."""
        return dict(self._panes.window(pane_of(now), _LABEL_MINUTES) or {})

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON, for `from_json`."""
        return {"before": self._before, "panes": [[pane, dict(one)] for pane, one in self._panes.items()]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> _LabelWindow:
        """Return a window in the state that `to_json` described."""
        found = cls()
        found._before = dict(document["before"])
        for pane, counts in document["panes"]:
            found._panes.add(pane, Counter(counts))
        return found


def drift_threshold(thresholds: Thresholds) -> float:
    """Return the score above which a column counts as drifted: `max_drift_score` if it is between 0 and 1, else 0.3."""
    limit = thresholds.max_drift_score
    return limit if limit is not None and 0.0 < limit < 1.0 else THRESHOLD
