"""The alerts that streamb raises itself: their names, their runbooks, and how fast each fires and is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamb.monitoring.alerts.state import Policy

HIGH_ERROR_RATE: Final = "HighErrorRate"
HIGH_LATENCY: Final = "HighLatency"
LOW_ACCURACY: Final = "LowAccuracy"
LOW_THROUGHPUT: Final = "LowThroughput"
DATA_DRIFT: Final = "DataDrift"
PREDICTION_DRIFT: Final = "PredictionDrift"
CONCEPT_DRIFT: Final = "ConceptDrift"
MONITORING_STALE: Final = "MonitoringStale"
DELIVERY_FAILING: Final = "DeliveryFailing"


@dataclass(frozen=True, slots=True)
class Entry:
    """The runbook and the policy of one alert.

    Attributes:
        runbook: path of the file that explains what to do, relative to the root of the repository.
        policy: how fast the alert fires and is resolved, unless an option overrides it.
    """

    runbook: str
    policy: Policy


CATALOG: Final[Mapping[str, Entry]] = {
    name: Entry(f"docs/runbooks/{name}.md", policy)
    for name, policy in {
        HIGH_ERROR_RATE: Policy(for_s=30.0),
        HIGH_LATENCY: Policy(for_s=60.0),
        LOW_ACCURACY: Policy(for_s=60.0),
        LOW_THROUGHPUT: Policy(for_s=120.0),
        # A drift score covers many minutes already, and a detector's alarm covers all labels: no need to wait.
        DATA_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        PREDICTION_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        CONCEPT_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        MONITORING_STALE: Policy(for_s=30.0, keep_firing_s=60.0),
        DELIVERY_FAILING: Policy(for_s=60.0),
    }.items()
}


def policy_of(name: str) -> Policy:
    """Return the policy of the alert with this name, or the default policy if the catalog has no such alert."""
    entry = CATALOG.get(name)
    return Policy() if entry is None else entry.policy
