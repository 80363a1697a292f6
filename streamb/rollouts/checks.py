"""Checks the target version's limits: errors, latency, quality from feedback, throughput, drift, predictions.

Notation: *proven* means that an always-valid test (`stats.sequential`) rules out chance, with an error of 1 in 1,000
per criterion and step, over all looks together; the fast abort uses 1 in 100.
"""

from __future__ import annotations

import math
from typing import Final

from streamb.metrics import Outcome, measures
from streamb.metrics.criteria import Finding, Verdict, at_most, with_enough
from streamb.metrics.measures import Metrics, Task, metrics_of, percent
from streamb.metrics.predictions import comparable
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.stats.binomial import binomial_tail
from streamb.stats.distance import jensen_shannon
from streamb.stats.sequential import mean_bounds, proportion_evidence

FAST_ABORT: Final = "fast_abort"
FAST_ABORT_REQUESTS: Final = 10
DEFAULT_ERROR_RATE: Final = 0.05
DOWN_ERROR_RATE: Final = 0.5
"""While stable does not run, a version that answers half of the requests is better than none."""
_ABORT: Final = -math.log(0.01)
SURE: Final = -math.log(0.001)
OVERDUE_S: Final = 2.0
"""A request is overdue after this many seconds at the earliest (`streamb.serving.lateness`)."""
_RECENT_ALPHA: Final = 1e-4
"""The error of the test on the last seconds: smaller, because each look tests a new window."""
_LATELY_ALPHA: Final = 1e-5
"""The error of each longer window while gateways refuse: smaller still, as breakers also open by chance."""
_LEAST_FEEDBACK: Final = 30
_LEAST_SECONDS: Final = 5.0


def fast_abort(criteria: HealthCriteria, evidence: StepEvidence) -> Finding:
    """Return a failed finding as soon as the error rate is surely above the limit, from 10 requests on.

    Gateways stop calling a version that fails repeatedly. A request refused for that reason is no failure, but it
    counts towards the 10: otherwise the few calls that were made might never reach them.
    """
    limit = abort_limit(criteria, evidence)
    target, recent = evidence.target, evidence.target_recent
    rate = target.error_rate
    if _enough(target) and proven_above(target.blamed, target.judged, limit, _ABORT):
        return _aborted(target, limit, "since the step began", copies=evidence.copies)
    late, count = target.blamed + target.overdue, target.judged + target.overdue
    if target.overdue and count >= FAST_ABORT_REQUESTS and proven_above(late, count, limit, _ABORT):
        detail = f"{late:,} of {count:,} requests failed or have had no answer for more than {OVERDUE_S:g} s"
        return Finding(FAST_ABORT, Verdict.FAIL, f"{detail}: surely above {percent(limit)}", late / count, limit, count)
    if _enough(recent) and _chance(recent, limit) < _RECENT_ALPHA:
        return _aborted(recent, limit, "in the last seconds")
    for lately in evidence.target_lately:
        if _chance(lately, limit) < _LATELY_ALPHA:
            return _aborted(lately, limit, "lately, and it is hardly called any more")
    detail = (
        "no requests yet" if rate is None else f"{percent(rate)} errors, stopped when surely above {percent(limit)}"
    )
    return Finding(FAST_ABORT, Verdict.PASS, detail, rate, limit, target.judged)


def abort_limit(criteria: HealthCriteria, evidence: StepEvidence) -> float:
    """Return the error rate above which the fast abort fails, 0 to 1.

    Without a limit from the user, it is the rate at twice the odds of stable's errors, at least 5 %: 4 % for 2 %, 46 %
    for 30 %. Requests that wait for an answer of stable for too long count as its errors.
    """
    if criteria.max_error_rate is not None:
        return criteria.max_error_rate
    if evidence.stable_down:
        return DOWN_ERROR_RATE
    stable, rate = evidence.stable, evidence.usual_error_rate or 0.0
    if stable is not None:
        rate = (stable.blamed + stable.overdue) / max(1, stable.judged + stable.overdue)
    return max(DEFAULT_ERROR_RATE, 2.0 * rate / (1.0 + rate))


def unanswered(evidence: StepEvidence) -> list[Finding]:
    """Return an inconclusive finding while requests of the target are overdue: what comes of them is not known."""
    overdue = evidence.target.overdue
    if not overdue:
        return []
    detail = f"{overdue:,} requests have had no answer for more than {OVERDUE_S:g} s"
    if evidence.stable is not None and evidence.stable.overdue:
        detail += f", and {evidence.stable.overdue:,} of the stable version"
    return [Finding("unanswered", Verdict.INCONCLUSIVE, detail, float(overdue), 0.0, evidence.target.judged)]


