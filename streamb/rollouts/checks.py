"""The target version against limits of its own: errors, latency, quality from feedback, throughput, drift, predictions.

Notation: *proven* means ruled out as chance by an always-valid test (`stats.sequential`) at 1 in 1,000 per criterion
and step, over all looks together; the fast abort takes 1 in 100.
"""

from __future__ import annotations

import math
from typing import Final

from streamb.metrics.criteria import Finding, Verdict, at_least, at_most, with_enough
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.health import HealthCriteria, StepEvidence
from streamb.stats import binomial_tail, jensen_shannon, mean_bounds, proportion_evidence

FAST_ABORT: Final = "fast_abort"
FAST_ABORT_REQUESTS: Final = 10
DEFAULT_ERROR_RATE: Final = 0.05
_USUAL_TIMES: Final = 2.0
"""Without a limit from the user, a version is stopped at twice the error rate that is usual here, at least 5 %."""
_ABORT: Final = -math.log(0.01)
_SURE: Final = -math.log(0.001)
_RECENT_ALPHA: Final = 1e-4
"""The last seconds are a new window at each look, so each window has to be surer than the step as a whole."""
_LATELY_ALPHA: Final = 1e-5
"""Of each longer window that is looked at while gateways refuse: they would be open by chance often enough."""
_LEAST_FEEDBACK: Final = 30
_LEAST_SECONDS: Final = 5.0


def fast_abort(criteria: HealthCriteria, evidence: StepEvidence) -> Finding:
    """Fails as soon as the error rate is above the limit beyond doubt, from 10 requests on.

    Gateways stop calling a version that fails three times in a row. What they refuse for that reason is no failure, but
    a request: else the few calls that were made would never be ten.
    """
    limit = abort_limit(criteria, evidence)
    target, recent = evidence.target, evidence.target_recent
    rate = target.error_rate
    if _enough(target) and _proven_above(target.blamed, target.judged, limit, _ABORT):
        return _aborted(target, limit, "since the step began")
    if _enough(recent) and _chance(recent, limit) < _RECENT_ALPHA:
        return _aborted(recent, limit, "in the last seconds")
    for lately in evidence.target_lately:
        if _chance(lately, limit) < _LATELY_ALPHA:
            return _aborted(lately, limit, "lately, and it is hardly called any more")
    detail = (
        "no requests yet" if rate is None else f"{_percent(rate)} errors, stopped when surely above {_percent(limit)}"
    )
    return Finding(FAST_ABORT, Verdict.PASS, detail, rate, limit, target.judged)


def abort_limit(criteria: HealthCriteria, evidence: StepEvidence) -> float:
    """The error rate that ends a step at once."""
    if criteria.max_error_rate is not None:
        return criteria.max_error_rate
    stable = evidence.stable.error_rate if evidence.stable is not None else evidence.usual_error_rate
    return min(1.0, max(DEFAULT_ERROR_RATE, _USUAL_TIMES * (stable or 0.0)))


def limits(criteria: HealthCriteria, evidence: StepEvidence) -> list[Finding]:
    """One finding for each limit that is set."""
    found = [
        _error_rate(criteria.max_error_rate, evidence.target),
        _latency(criteria, evidence.target),
        _share("accuracy", criteria.min_accuracy, *_labels(evidence.target), "labels"),
        _share(
            "success_rate", criteria.min_success_rate, *_successes(evidence.target), "reports of success or failure"
        ),
        _error_value(criteria.max_error_value, evidence.target),
        _throughput(criteria.min_throughput, evidence),
        _drift(criteria.max_drift_score, evidence),
        _prediction_shift(criteria.max_prediction_shift, evidence),
    ]
    return [finding for finding in found if finding is not None]


def _enough(counted: Snapshot) -> bool:
    return counted.judged + counted.refused >= FAST_ABORT_REQUESTS


def _proven_above(k: int, n: int, limit: float, sure: float) -> bool:
    return k > limit * n and proportion_evidence(k, n, limit) >= sure


def _chance(recent: Snapshot, limit: float) -> float:
    return binomial_tail(recent.blamed, recent.judged, limit) if recent.blamed else 1.0


def _aborted(counted: Snapshot, limit: float, when: str) -> Finding:
    rate = counted.error_rate
    detail = f"{counted.blamed:,} of {counted.judged:,} requests failed {when}: surely above {_percent(limit)}"
    return Finding(FAST_ABORT, Verdict.FAIL, detail, rate, limit, counted.judged)


def _error_rate(limit: float | None, target: Snapshot) -> Finding | None:
    if limit is None:
        return None
    proven = _proven_above(target.blamed, target.judged, limit, _SURE)
    rate = target.error_rate
    verdict = at_most(rate, limit, proven=proven)
    detail = "no requests yet" if rate is None else f"error rate {_percent(rate)}, at most {_percent(limit)} allowed"
    return Finding("error_rate", verdict, detail, rate, limit, target.judged)


