"""The alarm of the concept detector: when it is raised and ends, when the error began to rise, and by how much."""

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
"""The least mean number of labels between two false alarms, by sensitivity."""


@dataclass(frozen=True, slots=True)
class ConceptReport:
    """The result of a concept detector.

    Attributes:
        status: "no_labels", "stable" or "drifted".
        drifted: whether the error has risen by more than chance explains at the promised rate of false alarms.
        evidence: how close the alarm is, 0 to 1 on a logarithmic scale; 1 is the alarm.
        labels: the number of labels since the start or the last reset.
        measure: "error rate", or "mean absolute error" for a regression.
        baseline: the measure in the baseline.
        current: the measure since the change probably began; None if nothing indicates a change.
        since_label: how many labels ago the change probably began.
        since: when that was, in seconds of the clock of the labels; None if unknown.
        summary: a sentence for people.
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

    An alarm ends by itself when the evidence has fallen to the square root of the level that raised it: then the errors
    are as before. Evidence is capped at the alarm's level, since otherwise the alarm might take forever to end.

    Args:
        bets: the bets that produce the evidence.
        baseline: the measure in the baseline.
        sensitivity: how rare false alarms are.
        given: the arguments of the subclass by name, to make the detector again from `to_json`.
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
        """Add the labels that came since the last call. Labels of the other task are ignored.

        Args:
            feedback: the new labels, counted as in `metrics.Snapshot.feedback`.
            at: when they came, in seconds of a clock; for `ConceptReport.since`.
        """

    @property
    def drifted(self) -> bool:
        """Whether the alarm is on: from when it was raised until the evidence has fallen, or a reset."""
        return self._drifted

    @property
    def evidence(self) -> float:
        """The natural logarithm of the evidence; the alarm is raised at `ln(1 + run length)`."""
        return self._detection.evidence

    def reset(self) -> None:
        """Start again, without the labels so far; ends an alarm."""
        self._detection = Detection.start(self._bets)
        self._drifted = False

    def report(self) -> ConceptReport:
        """Return the result of all labels so far."""
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
            return  # a mean is at most its greatest part
        evidence = self._detection.evidence
        if evidence >= self._alarm:
            self._drifted = True
        elif self._drifted and evidence <= self._alarm / 2:
            # The next change must not inherit the beginning of this one.
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
        """Return the whole state as JSON, for `concept.detector_from_json`."""
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
        """Continue from a result of `to_json` of a detector with the same baseline; returns this detector."""
        sums, leads = tuple(document["log_sums"]), tuple(Lead(**lead) for lead in document["leads"])
        if not len(sums) == len(leads) == len(self._bets.fractions):
            return self  # another release bets otherwise: what its stakes were says nothing here
        self._detection = Detection(document["count"], sums, leads)
        self._drifted = document["drifted"]
        return self
