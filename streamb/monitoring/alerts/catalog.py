"""The alerts that streamb raises by itself: their names, their runbooks, and how fast each fires and is resolved."""

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
    """One alert.

    Attributes:
        runbook: the file that says what to do, from the root of the repository.
        policy: how fast it fires and is resolved, where no option says otherwise.
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
        # A drift score is drawn from many minutes already, and a detector's alarm from all labels: no need to wait.
        DATA_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        PREDICTION_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        CONCEPT_DRIFT: Policy(for_s=0.0, keep_firing_s=900.0),
        MONITORING_STALE: Policy(for_s=30.0, keep_firing_s=60.0),
        DELIVERY_FAILING: Policy(for_s=60.0),
    }.items()
}


def policy_of(name: str) -> Policy:
    """The policy of an alert; that of no alert in particular where the name is not in the catalog."""
    entry = CATALOG.get(name)
    return Policy() if entry is None else entry.policy
