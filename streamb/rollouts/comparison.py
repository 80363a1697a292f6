"""Compares errors, client errors and latency of the target and the stable version over the same time.

Notation: *worse for sure* means that an always-valid test (`stats.sequential`) rules out that the target is as good as
stable; *harmless for sure*, that it rules out that the target is worse by the tolerated amount or more. Each is
wrong at any look with probability 1/1,000 per criterion and step: 12 in 1,000 at most for the four compared steps
of a canary. *Suspicious* is evidence of 4 to 1 that the target is worse.

| evidence that the target is worse | estimate within the tolerance | estimate beyond it |
| --- | --- | --- |
| none | pass | pass |
| suspicious | pass | inconclusive |
| worse for sure | inconclusive, until harmless for sure | fail |

A target that is harmless for sure always passes. A fail needs both: chance is ruled out, and the difference matters. A
pass means "no sign of harm in as many requests as the step requires": so a first step of few requests can pass, and
the step before half of the traffic moves must require many (`benchmarks.rollout_statistics` measures how many).

**Latencies** of neighbouring requests depend on each other: a machine is busy, a replica is cold, for seconds. The test
on requests only raises the suspicion; a fail also needs that the target was slower block by block of seconds, beyond
what blocks differ by themselves (`blocks`, `serial_evidence`). It takes 36 seconds at least.

**A stable version that is itself broken** (surely beyond the error limit, or not running) is no yardstick: it may
answer quickly, with errors. Then absolute limits decide, and the findings say so; a target that is no worse passes.
"""

from __future__ import annotations

import math
from typing import Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.histogram import bucket_of, bucket_value
from streamb.metrics.measures import percent
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.blocks import Block
from streamb.rollouts.checks import DEFAULT_ERROR_RATE, SURE, proven_above
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.stats.percentile import PercentileComparison, compare_percentile, count_above, quantile_bin
from streamb.stats.sequential import difference_bounds, fall_evidence, rise_evidence, serial_evidence

ALPHA: Final = 0.001
ERRORS: Final = "error_rate_against_stable"
CLIENT_ERRORS: Final = "client_errors_against_stable"
LATENCY: Final = "latency_against_stable"
_SUSPICION: Final = math.log(4.0)
"""With a lower value more good versions wait at a small step; with a higher one more bad versions pass it."""
LEAST_REQUESTS: Final = 10
"""Fewer requests than this are not compared: a few that fail together at the start are no reason to roll back."""
_STABLE_SHARE: Final = 0.1
"""The share of the target's samples that stable needs: at high weights it gets little traffic."""
_MOST_REFUSED: Final = 0.1
"""The share of requests that breakers may have kept from the target since the step began: one short opening."""


def compare(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot, min_samples: int) -> list[Finding]:
    """Return findings on errors, client errors, latency, and on requests that gateways kept from the target.

    Args:
        criteria: the tolerances, and the latency percentile.
        evidence: what was counted of the target version since the step began.
        stable: what was counted of the stable version in the same time.
        min_samples: judged requests that the step requires; stable needs a tenth of them.
    """
    target = evidence.target
    found = [_client_errors(criteria, evidence, stable), *_refused(evidence, stable)]
    why = broken(criteria, evidence, stable)
    needed = max(LEAST_REQUESTS, math.ceil(min_samples * _STABLE_SHARE))
    if target.judged < LEAST_REQUESTS or (stable.judged < needed and not why):
        detail = (
            f"only {target.judged:,} requests so far and {stable.judged:,} of the stable version: too few to compare"
        )
        few = [Finding(name, Verdict.INCONCLUSIVE, detail, samples=target.judged) for name in (ERRORS, LATENCY)]
        return [*few, *found]
    if why:
        return [_errors_alone(criteria, evidence, stable, why), _latency_alone(criteria, target, why), *found]
    return [_errors(criteria, target, stable), _latency(criteria, evidence, stable), *found]


def broken(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot) -> str:
    """Return why the stable version cannot be compared with; "" if it can."""
    if evidence.stable_down:
        return "the stable version does not run"
    limit = _error_limit(criteria)
    if stable.judged >= LEAST_REQUESTS and proven_above(stable.blamed, stable.judged, limit, SURE):
        return f"the stable version itself fails {percent(stable.error_rate or 0.0)} of its requests"
    return ""


def verdict_of(*, worse: float, harmless: float, within: bool) -> Verdict:
    """Return the verdict by the table above.

    Args:
        worse: `ln E` against "as good as stable".
        harmless: `ln E` against "worse by the tolerated amount, or more".
        within: whether the estimate is within the tolerance.
    """
    if harmless >= SURE or worse < (SURE if within else _SUSPICION):
        return Verdict.PASS
    return Verdict.FAIL if worse >= SURE and not within else Verdict.INCONCLUSIVE


