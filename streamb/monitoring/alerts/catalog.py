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
        information: whether it needs nobody: only routes whose matchers name it take it, and its end is not sent.
    """

    name: str
    summary: str
    policy: Policy
    steps: Mapping[Severity, float]
    information: bool = False

    @property
    def runbook(self) -> str:
        """Path of the file that explains what to do, relative to the root of the repository."""
        return f"docs/runbooks/{self.name}.md"

    def texts(self, what: str, description: str, cause: str = "") -> dict[str, str]:
        """Return the annotations of an alert, for people.

        Args:
            what: the version, channel or deployment that the alert is about, for the summary.
            description: what was measured, and the limit; or what happened.
            cause: the likely cause; "" if there is none to name.
        """
        summary = self.summary.format(what=what)
        return {"summary": summary, "description": description, "runbook": self.runbook, "likely_cause": cause}

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

# The Controller says when one of these is over, so there is nothing to wait for.
_AS_TOLD: Final = Policy(for_s=0.0, keep_firing_s=0.0, calm_looks=1)
DEPLOYMENT_NEEDS_APPROVAL: Final = Entry(
    "DeploymentNeedsApproval", "the deployment of {what} needs an approval", _AS_TOLD, {_MEDIUM: 0.0}
)
DEPLOYMENT_EXPIRING: Final = Entry(
    "DeploymentExpiring", "the deployment of {what} is aborted soon if nobody approves it", _AS_TOLD, {_HIGH: 0.0}
)
DEPLOYMENT_STUCK: Final = Entry("DeploymentStuck", "the deployment of {what} does not go on", _AS_TOLD, {_HIGH: 0.0})
DEPLOYMENT_ROLLED_BACK: Final = Entry("DeploymentRolledBack", "{what} was rolled back", _AS_TOLD, {_HIGH: 0.0})
DEPLOYMENT_FAILED: Final = Entry("DeploymentFailed", "{what} could not be deployed", _AS_TOLD, {_MEDIUM: 0.0})
DEPLOYMENT_COMPLETED: Final = Entry("DeploymentCompleted", "{what} was deployed", _AS_TOLD, {}, information=True)

CATALOG: Final[Mapping[str, Entry]] = {
    one.name: one
    for one in (
        *(HIGH_ERROR_RATE, HIGH_LATENCY, LOW_ACCURACY, LOW_THROUGHPUT),
        *(DATA_DRIFT, PREDICTION_DRIFT, CONCEPT_DRIFT, MONITORING_STALE, DELIVERY_FAILING),
        *(DEPLOYMENT_NEEDS_APPROVAL, DEPLOYMENT_EXPIRING, DEPLOYMENT_STUCK),
        *(DEPLOYMENT_ROLLED_BACK, DEPLOYMENT_FAILED, DEPLOYMENT_COMPLETED),
    )
}


def is_information(name: str) -> bool:
    """Return whether the alert with this name needs nobody (`Entry.information`)."""
    return name in CATALOG and CATALOG[name].information


def policy_of(name: str) -> Policy:
    """Return the policy of the alert with this name, or the default policy if the catalog has no such alert."""
    entry = CATALOG.get(name)
    return Policy() if entry is None else entry.policy
