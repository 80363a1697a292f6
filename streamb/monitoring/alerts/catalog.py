"""The alerts that streamb raises itself, each declared once: texts, runbook, severities, how fast it fires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamb.monitoring.alerts.alert import Severity, worst
from streamb.monitoring.alerts.state import Policy

_MEDIUM, _HIGH, _CRITICAL = Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert.

    Attributes:
        name: the value of its label `alertname`.
        summary: what is wrong with `{what}`, in one clause.
        policy: how fast the alert fires and is resolved, unless an option overrides it.
        steps: by severity, the least ratio of the value to its limit; below all of them the severity is low.
    """

    name: str
    summary: str
    policy: Policy
    steps: Mapping[Severity, float]

    @property
    def runbook(self) -> str:
        """Path of the file that explains what to do, relative to the root of the repository."""
        return f"docs/runbooks/{self.name}.md"

    def graded(self, ratio: float) -> Severity:
        """Return the severity if the value is `ratio` times its limit.

        >>> HIGH_ERROR_RATE.graded(2.5), HIGH_ERROR_RATE.graded(0.3)
        (<Severity.HIGH: 'high'>, <Severity.LOW: 'low'>)
        """
        return worst(severity for severity, least in self.steps.items() if ratio >= least)


# A drift score covers many minutes already, and a detector's alarm covers all labels: no need to wait.
_AT_ONCE: Final = Policy(for_s=0.0, keep_firing_s=900.0)
_DRIFT_STEPS: Final = {_MEDIUM: 1.5, _HIGH: 2.5}

HIGH_ERROR_RATE: Final = Entry(
    "HighErrorRate", "{what} fails too many requests", Policy(for_s=30.0), {_MEDIUM: 1.0, _HIGH: 2.0, _CRITICAL: 5.0}
)
HIGH_LATENCY: Final = Entry(
    "HighLatency", "{what} answers too slowly", Policy(for_s=60.0), {_MEDIUM: 1.0, _HIGH: 2.0, _CRITICAL: 4.0}
)
LOW_ACCURACY: Final = Entry(
    "LowAccuracy", "{what} is wrong too often", Policy(for_s=60.0), {_MEDIUM: 1.0, _HIGH: 1.5, _CRITICAL: 2.0}
)
LOW_THROUGHPUT: Final = Entry(
    "LowThroughput", "{what} answers too few requests", Policy(for_s=120.0), {_MEDIUM: 1.0, _HIGH: 2.0, _CRITICAL: 10.0}
)
DATA_DRIFT: Final = Entry("DataDrift", "the inputs of {what} have changed", _AT_ONCE, _DRIFT_STEPS)
PREDICTION_DRIFT: Final = Entry("PredictionDrift", "the predictions of {what} have changed", _AT_ONCE, _DRIFT_STEPS)
CONCEPT_DRIFT: Final = Entry(
    "ConceptDrift", "{what} is wrong more often than it was in its baseline", _AT_ONCE, {_MEDIUM: 0.0, _HIGH: 2.0}
)
MONITORING_STALE: Final = Entry(
    "MonitoringStale",
    "there are no reports on {what}",
    Policy(for_s=30.0, keep_firing_s=60.0),
    {_MEDIUM: 0.0, _HIGH: 600.0},
)
DELIVERY_FAILING: Final = Entry(
    "DeliveryFailing",
    "the channel {what} does not accept notifications",
    Policy(for_s=60.0),
    {_MEDIUM: 120.0, _HIGH: 900.0, _CRITICAL: 3_600.0},
)

CATALOG: Final[Mapping[str, Entry]] = {
    one.name: one
    for one in (
        *(HIGH_ERROR_RATE, HIGH_LATENCY, LOW_ACCURACY, LOW_THROUGHPUT),
        *(DATA_DRIFT, PREDICTION_DRIFT, CONCEPT_DRIFT, MONITORING_STALE, DELIVERY_FAILING),
    )
}


def policy_of(name: str) -> Policy:
    """Return the policy of the alert with this name, or the default policy if the catalog has no such alert."""
    entry = CATALOG.get(name)
    return Policy() if entry is None else entry.policy
