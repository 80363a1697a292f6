"""How a version does right now: the numbers that people read and thresholds judge, from what the gateways counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.outcome import Outcome
from streamb.metrics.snapshot import Snapshot

_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Metrics:
    """A version over some seconds. What nothing is known of is None.

    Attributes:
        average_latency_ms: exact, to a nanosecond for each request.
        p50_latency_ms, p95_latency_ms, p99_latency_ms: within 1 %.
        error_rate: failed requests over `requests`, 0 to 1.
        throughput: answered requests per second.
        accuracy: right labels over `labels`; None for a regression.
        mean_absolute_error: of the labels (regression).
        requests: answered and failed ones. Mistakes of clients, and requests turned away by a full queue, say nothing
            about the version and are not among them.
        errors: the failed ones.
        labels: labels that came in this time.
        wrong: labels that the prediction had not; 0 for a regression.
        waiting: whether requests were kept waiting: some are queued, or ran out of time.
        seconds: how long this time is.
        latency: all durations.
    """

    average_latency_ms: float | None = None
    p50_latency_ms: float | None = None
    p95_latency_ms: float | None = None
    p99_latency_ms: float | None = None
    error_rate: float | None = None
    throughput: float | None = None
    accuracy: float | None = None
    mean_absolute_error: float | None = None
    requests: int = 0
    errors: int = 0
    labels: int = 0
    wrong: int = 0
    waiting: bool = False
    seconds: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram, repr=False)

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the histogram."""
        document = asdict(self)
        del document["latency"]
        return document


def metrics_of(
    snapshot: Snapshot, seconds: float, *, task: Literal["classification", "regression"] | None = None
) -> Metrics:
    """The metrics of what was counted in so many seconds.

    Args:
        snapshot: a difference of counters, as `OutcomeWindows.recent` gives it.
        seconds: how long that was.
        task: what labels are compared by, where the counts do not say it; None: by classes.

    >>> counted = Snapshot("m", "1", counts={"ok": 95, "model_error": 5}, latency=LatencyHistogram.of([0.15] * 100))
    >>> metrics = metrics_of(counted, 10.0)
    >>> metrics.average_latency_ms, metrics.error_rate, metrics.throughput
    (150.0, 0.05, 9.5)
    """
    latency, feedback = snapshot.latency, snapshot.feedback
    labels, kind = feedback.get("labels", 0), kind_of_labels(feedback) or task
    correct = None if kind == "regression" else feedback.get("correct", 0)
    numbers = labels and kind == "regression"
    return Metrics(
        average_latency_ms=_milliseconds(latency.mean_s),
        p50_latency_ms=_milliseconds(latency.quantile(0.50)),
        p95_latency_ms=_milliseconds(latency.quantile(0.95)),
        p99_latency_ms=_milliseconds(latency.quantile(0.99)),
        error_rate=snapshot.error_rate,
        throughput=snapshot.ok / seconds if seconds > 0 else None,
        accuracy=correct / labels if labels and correct is not None else None,
        mean_absolute_error=feedback.get("error_micro", 0) / _MICRO / labels if numbers else None,
        requests=snapshot.judged,
        errors=snapshot.blamed,
        labels=labels,
        wrong=labels - correct if correct is not None else 0,
        waiting=snapshot.queued > 0 or snapshot.counts.get(Outcome.TIMEOUT, 0) > 0,
        seconds=seconds,
        latency=latency,
    )


def kind_of_labels(feedback: Mapping[str, int]) -> Literal["classification", "regression"] | None:
    """What labels were compared with, as far as their counts say; what comes to nothing is not among them.

    >>> kind_of_labels({"labels": 5, "correct": 3}), kind_of_labels({"labels": 5, "error_micro": 9})
    ('classification', 'regression')

    Returns:
        None where only the task can tell: the version may answer either, every label was wrong, or every number met.
    """
    classes, numbers = "correct" in feedback, "error_micro" in feedback
    if classes == numbers:
        return None
    return "classification" if classes else "regression"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