def _latency(criteria: HealthCriteria, target: Snapshot) -> Finding | None:
    if criteria.max_latency_ms is None:
        return None
    q, count = criteria.latency_percentile / 100, target.latency.count
    seconds = target.latency.quantile(q)
    value = None if seconds is None else seconds * 1e3
    slow = count - target.latency.at_most(criteria.max_latency_ms / 1e3)
    verdict = at_most(value, criteria.max_latency_ms, proven=_proven_above(slow, count, 1.0 - q, _SURE))
    name = f"p{criteria.latency_percentile}"
    allowed = f"at most {criteria.max_latency_ms:g} ms allowed"
    detail = "no requests yet" if value is None else f"{name} latency {value:.3g} ms, {allowed}"
    return Finding(f"{name}_latency", verdict, detail, value, criteria.max_latency_ms, count)


def _labels(target: Snapshot) -> tuple[int, int]:
    return target.feedback.get("correct", 0), target.feedback.get("labels", 0)


def _successes(target: Snapshot) -> tuple[int, int]:
    good = target.feedback.get("successes", 0)
    return good, good + target.feedback.get("failures", 0)


def _share(criterion: str, limit: float | None, good: int, count: int, what: str) -> Finding | None:
    if limit is None:
        return None
    value = good / count if count else None
    proven = _proven_above(count - good, count, 1.0 - limit, _SURE)
    verdict = at_least(value, limit, proven=proven)
    name = criterion.replace("_", " ")
    detail = f"no {what} yet" if value is None else f"{name} {_percent(value)}, at least {_percent(limit)} wanted"
    return with_enough(Finding(criterion, verdict, detail, value, limit, count), count, _LEAST_FEEDBACK, what)


def _error_value(limit: float | None, target: Snapshot) -> Finding | None:
    if limit is None:
        return None
    count = target.feedback.get("labels", 0)
    if not count:
        return Finding("error_value", Verdict.INCONCLUSIVE, "no labels yet", limit=limit)
    mean = target.feedback.get("error_micro", 0) / 1e6 / count
    square = target.feedback.get("squared_error_micro", 0) / 1e6 / count
    lower, _ = mean_bounds(count, mean, math.sqrt(max(0.0, square - mean * mean)), 0.001)
    verdict = at_most(mean, limit, proven=lower > limit and count >= _LEAST_FEEDBACK)
    detail = f"mean absolute error {mean:.4g}, at most {limit:g} allowed"
    return with_enough(Finding("error_value", verdict, detail, mean, limit, count), count, _LEAST_FEEDBACK, "labels")


def _throughput(limit: float | None, evidence: StepEvidence) -> Finding | None:
    if limit is None:
        return None
    target = evidence.target
    if evidence.seconds < _LEAST_SECONDS:
        detail = f"watched for {evidence.seconds:.0f} s, {_LEAST_SECONDS:.0f} s are needed"
        return Finding("throughput", Verdict.INCONCLUSIVE, detail, limit=limit, samples=target.judged)
    rate = target.ok / evidence.seconds
    # Little traffic is no fault of the version: only a version that keeps requests waiting is too slow.
    waiting = target.queued > 0 or target.counts.get("timeout", 0) > 0
    detail = f"{rate:.3g} requests/s answered, {limit:g} wanted"
    if rate < limit:
        detail += ", while others waited" if waiting else "; no more came"
    return Finding("throughput", at_least(rate, limit, proven=waiting), detail, rate, limit, target.judged)


def _drift(limit: float | None, evidence: StepEvidence) -> Finding | None:
    if limit is None:
        return None
    score = evidence.drift_score
    detail = (
        "monitoring says nothing of this version: it has no baseline, too few rows, or does not run"
        if score is None
        else f"drift {score:.3g}, at most {limit:g} allowed"
    )
    verdict = at_most(score, limit, proven=evidence.drift_proven)
    return Finding("drift_score", verdict, detail, score, limit, evidence.target.judged)


def _prediction_shift(limit: float | None, evidence: StepEvidence) -> Finding | None:
    if limit is None:
        return None
    if evidence.stable is None:
        return None
    shift = jensen_shannon(evidence.target.predictions, evidence.stable.predictions)
    value = shift.distance if shift.samples else None
    verdict = at_most(value, limit, proven=shift.p_value < _RECENT_ALPHA and shift.samples >= _LEAST_FEEDBACK)
    detail = (
        "no predictions to compare yet"
        if value is None
        else f"predictions differ from stable's by {value:.3g} (Jensen-Shannon distance), at most {limit:g} allowed"
    )
    return Finding("prediction_shift", verdict, detail, value, limit, shift.samples)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
