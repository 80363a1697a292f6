"""Counts of what happened to requests: kept per gateway, merged exactly, exported to Prometheus."""

from streamb.metrics.export import prometheus_text
from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.outcome import BLAMED, Outcome, outcome_of
from streamb.metrics.recorder import VersionRecorder
from streamb.metrics.snapshot import Snapshot, merge
from streamb.metrics.windows import OutcomeWindows

__all__ = [
    "BLAMED",
    "LatencyHistogram",
    "Outcome",
    "OutcomeWindows",
    "Snapshot",
    "VersionRecorder",
    "merge",
    "outcome_of",
    "prometheus_text",
]