def _error_limit(criteria: HealthCriteria) -> float:
    return DEFAULT_ERROR_RATE if criteria.max_error_rate is None else criteria.max_error_rate


def _errors(criteria: HealthCriteria, target: Snapshot, stable: Snapshot) -> Finding:
    counts = (target.blamed, target.judged, stable.blamed, stable.judged)
    return _shares(ERRORS, "error rate", counts, criteria.max_error_increase)


def _client_errors(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot) -> Finding:
    """Compare the share of requests that are refused as the client's mistake: these may be rows it should answer."""
    target, usual = evidence.target, evidence.usual
    if not _asked(stable) and usual is not None:
        stable = usual
    counts = (target.client_errors, _asked(target), stable.client_errors, _asked(stable))
    if counts[1] < LEAST_REQUESTS:
        return Finding(CLIENT_ERRORS, Verdict.INCONCLUSIVE, f"only {counts[1]:,} requests so far", samples=counts[1])
    if not counts[3]:
        share = counts[0] / counts[1]
        detail = f"client errors {percent(share)}; there are none of the stable version to compare with"
        return Finding(CLIENT_ERRORS, Verdict.PASS, detail, share, criteria.max_client_error_increase, counts[1])
    # All of a few are surely more than none of a few: seen best by what is left, as the test is made for rare events.
    left = fall_evidence(counts[1] - counts[0], counts[1], counts[3] - counts[2], counts[3]) - math.log(2.0)
    return _shares(CLIENT_ERRORS, "client errors", counts, criteria.max_client_error_increase, left)


def _asked(counted: Snapshot) -> int:
    return counted.judged + counted.client_errors


def _shares(
    name: str, what: str, counts: tuple[int, int, int, int], tolerated: float, evidence: float = -math.inf
) -> Finding:
    """Compare two shares.

    Args:
        name: of the criterion.
        what: the words for the share.
        counts: the target's events and requests, and the stable version's.
        tolerated: the difference of the shares that is tolerated.
        evidence: `ln E` of another test that the target is worse.
    """
    own, other = counts[0] / counts[1], counts[2] / counts[3]
    worse, harmless = max(rise_evidence(*counts), evidence), fall_evidence(*counts, margin=tolerated)
    verdict = verdict_of(worse=worse, harmless=harmless, within=own - other <= tolerated)
    detail = f"{what} {percent(own)} against {percent(other)} of stable"
    if verdict is Verdict.FAIL:
        least, _ = difference_bounds(*counts, ALPHA)
        allowed = f"where {tolerated * 100:g} {'is' if tolerated == 0.01 else 'are'} tolerated"
        detail += f": worse for sure ({f'by {least * 100:.1f} points at least, ' if least > 0 else ''}{allowed})"
    elif verdict is Verdict.PASS:
        detail += f": no sign that it is worse by more than the {tolerated * 100:g} points tolerated"
    else:
        detail += f": may be worse by more than the {tolerated * 100:g} points tolerated, or chance"
    return Finding(name, verdict, detail, own - other, tolerated, counts[1])


def _errors_alone(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot, why: str) -> Finding:
    """Judge the error rate by the absolute limit; a target that is no worse than a broken stable version passes."""
    target, limit = evidence.target, _error_limit(criteria)
    rate = target.error_rate or 0.0
    detail = f"error rate {percent(rate)}, at most {percent(limit)} allowed; not compared, because {why}"
    compared = _errors(criteria, target, stable).verdict if stable.judged else Verdict.INCONCLUSIVE
    if rate <= limit:
        verdict = Verdict.PASS
    elif compared is Verdict.PASS:
        verdict, detail = Verdict.PASS, f"error rate {percent(rate)}: no worse than stable, although {why}"
    elif compared is Verdict.FAIL and proven_above(target.blamed, target.judged, limit, SURE):
        verdict = Verdict.FAIL
    else:
        verdict, detail = Verdict.INCONCLUSIVE, f"{detail}: somebody must decide which is better"
    return Finding(ERRORS, verdict, detail, rate, limit, target.judged)


def _latency_alone(criteria: HealthCriteria, target: Snapshot, why: str) -> Finding:
    value = target.latency.quantile(criteria.latency_percentile / 100)
    shown = f"p{criteria.latency_percentile} latency {value * 1e3:.3g} ms" if value is not None else "latency unknown"
    limit = "max_latency_ms decides" if criteria.max_latency_ms is not None else "max_latency_ms would limit it"
    detail = f"{shown}; not compared, because {why}; {limit}"
    return Finding(LATENCY, Verdict.PASS, detail, samples=target.judged)


