"""The alarm on top of the e-detector: when it is raised and when it ends, since when things are worse, and how much."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from streamb.clock import isoformat
from streamb.monitoring.drift.report import Sensitivity
from streamb.stats.edetector import Bets, Detection, Lead

RUN_LENGTH: Final[Mapping[Sensitivity, float]] = {Sensitivity.LOW: 1e6, Sensitivity.MEDIUM: 1e5, Sensitivity.HIGH: 1e4}
"""Labels between two false alarms, on average, at least."""


@dataclass(frozen=True, slots=True)
class ConceptReport:
    """What the labels say.

    Attributes:
        status: "no_labels", "stable" or "drifted".
        drifted: the error has risen, beyond what chance does once in the promised number of labels.
        evidence: 0 to 1, on a logarithmic scale; 1 is the alarm.
        labels: labels since the start or the last reset.
        measure: "error rate", or "mean absolute error" for a regression.
        baseline: that of the baseline.
        current: that of the labels since the change probably began; None where nothing points to one.
        since_label: how many labels ago that was.
        since: when that was, in seconds of the clock that the labels came by; None when it is not known.
        summary: all of it in words.
    """

    status: str
    drifted: bool
    evidence: float
    labels: int
    measure: str
    baseline: float
    current: float | None
    since_label: int | None
    since: float | None
    summary: str


class ConceptDetector(ABC):
    """Watches the labels of one version. Not thread-safe.

    An alarm ends by itself when the evidence has fallen to the square root of what raised it, in factors: then the
    errors are back to where they were. Evidence beyond the alarm is not kept, or the way back would be endless.

    Args:
        bets: what the evidence is made of.
        baseline: the measure in the baseline.
        sensitivity: how rare false alarms are.
        given: what the detector of a kind was made with, by name, to make it again from `to_json`.
    """

    kind: ClassVar[str]
    measure: ClassVar[str]

    def __init__(self, bets: Bets, baseline: float, sensitivity: Sensitivity, **given: float) -> None:
        self.sensitivity = Sensitivity(sensitivity)
        self._bets = bets
        self._baseline = baseline
        self._given = given
        self._detection = Detection.start(bets)
        self._alarm = math.log1p(RUN_LENGTH[self.sensitivity])
        self._limit = self._alarm + math.log(len(bets.fractions))
        self._drifted = False

    @abstractmethod
    def observe(self, feedback: Mapping[str, int], at: float | None = None) -> None:
        """Take in the labels that came since the last time, as `metrics.Snapshot.feedback` counts them.

        Args:
            at: when, in seconds of a clock; for `ConceptReport.since`.

        Labels of the other kind (classes for numbers, numbers for classes) say nothing and are left out.
        """

    @property
    def drifted(self) -> bool:
        """Whether the alarm is on: from when it was raised until the evidence is gone, or a reset."""
        return self._drifted

    @property
    def evidence(self) -> float:
        """`ln` of the evidence; the alarm is at `ln(1 + run length)`."""
        return self._detection.evidence

    def reset(self) -> None:
        """Start anew: what came so far is dealt with."""
        self._detection = Detection.start(self._bets)
        self._drifted = False

    def report(self) -> ConceptReport:
        """What the labels say by now."""
        detection, lead = self._detection, self._detection.lead
        current = lead.total / (detection.count - lead.since) if lead.log_stake > 0.0 else None
        return ConceptReport(
            status="drifted" if self._drifted else "stable" if detection.count else "no_labels",
            drifted=self._drifted,
            evidence=1.0 if self._drifted else min(1.0, detection.evidence / self._alarm),
            labels=detection.count,
            measure=self.measure,
            baseline=self._baseline,
            current=current,
            since_label=None if current is None else detection.count - lead.since,
            since=None if current is None else lead.since_at,
            summary=self._words(lead, current),
        )

    def _take(self, count: int, total: float, squares: float, at: float | None) -> None:
        self._detection = self._detection.after(self._bets, count, total, squares, at=at, limit=self._limit)
        if not self._drifted and max(self._detection.log_sums) < self._alarm:
            return  # no mean is above its greatest part
        evidence = self._detection.evidence
        if evidence >= self._alarm:
            self._drifted = True
        elif self._drifted and evidence <= self._alarm / 2:
            # The next change is another one: its beginning must not be mistaken for this one's.
            self.reset()

    def _words(self, lead: Lead, current: float | None) -> str:
        count, usual = self._detection.count, self._shown(self._baseline)
        if not count:
            return f"no labels yet; the baseline's {self.measure} is {usual}"
        if not self._drifted or current is None:
            return f"{count:,} labels show no rise of the {self.measure} over the baseline's {usual}"
        when = f"since about {isoformat(lead.since_at)}, " if lead.since_at is not None else ""
        return (
            f"the {self.measure} has risen from {usual} to {self._shown(current)} "
            f"({when}over the last {count - lead.since:,} labels)"
        )

    def _shown(self, value: float) -> str:
        return f"{value:.4g}"

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON; `concept.detector_from_json` goes on from there."""
        return {
            "kind": self.kind,
            "sensitivity": str(self.sensitivity),
            "drifted": self._drifted,
            "count": self._detection.count,
            "log_sums": list(self._detection.log_sums),
            "leads": [lead._asdict() for lead in self._detection.leads],
            "baseline": self._given,
        }

    def restore(self, document: Mapping[str, Any]) -> Self:
        """Go on where `to_json` of a detector with the same baseline was called."""
        sums, leads = tuple(document["log_sums"]), tuple(Lead(**lead) for lead in document["leads"])
        if not len(sums) == len(leads) == len(self._bets.fractions):
            return self  # another release bets otherwise: what its stakes were says nothing here
        self._detection = Detection(document["count"], sums, leads)
        self._drifted = document["drifted"]
        return self
