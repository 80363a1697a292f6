"""The metrics of a version, and the comparison of each with its limit, for health, alerts and deployments.

A value exactly at its limit is within it. Beyond the limit it fails only where the caller's `Proof` rules out chance;
which proof that is, and what a failure leads to, is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from streamb.metrics.criteria import Finding, Verdict, at_least, at_most
from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.outcome import Outcome
from streamb.metrics.snapshot import Snapshot

Task = Literal["classification", "regression"]
_MICRO: Final = 1_000_000

Proof = Callable[[int, int, float], bool]
"""`proof(k, n, share)`: whether `k` of `n` exceed the share (0 to 1) beyond chance."""
ENDLESS: Final = 1e9
"""The factor by which any value exceeds a limit of 0."""
_SHARES_OF_GOOD: Final = frozenset({"accuracy", "success_rate"})


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a version over some seconds. Unknown values are None.

    Attributes:
        average_latency_ms: exact, to a nanosecond for each request.
        p50_latency_ms, p95_latency_ms, p99_latency_ms: within 1 %.
        error_rate: failed requests over `requests`, 0 to 1.
        throughput: answered requests per second.
        accuracy: correct predictions over `labels`, 0 to 1; None for a regression.
        mean_absolute_error: mean distance of predictions from labels (regression).
        requests: answered and failed requests. Clients' mistakes, and requests refused by a full queue, say nothing
            about the version and are not counted.
        errors: failed requests.
        labels: labels received in this time.
        wrong: labels that differ from the prediction; 0 for a regression.
        waiting: whether requests had to wait: some are queued, or timed out.
        seconds: length of this time.
        latency: the histogram of all durations.
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
        """Return the metrics as JSON values, without the histogram."""
        document = asdict(self)
        del document["latency"]
        return document


def metrics_of(snapshot: Snapshot, seconds: float, *, task: Task | None = None) -> Metrics:
    """Return the metrics of the counts of a period.

    Args:
        snapshot: the counts of the period, as from `OutcomeWindows.recent`.
        seconds: the length of the period.
        task: how labels are compared, if the counts do not show it; None: as classes.

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


def kind_of_labels(feedback: Mapping[str, int]) -> Task | None:
    """Return the task by which labels were compared, as far as their counts show it.

    >>> kind_of_labels({"labels": 5, "correct": 3}), kind_of_labels({"labels": 5, "error_micro": 9})
    ('classification', 'regression')

    Returns:
        The task; None if the counts fit both: every label was wrong, or every number was exact.
    """
    classes, numbers = "correct" in feedback, "error_micro" in feedback
    if classes == numbers:
        return None
    return "classification" if classes else "regression"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def error_rate(measured: Metrics, limit: float, proof: Proof) -> Finding:
    """Judge the share of failed requests, which must be at most `limit` (0 to 1)."""
    value, count = measured.error_rate, measured.requests
    detail = (
        "no requests yet"
        if value is None
        else f"error rate {percent(value)} of {count:,} requests, at most {percent(limit)} allowed"
    )
    proven = proof(measured.errors, count, limit)
    return Finding("error_rate", at_most(value, limit, proven=proven), detail, value, limit, count)


def latency(measured: Metrics, limit_ms: float, proof: Proof, percentile: int = 95) -> Finding:
    """Judge a percentile of the latency, which must be at most `limit_ms` milliseconds.

    Args:
        measured: the version's metrics.
        limit_ms: the limit in milliseconds.
        proof: rules out chance.
        percentile: the percentile, 1 to 99.
    """
    name = f"p{percentile}"
    value = _milliseconds(measured.latency.quantile(percentile / 100))
    detail = "no requests yet"
    if value is not None:
        detail = f"{name} latency {_rounded(value)} ms, at most {limit_ms:g} ms allowed"
    verdict = at_most(value, limit_ms, proven=slower(measured, limit_ms, proof, percentile))
    return Finding(f"{name}_latency", verdict, detail, value, limit_ms, measured.latency.count)


def slower(measured: Metrics, limit_ms: float, proof: Proof, percentile: int = 95) -> bool:
    """Return whether the percentile exceeds the limit beyond chance."""
    count = measured.latency.count
    return proof(count - measured.latency.at_most(limit_ms / 1e3), count, 1.0 - percentile / 100)


def accuracy(measured: Metrics, limit: float, proof: Proof) -> Finding:
    """Judge the accuracy, which must be at least `limit` (0 to 1). For a regression it is inconclusive."""
    if measured.mean_absolute_error is not None:
        detail = "a regression has no accuracy"
        return Finding("accuracy", Verdict.INCONCLUSIVE, detail, limit=limit, samples=measured.labels)
    return good_share("accuracy", measured.labels - measured.wrong, measured.labels, "labels", limit, proof)


def good_share(criterion: str, good: int, count: int, what: str, limit: float, proof: Proof) -> Finding:
    """Judge a share, which must be at least `limit`.

    Args:
        criterion: the name of the share.
        good: how many of `count` were good.
        count: the number of observations.
        what: the word for the observations, in the plural.
        limit: the limit, 0 to 1.
        proof: rules out chance.
    """
    value = good / count if count else None
    detail = f"no {what} yet"
    if value is not None:
        name = criterion.replace("_", " ")
        detail = f"{name} {percent(value)} of {count:,} {what}, at least {percent(limit)} wanted"
    verdict = at_least(value, limit, proven=proof(count - good, count, 1.0 - limit))
    return Finding(criterion, verdict, detail, value, limit, count)


def throughput(measured: Metrics, limit: float) -> Finding:
    """Judge answered requests per second, at least `limit`. Fails only if requests waited, not if few arrived."""
    value = measured.throughput
    detail = "nothing was counted yet"
    if value is not None:
        detail = f"{value:.3g} requests/s answered, {limit:g} wanted"
        if value < limit:
            detail += ", while others waited" if measured.waiting else "; no more came"
    verdict = at_least(value, limit, proven=measured.waiting)
    return Finding("throughput", verdict, detail, value, limit, measured.requests)


def drift(score: float | None, limit: float, *, proven: bool, samples: int, words: str = "") -> Finding:
    """Judge a drift score, which must be at most `limit`.

    Args:
        score: the score, 0 to 1; None if there is no baseline, or too few rows.
        limit: the limit, 0 to 1.
        proven: whether chance is ruled out as the reason for the score.
        samples: the number of rows or requests.
        words: what has drifted, or why there is no score; by default the score and its limit.
    """
    detail = words or f"drift {score or 0.0:.3g}, at most {limit:g} allowed"
    return Finding("drift_score", at_most(score, limit, proven=proven), detail, score, limit, samples)


def times_limit(finding: Finding) -> float:
    """Return by what factor a value misses its limit, the larger the worse; 0 if there is no value.

    >>> times_limit(Finding("error_rate", Verdict.FAIL, "", 0.1, 0.05))
    2.0
    >>> times_limit(Finding("throughput", Verdict.FAIL, "", 5.0, 20.0))
    4.0
    """
    if finding.value is None or finding.limit is None:
        return 0.0
    value, limit = finding.value, finding.limit
    if finding.criterion in _SHARES_OF_GOOD:
        value, limit = 1.0 - value, 1.0 - limit
    if finding.criterion == "throughput":
        value, limit = limit, value
    if limit <= 0:
        return ENDLESS if value > 0 else 0.0
    return value / limit


def percent(share: float) -> str:
    """Return a share as text in percent.

    >>> percent(0.125)
    '12.5 %'
    """
    return f"{share * 100:.1f} %"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
