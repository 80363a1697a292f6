"""Is a version well enough to get more traffic? Pure: criteria and evidence in, findings out.

Two layers. The *fast abort* looks at the target version alone: from 10 requests on, an error rate that is beyond doubt
above the limit (99 %, over all looks at the step together) fails at once, however few samples there are. Then every
limit that was set (`checks`), the comparison with stable (`comparison`) and the user's own criteria each give a
finding. Client errors, refused and overloaded requests never count.

A criterion passes when there are at least `min_samples` judged requests, its estimate is within the limit, and nothing
is proven to the contrary; it fails when the estimate is beyond the limit and chance is ruled out; else it is
inconclusive. Judged so, a small first step passes without a proof of harmlessness that its few requests could not give,
and the step before half of the traffic moves asks for enough of them that a bad version is found out. No traffic is
always inconclusive.
"""

from __future__ import annotations

from streamb.metrics.criteria import Finding, with_enough
from streamb.rollouts.checks import fast_abort, limits
from streamb.rollouts.comparison import compare
from streamb.rollouts.custom_criteria import run_custom
from streamb.rollouts.health import HealthCriteria, StepEvidence

__all__ = ["HealthCriteria", "StepEvidence", "judge"]


def judge(criteria: HealthCriteria, evidence: StepEvidence, min_samples: int) -> tuple[Finding, ...]:
    """Everything that the criteria say about the evidence; the first finding is the fast abort.

    Args:
        min_samples: judged requests of the target version without which nothing passes (at least one).
    """
    findings = [fast_abort(criteria, evidence), *limits(criteria, evidence)]
    if criteria.compare_with_stable and evidence.stable is not None:
        findings += compare(criteria, evidence, evidence.stable, min_samples)
    findings += [run_custom(path, evidence) for path in criteria.custom]
    judged = evidence.target.judged
    return tuple(with_enough(finding, judged, min_samples, "requests") for finding in findings)
