"""Compares the target, once it has all traffic, with what was usual of the stable version before.

Both were counted at different times, so the time of day and the load differ as well. Therefore a difference fails only
if it exceeds the tolerance for sure; for latency, if it exceeds twice the tolerance for sure, and in the last seconds
too, after half a minute at least. What does not fail passes: absolute limits and the fast abort are judged beside it.
"""

from __future__ import annotations

from typing import Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.histogram import bucket_value
from streamb.metrics.measures import percent
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.checks import SURE, proven_above
from streamb.rollouts.comparison import LEAST_REQUESTS, tolerated_buckets
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.stats.percentile import count_above, quantile_bin
from streamb.stats.sequential import rise_evidence

LATENCY: Final = "latency_against_usual"
LEAST_USUAL: Final = 100
"""Fewer requests of the stable version than this show nothing of what is usual."""
_TIMES: Final = 2.0
_LEAST_SECONDS: Final = 30.0


def against_usual(criteria: HealthCriteria, evidence: StepEvidence, usual: Snapshot) -> list[Finding]:
    """Return findings on errors, client errors and latency; none if stable answered too few requests to be usual.

    Args:
        criteria: the tolerances, and the latency percentile.
        evidence: what is counted of the target version.
        usual: what was counted of the stable version until it lost its traffic.
    """
    target, found = evidence.target, list[Finding]()
    if usual.judged < LEAST_USUAL or target.judged + target.client_errors < LEAST_REQUESTS:
        return found
    errors = (target.blamed, target.judged, usual.blamed, usual.judged)
    asked, other = target.judged + target.client_errors, usual.judged + usual.client_errors
    refused = (target.client_errors, asked, usual.client_errors, other)
    if target.judged:
        found.append(_shares("error_rate_against_usual", "error rate", errors, criteria.max_error_increase))
    found.append(_shares("client_errors_against_usual", "client errors", refused, criteria.max_client_error_increase))
    latency = _latency(criteria, evidence, usual)
    return [*found, latency] if latency is not None else found


def _shares(name: str, what: str, counts: tuple[int, int, int, int], tolerated: float) -> Finding:
    own, other = counts[0] / counts[1], counts[2] / counts[3]
    failed = rise_evidence(*counts, margin=tolerated) >= SURE
    detail = f"{what} {percent(own)}, where {percent(other)} were usual of the version before"
    if failed:
        detail += f": worse for sure, by more than the {tolerated * 100:g} points tolerated"
    return Finding(name, Verdict.FAIL if failed else Verdict.PASS, detail, own - other, tolerated, counts[1])


def _latency(criteria: HealthCriteria, evidence: StepEvidence, usual: Snapshot) -> Finding | None:
    q, target = criteria.latency_percentile / 100, evidence.target.latency.buckets
    reference, mine = quantile_bin(usual.latency.buckets, q), quantile_bin(target, q)
    if reference is None or mine is None:
        return None
    limit = reference + tolerated_buckets(criteria, reference, _TIMES)
    slow = [
        proven_above(count_above(bins, limit), sum(count for _, count in bins), 1.0 - q, SURE)
        for bins in (target, evidence.target_recent.latency.buckets)
    ]
    failed = all(slow) and evidence.seconds >= _LEAST_SECONDS
    own, other = bucket_value(mine) * 1e3, bucket_value(reference) * 1e3
    name = f"p{criteria.latency_percentile}"
    detail = f"{name} latency {own:.3g} ms, where {other:.3g} ms were usual of the version before"
    if failed:
        detail += f": for sure slower than {bucket_value(limit) * 1e3:.3g} ms, in the last seconds too"
    verdict = Verdict.FAIL if failed else Verdict.PASS
    return Finding(LATENCY, verdict, detail, own / other - 1.0, criteria.max_latency_increase, evidence.target.judged)
