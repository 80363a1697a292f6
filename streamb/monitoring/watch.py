"""One model version under watch: what was seen goes in, its health comes out. On the platform as in a notebook."""

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
"""Errors, latency and throughput are those of so many seconds."""
_LABEL_MINUTES: Final = 60
_COUNTED: Final = ("labels", "correct", "error_micro", "squared_error_micro")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look is taken on.

    Attributes:
        outcomes: of the last `seconds`.
        seconds: how long that is; less than `METRICS_S` while there is no more.
        feedback: labels counted so far, as in `metrics.Snapshot.feedback`.
        window: the rows of the last minutes; None: there is no baseline, or drift is not watched.
        confidences: predictions of these minutes by confidence, in the bins of the baseline's table.
        stale: nobody has reported for so long that nothing here can be trusted.
        now: seconds since the epoch.
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
        thresholds: what it is judged by.
        sensitivity: how small a drift is worth naming.
        interval_s: how far apart looks are that count.
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
        """What is usual."""
        return self._baseline

    @property
    def thresholds(self) -> Thresholds:
        """What the version is judged by."""
        return self._judge.thresholds

    def use(self, baseline: Baseline | None) -> None:
        """Compare with this baseline from now on; labels count anew against it. The same one again changes nothing."""
        if baseline == self._baseline:
            return
        self._baseline = baseline
        performance = baseline.performance if baseline is not None else None
        self._detector = None if performance is None else detector_for(performance, self._sensitivity)

    def judge_by(self, thresholds: Thresholds) -> None:
        """Judge by other thresholds; what was found by the earlier ones is forgotten."""
        if thresholds != self._judge.thresholds:
            self._judge = HealthJudge(thresholds, interval_s=self._interval_s)

    def look(self, seen: Seen) -> ModelHealth:
        """Take in what was seen, and judge."""
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
        """How far a window is from the baseline.

        Raises:
            InvalidInput: there is no baseline, or the window belongs to another one.
        """
        if self._baseline is None:
            raise InvalidInput("there is nothing to compare with: give the version a baseline first")
        return compare(self._baseline, window, self._sensitivity, threshold=drift_threshold(self.thresholds))

    def to_json(self) -> dict[str, Any]:
        """What labels and earlier looks have come to, as JSON, for `restore`."""
        return {
            "baseline_id": self._baseline.baseline_id if self._baseline is not None else "",
            "detector": self._detector.to_json() if self._detector is not None else None,
            "labels": self._labels.to_json(),
            "judge": self._judge.to_json(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Go on where `to_json` was called; call it after `use` and `judge_by`. Labels of another baseline are left."""
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
    """The labels of the last hour, kept by the minute, so that accuracy is a recent one.

    It turns totals that only grow into what is new, and into the window.
    """

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._panes: Panes[Counter[str]] = Panes()

    def take(self, totals: Mapping[str, int], now: float) -> Mapping[str, int]:
        """Take in the totals of a moment (as `metrics.Snapshot.feedback`); returns what came since the last ones.

        Totals that fell belong to a count that began anew: then all of them are new.
        """
        present = {key: totals.get(key, 0) for key in _COUNTED}
        new = {key: count - self._before.get(key, 0) for key, count in present.items()}
        if any(count < 0 for count in new.values()):
            new = present
        self._before = present
        found = {key: count for key, count in new.items() if count}
        self._panes.rewind(pane_of(now))  # where the clock was set back; else this does nothing
        if found:
            self._panes.add(pane_of(now), Counter(found))
        return found

    def window(self, now: float) -> Mapping[str, int]:
        """The labels that came in the last hour, counted under the same names."""
        return dict(self._panes.window(pane_of(now), _LABEL_MINUTES) or {})

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` goes on from there."""
        return {"before": self._before, "panes": [[pane, dict(one)] for pane, one in self._panes.items()]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> _LabelWindow:
        """Go on where `to_json` was called."""
        found = cls()
        found._before = dict(document["before"])
        for pane, counts in document["panes"]:
            found._panes.add(pane, Counter(counts))
        return found


def drift_threshold(thresholds: Thresholds) -> float:
    """The score from which a column counts as drifted: the threshold, where it is one that can be passed, else 0.3."""
    limit = thresholds.max_drift_score
    return limit if limit is not None and 0.0 < limit < 1.0 else THRESHOLD