def limits(criteria: HealthCriteria, evidence: StepEvidence) -> list[Finding]:
    """Return one finding for each limit that is set."""
    # Labels that are all right or all wrong do not show the kind of task; a limit on the error means regression.
    task: Task | None = "regression" if criteria.max_error_value is not None else None
    target, found = metrics_of(evidence.target, evidence.seconds, task=task), list[Finding]()
    if (limit := criteria.max_error_rate) is not None:
        found.append(measures.error_rate(target, limit, _surely_above))
    if (limit := criteria.max_latency_ms) is not None:
        found.append(measures.latency(target, limit, _surely_above, criteria.latency_percentile))
    if (limit := criteria.min_accuracy) is not None:
        found.append(_with_feedback(measures.accuracy(target, limit, _surely_above), "labels"))
    if (limit := criteria.min_success_rate) is not None:
        good, what = evidence.target.feedback.get("successes", 0), "reports of success or failure"
        count = good + evidence.target.feedback.get("failures", 0)
        found.append(_with_feedback(measures.good_share("success_rate", good, count, what, limit, _surely_above), what))
    if (limit := criteria.max_error_value) is not None:
        found.append(_with_feedback(_error_value(limit, target, evidence.target), "labels"))
    if (limit := criteria.min_throughput) is not None:
        found.append(_throughput(limit, target))
    if (limit := criteria.max_drift_score) is not None:
        silent = "monitoring says nothing of this version: it has no baseline, too few rows, or does not run"
        words, proven = silent if evidence.drift_score is None else "", evidence.drift_proven
        judged = evidence.target.judged
        found.append(measures.drift(evidence.drift_score, limit, proven=proven, samples=judged, words=words))
    if (limit := criteria.max_prediction_shift) is not None and evidence.stable is not None:
        found.append(_prediction_shift(limit, evidence.target, evidence.stable))
    return found


def _enough(counted: Snapshot) -> bool:
    return counted.judged + counted.refused >= FAST_ABORT_REQUESTS


def proven_above(k: int, n: int, limit: float, sure: float) -> bool:
    """Return whether `k` of `n` is surely more than a share of `limit`: `ln E` is `sure` or more."""
    return k > limit * n and proportion_evidence(k, n, limit) >= sure


def _chance(recent: Snapshot, limit: float) -> float:
    return binomial_tail(recent.blamed, recent.judged, limit) if recent.blamed else 1.0


def _aborted(counted: Snapshot, limit: float, when: str, *, copies: bool = False) -> Finding:
    rate = counted.error_rate
    what, why = ("copied requests", "") if copies else ("requests", _ways(counted))
    detail = f"{counted.blamed:,} of {counted.judged:,} {what} failed {when}{why}: surely above {percent(limit)}"
    return Finding(FAST_ABORT, Verdict.FAIL, detail, rate, limit, counted.judged)


def _ways(counted: Snapshot) -> str:
    """Say how requests failed, if the model did not answer all of them with an error."""
    late, alone = counted.counts.get(Outcome.TIMEOUT, 0), counted.counts.get(Outcome.UNAVAILABLE, 0)
    told = (f"{late:,} had no answer in time" if late else "", f"{alone:,} found no replica that runs" if alone else "")
    said = "; ".join(filter(None, told))
    return f" ({said})" if said else ""


def _surely_above(k: int, n: int, share: float) -> bool:
    return proven_above(k, n, share, SURE)


def _with_feedback(finding: Finding, what: str) -> Finding:
    return with_enough(finding, finding.samples, _LEAST_FEEDBACK, what)


def _error_value(limit: float, target: Metrics, counted: Snapshot) -> Finding:
    mean, count = target.mean_absolute_error, target.labels
    if mean is None:
        detail = "a classification has no mean error" if count else "no labels yet"
        return Finding("error_value", Verdict.INCONCLUSIVE, detail, limit=limit, samples=count)
    square = counted.feedback.get("squared_error_micro", 0) / 1e6 / count
    lower, _ = mean_bounds(count, mean, math.sqrt(max(0.0, square - mean * mean)), 0.001)
    verdict = at_most(mean, limit, proven=lower > limit and count >= _LEAST_FEEDBACK)
    detail = f"mean absolute error {mean:.4g}, at most {limit:g} allowed"
    return Finding("error_value", verdict, detail, mean, limit, count)


def _throughput(limit: float, target: Metrics) -> Finding:
    if target.seconds < _LEAST_SECONDS:
        detail = f"watched for {target.seconds:.0f} s, {_LEAST_SECONDS:.0f} s are needed"
        return Finding("throughput", Verdict.INCONCLUSIVE, detail, limit=limit, samples=target.requests)
    return measures.throughput(target, limit)


def _prediction_shift(limit: float, target: Snapshot, stable: Snapshot) -> Finding:
    shift = jensen_shannon(*comparable(target.predictions, stable.predictions))
    value = shift.distance if shift.samples else None
    verdict = at_most(value, limit, proven=shift.p_value < _RECENT_ALPHA and shift.samples >= _LEAST_FEEDBACK)
    detail = (
        "no predictions to compare yet"
        if value is None
        else f"predictions differ from stable's by {value:.3g} (Jensen-Shannon distance), at most {limit:g} allowed"
    )
    return Finding("prediction_shift", verdict, detail, value, limit, shift.samples)
