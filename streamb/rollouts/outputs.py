"""Compares the answers of the target and the stable version to the same rows (copied requests).

A difference of answers may be what the new version was made for, or a fault. No test can tell, so these findings ask: a
failed one makes the deployment wait for a person instead of rolling back. Chance is ruled out with an error of 1 in 100
over all looks together; for the shift of distributions, at 1 in 10,000 per look.

Versions that answer the same rows differently from call to call cannot be compared row by row: only type, constancy and
distribution of their answers are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from streamb.metrics.criteria import Finding, Verdict, at_most, with_enough
from streamb.metrics.measures import percent
from streamb.metrics.predictions import NAN, OTHER, Prediction, bucket_value, comparable
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.stats.binomial import binomial_upper
from streamb.stats.distance import jensen_shannon
from streamb.stats.sequential import excess_evidence, rise_evidence

LEAST_PAIRS: Final = 100
"""So many pairs are needed, or as many as the step needs requests, whatever is less."""
LABELS_DISAGREEMENT: Final = 0.02
NUMBERS_DISAGREEMENT: Final = 0.10
MOST_RETYPED: Final = 0.01
"""The share of answers of another type, or that are no numbers, up to which nobody is asked."""
LARGEST_SHIFT: Final = 0.1
"""The Jensen-Shannon distance of the distributions up to which nobody is asked; see `benchmarks.rollout_outputs`."""
_LEAST_ANSWERS: Final = 50
_SURE: Final = -math.log(0.01)
_ONE_LOOK: Final = 1e-4

Counts = Mapping[Prediction, int]


def compare_outputs(criteria: HealthCriteria, evidence: StepEvidence, min_samples: int) -> list[Finding]:
    """Return findings that ask: on the type, the agreement, the constancy and the distribution of the answers.

    Args:
        criteria: says whether outputs are compared, and the limit of disagreement.
        evidence: the pairs since the deployment began.
        min_samples: judged requests that the step requires.

    Returns:
        one finding each; none if outputs are not compared, or if the stable version does not answer anything.
    """
    pairs, stable = evidence.pairs, evidence.stable
    if not criteria.compare_outputs or pairs is None or stable is None:
        return []
    compared = pairs.shadow.get("compared", 0)
    needed = min(max(1, min_samples), LEAST_PAIRS)
    if compared < needed and (evidence.stable_down or (stable.judged and not stable.ok)):
        return []  # a stable version that answers nothing must not hold up its fix
    usual = evidence.usual or stable
    mine, theirs = pairs.shadow_predictions, pairs.shadow_expected or usual.predictions
    found = [_type(pairs, mine, theirs), _constant(mine, theirs)]
    if evidence.deterministic:
        found.append(_disagreement(criteria, pairs, theirs))
    if criteria.max_prediction_shift is None:  # else that limit decides, and rolls back
        found.append(_shift(mine, theirs))
    return [replace(_with_pairs(finding, pairs, needed), asks=True) for finding in found]


def most_disagreement(criteria: HealthCriteria, answers: Counts) -> float:
    """Return the limit of the share of rows that are answered differently, 0 to 1: it is higher for numbers."""
    if criteria.max_disagreement is not None:
        return criteria.max_disagreement
    numbers = any(isinstance(key, int) for key in answers)
    return NUMBERS_DISAGREEMENT if numbers else LABELS_DISAGREEMENT


def _with_pairs(finding: Finding, pairs: Snapshot, needed: int) -> Finding:
    """Return the finding; if it passed on too few pairs, it is inconclusive, and says what would make it known."""
    compared = pairs.shadow.get("compared", 0)
    failed = pairs.shadow.get("failed", 0) + pairs.shadow.get("refused", 0)
    after = with_enough(finding, compared, needed, "pairs of answers")
    if after is finding:
        return finding
    missing = "requests to the stable version bring more, as they are copied"
    if failed:
        missing = f"{failed:,} of {failed + compared:,} copies failed or were refused"
    detail = f"only {compared:,} of the {needed:,} pairs of answers needed ({missing})"
    return replace(after, detail=f"{detail}; so far: {finding.detail}" if compared else detail)


def _type(pairs: Snapshot, mine: Counts, theirs: Counts) -> Finding:
    compared, retyped = pairs.shadow.get("compared", 0), pairs.shadow.get("retyped", 0)
    share = retyped / max(1, compared)
    proven = excess_evidence(retyped, compared, MOST_RETYPED) >= _SURE
    detail = f"{retyped:,} of {compared:,} answers have another type, shape or classes than the stable version's"
    verdict = at_most(share, MOST_RETYPED, proven=proven)
    nan = (mine.get(NAN, 0), sum(mine.values()), theirs.get(NAN, 0), sum(theirs.values()))
    if nan[0] and nan[3] and verdict is Verdict.PASS:
        own, other = nan[0] / nan[1], nan[2] / nan[3]
        detail = (
            f"{nan[0]:,} of {nan[1]:,} answers are not a number (NaN), and {percent(other)} of the stable version's"
        )
        if own - other > MOST_RETYPED:
            share, verdict = own, Verdict.FAIL if rise_evidence(*nan) >= _SURE else Verdict.INCONCLUSIVE
    return Finding("output_type", verdict, detail, share, MOST_RETYPED, compared)


def _disagreement(criteria: HealthCriteria, pairs: Snapshot, theirs: Counts) -> Finding:
    """Judge the share of rows that are answered differently; those of another type are judged by themselves."""
    retyped = pairs.shadow.get("retyped", 0)
    n, k = pairs.shadow.get("compared", 0) - retyped, max(0, pairs.shadow.get("disagreed", 0) - retyped)
    limit = most_disagreement(criteria, theirs)
    if n <= 0:
        return Finding("output_disagreement", Verdict.PASS, "no pairs of answers of one type yet", limit=limit)
    verdict = at_most(k / n, limit, proven=excess_evidence(k, n, limit) >= _SURE)
    detail = f"{k:,} of {n:,} rows ({percent(k / n)}) are answered differently from the stable version"
    if verdict is Verdict.PASS:
        detail += f"; {percent(limit)} are allowed, and more than {percent(binomial_upper(k, n, 0.95))} is unlikely"
    else:
        detail += f": {'surely more' if verdict is Verdict.FAIL else 'maybe by chance more'} than {percent(limit)}"
    return Finding("output_disagreement", verdict, detail, k / n, limit, n)


def _constant(mine: Counts, theirs: Counts) -> Finding:
    """Judge whether one single value is always answered, where the stable version gives several."""
    n, several = sum(mine.values()), len(theirs)
    if len(mine) != 1 or several < 2 or OTHER in mine:  # "other" is several values
        detail = f"{len(mine):,} different values in {n:,} answers, {several:,} in the stable version's"
        return Finding("output_constant", Verdict.PASS, detail, samples=n)
    (value,) = mine
    usual = binomial_upper(theirs.get(value, 0), sum(theirs.values()), 0.999)
    failed = n >= _LEAST_ANSWERS and n * math.log(max(usual, 1e-300)) <= -_SURE
    detail = f"all {n:,} answers are {_named(value)}, where the stable version gives {several:,} different ones"
    if not failed:
        detail += "; that may be chance"
    return Finding("output_constant", Verdict.FAIL if failed else Verdict.PASS, detail, samples=n)


def _named(value: Prediction) -> str:
    return f"about {bucket_value(value):.3g}" if isinstance(value, int) else f'"{value}"'


def _shift(mine: Counts, theirs: Counts) -> Finding:
    shift = jensen_shannon(*comparable(mine, theirs))
    proven = shift.p_value < _ONE_LOOK and shift.samples >= _LEAST_ANSWERS
    failed = shift.distance > LARGEST_SHIFT and proven
    detail = f"the distribution of its answers is {shift.distance:.2g} from the stable version's (Jensen-Shannon)"
    detail += f": for sure, and more than {LARGEST_SHIFT:g}" if failed else f"; up to {LARGEST_SHIFT:g} nobody is asked"
    verdict = Verdict.FAIL if failed else Verdict.PASS
    return Finding("output_shift", verdict, detail, shift.distance, LARGEST_SHIFT, shift.samples)