def _refused(evidence: StepEvidence, stable: Snapshot) -> list[Finding]:
    """Return an inconclusive finding if breakers kept clearly more from the target: nobody knows what that hid."""
    target, recent = evidence.target, evidence.target_recent
    own, other = target.judged + target.refused, stable.judged + stable.refused
    whole = rise_evidence(target.refused, own, stable.refused, other) >= SURE and target.refused > _MOST_REFUSED * own
    now = rise_evidence(recent.refused, recent.judged + recent.refused, stable.refused, other) >= SURE
    if not target.refused or not (whole or now):
        return []
    detail = (
        f"gateways did not send it {target.refused:,} of {own:,} requests, because it kept failing (circuit breaker), "
        f"against {stable.refused:,} of {other:,} of stable: how many of them it would have failed is unknown"
    )
    return [Finding("refused", Verdict.INCONCLUSIVE, detail, target.refused / own, _MOST_REFUSED, own)]


def _latency(criteria: HealthCriteria, evidence: StepEvidence, stable: Snapshot) -> Finding:
    q, tolerance = criteria.latency_percentile / 100, criteria.max_latency_increase
    mine, theirs = evidence.target.latency.buckets, stable.latency.buckets
    reference = quantile_bin(theirs, q)
    shift = tolerated_buckets(criteria, reference) if reference is not None else 0
    result = compare_percentile(mine, theirs, q, shift)
    if result is None:
        return Finding(LATENCY, Verdict.INCONCLUSIVE, "no latencies to compare", limit=tolerance)
    verdict = verdict_of(worse=result.slower, harmless=result.tolerable, within=result.bin_a <= result.bin_b + shift)
    tolerated = (
        f"the {max(bucket_value(result.bin_b + shift) - bucket_value(result.bin_b), 0.0) * 1e3:.2g} ms tolerated"
    )
    if verdict is Verdict.PASS:
        ending = f"no sign that it is slower by more than {tolerated}"
    elif verdict is Verdict.INCONCLUSIVE:
        ending = f"may be slower by more than {tolerated}, or chance"
    elif _recovered(evidence.target_recent, result, q):
        verdict, ending = Verdict.INCONCLUSIVE, "it was slower for sure, but not in the last seconds"
    elif _lasting(evidence.blocks, q) < SURE:
        verdict = Verdict.INCONCLUSIVE
        ending = f"slower by more than {tolerated}; more time shows whether that lasts or the machine was busy"
    else:
        ending = f"slower for sure, all the time, and by more than {tolerated}"
    detail = f"{_against(criteria, result)}: {ending}{_left_out(evidence.target)}"
    own, other = bucket_value(result.bin_a), bucket_value(result.bin_b)
    return Finding(LATENCY, verdict, detail, own / other - 1.0, tolerance, evidence.target.judged)


def _against(criteria: HealthCriteria, result: PercentileComparison) -> str:
    own, other = bucket_value(result.bin_a) * 1e3, bucket_value(result.bin_b) * 1e3
    return f"p{criteria.latency_percentile} latency {own:.3g} ms against {other:.3g} ms of stable"


def _left_out(target: Snapshot) -> str:
    """Say which answers are not in the latency."""
    return (
        f"; {target.disturbed:,} answers waited for a replica that had died and do not count"
        if target.disturbed
        else ""
    )


def tolerated_buckets(criteria: HealthCriteria, reference: int, times: float = 1.0) -> int:
    """Return by how many buckets the percentile may be above the reference; `times` widens both tolerances."""
    usual = bucket_value(reference)
    limit = max(usual * (1.0 + criteria.max_latency_increase * times), usual + criteria.latency_slack_ms * times / 1e3)
    return bucket_of(limit) - reference


def _recovered(recent: Snapshot, result: PercentileComparison, q: float) -> bool:
    """Return whether the last seconds are as fast as stable: one slow moment (a cold start) is no reason to go back."""
    buckets = recent.latency.buckets
    slow = count_above(buckets, result.bin_b)
    return recent.judged >= LEAST_REQUESTS and slow <= (1.0 - q) * sum(count for _, count in buckets)


def _lasting(blocks: tuple[Block, ...], q: float) -> float:
    """Return `ln E` against "block by block, the target's percentile is no higher than stable's"."""
    bins = [(quantile_bin(mine.buckets, q), quantile_bin(theirs.buckets, q)) for mine, theirs in blocks]
    apart = [float(mine - theirs) for mine, theirs in bins if mine is not None and theirs is not None]
    return serial_evidence(apart, resolution=1.0)
