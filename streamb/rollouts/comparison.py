"""Compares errors and latency of the target and the stable version over the same time, by always-valid tests.

Notation: *worse for sure* means that an always-valid test (`stats.sequential`) rules out that the target is as good as
stable; *harmless for sure*, that it rules out that the target is worse by the tolerated amount or more. Each is
wrong at any look with probability 1/1,000 per criterion and step: 8 in 1,000 for the four compared steps
of a canary. *Suspicious* is evidence of 4 to 1 that the target is worse.

| evidence that the target is worse | estimate within the tolerance | estimate beyond it |
| --- | --- | --- |
| none | pass | pass |
| suspicious | pass | inconclusive |
| worse for sure | inconclusive, until harmless for sure | fail |

A target that is harmless for sure always passes. A fail needs both: chance is ruled out, and the difference matters. A
pass means "no sign of harm in as many requests as the step requires": so a first step of few requests can pass, and
the step before half of the traffic moves must require many (`benchmarks.rollout_statistics` measures how many).
"""

from __future__ import annotations

import math
from typing import Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.histogram import bucket_of, bucket_value
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.stats.percentile import PercentileComparison, compare_percentile, count_above, quantile_bin
from streamb.stats.sequential import difference_bounds, fall_evidence, rise_evidence

ALPHA: Final = 0.001
_SURE: Final = -math.log(ALPHA)
_SUSPICION: Final = math.log(4.0)
"""With a lower value more good versions wait at a small step; with a higher one more bad versions pass it."""
_LEAST_REQUESTS: Final = 10
"""Fewer requests than this are not compared: a few that fail together at the start are no reason to roll back."""
_STABLE_SHARE: Final = 0.1
"""The share of the target's samples that stable needs: at high weights it gets little traffic."""


def compare(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot, min_samples: int) -> list[Finding]:
    """Return a finding on errors and one on latency, compared with the stable version.

    Args:
        criteria: the tolerances, and the latency percentile.
        evidence: what was counted of the target version since the step began.
        stable: what was counted of the stable version in the same time.
        min_samples: judged requests that the step requires; stable needs a tenth of them.
    """
    needed = max(_LEAST_REQUESTS, math.ceil(min_samples * _STABLE_SHARE))
    judged = evidence.target.judged
    if judged < _LEAST_REQUESTS or stable.judged < needed:
        detail = f"only {judged:,} requests so far and {stable.judged:,} of the stable version: too few to compare"
        names = ("error_rate_against_stable", "latency_against_stable")
        return [Finding(name, Verdict.INCONCLUSIVE, detail, samples=judged) for name in names]
    return [_errors(criteria, evidence.target, stable), _latency(criteria, evidence, stable)]


def verdict_of(*, worse: float, harmless: float, within: bool) -> Verdict:
    """Return the verdict by the table above.

    Args:
        worse: `ln E` against "as good as stable".
        harmless: `ln E` against "worse by the tolerated amount, or more".
        within: whether the estimate is within the tolerance.
    """
    if harmless >= _SURE or worse < (_SURE if within else _SUSPICION):
        return Verdict.PASS
    return Verdict.FAIL if worse >= _SURE and not within else Verdict.INCONCLUSIVE


def _errors(criteria: HealthCriteria, target: Snapshot, stable: Snapshot) -> Finding:
    counts = (target.blamed, target.judged, stable.blamed, stable.judged)
    tolerated = criteria.max_error_increase
    own, other = target.error_rate or 0.0, stable.error_rate or 0.0
    verdict = verdict_of(
        worse=rise_evidence(*counts),
        harmless=fall_evidence(*counts, margin=tolerated),
        within=own - other <= tolerated,
    )
    detail = f"error rate {own:.1%} against {other:.1%} of stable".replace("%", " %")
    if verdict is Verdict.FAIL:
        least, _ = difference_bounds(*counts, ALPHA)
        allowed = f"{tolerated * 100:g} {'is' if tolerated == 0.01 else 'are'}"
        detail += f": worse for sure (by {least * 100:.1f} points at least, where {allowed} tolerated)"
    elif verdict is Verdict.PASS:
        detail += f": no sign that it is worse by more than the {tolerated * 100:g} points tolerated"
    else:
        detail += f": may be worse by more than the {tolerated * 100:g} points tolerated, or chance"
    return Finding("error_rate_against_stable", verdict, detail, own - other, tolerated, target.judged)


def _latency(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot) -> Finding:
    name, q = "latency_against_stable", criteria.latency_percentile / 100
    mine, theirs = evidence.target.latency.buckets, stable.latency.buckets
    reference = quantile_bin(theirs, q)
    shift = _tolerated_buckets(criteria, reference) if reference is not None else 0
    result = compare_percentile(mine, theirs, q, shift)
    if result is None:
        return Finding(name, Verdict.INCONCLUSIVE, "no latencies to compare", limit=criteria.max_latency_increase)
    own, other = bucket_value(result.bin_a), bucket_value(result.bin_b)
    recovered = _recovered(evidence.target_recent, result, q)
    verdict = verdict_of(worse=result.slower, harmless=result.tolerable, within=result.bin_a <= result.bin_b + shift)
    if verdict is Verdict.FAIL and recovered:
        verdict = Verdict.INCONCLUSIVE
    percentile = f"p{criteria.latency_percentile}"
    detail = f"{percentile} latency {own * 1e3:.3g} ms against {other * 1e3:.3g} ms of stable"
    tolerated = f"the {max(bucket_value(result.bin_b + shift) - other, 0.0) * 1e3:.2g} ms tolerated"
    if verdict is Verdict.FAIL:
        detail += f": slower for sure, and by more than {tolerated}"
    elif verdict is Verdict.PASS:
        detail += f": no sign that it is slower by more than {tolerated}"
    elif result.slower >= _SURE and recovered:
        detail += ": it was slower for sure, but not in the last seconds"
    else:
        detail += f": may be slower by more than {tolerated}, or chance"
    return Finding(name, verdict, detail, own / other - 1.0, criteria.max_latency_increase, evidence.target.judged)


def _tolerated_buckets(criteria: HealthCriteria, reference: int) -> int:
    """Return by how many buckets the percentile may be above the reference."""
    usual = bucket_value(reference)
    limit = max(usual * (1.0 + criteria.max_latency_increase), usual + criteria.latency_slack_ms / 1e3)
    return bucket_of(limit) - reference


def _recovered(recent: Snapshot, result: PercentileComparison, q: float) -> bool:
    """Return whether the last seconds are as fast as stable: one slow moment (a cold start) is no reason to go back."""
    buckets = recent.latency.buckets
    slow = count_above(buckets, result.bin_b)
    return recent.judged >= _LEAST_REQUESTS and slow <= (1.0 - q) * sum(count for _, count in buckets)
