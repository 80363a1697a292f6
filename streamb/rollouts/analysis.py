"""Is a version well enough to get more traffic? Pure: criteria and evidence in, findings out.

Two layers. The *fast abort* looks at the target version alone: from 10 requests on, an error rate that is beyond doubt
above the limit (99 %, over all looks at the step together) fails at once, however few samples there are. Then every
limit that was set (`checks`), the comparison with stable (`comparison`) and the user's own criteria each give a
finding. Client errors, refused and overloaded requests never count.

A criterion passes when there are at least `min_samples` judged requests, its estimate is within the limit, and nothing
is proven to the contrary; it fails when the estimate is beyond the limit and chance is ruled out; else it is
inconclusive. Judged so, a small first step passes without a proof of harmlessness that its few requests could not give,
and the step before half of the traffic moves asks for enough of them that a bad version is found out. No traffic is
always inconclusive. Whatever goes wrong in a user's own criterion makes it inconclusive, with the reason.
"""

from __future__ import annotations

import importlib
import threading
from typing import Final

from streamb.metrics.criteria import Finding, Verdict, with_enough
from streamb.rollouts.checks import fast_abort, limits
from streamb.rollouts.comparison import compare
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria

__all__ = ["HealthCriteria", "StepEvidence", "judge"]

PATIENCE_S: Final = 1.0
"""How long a look waits for a criterion; all deployments wait with it."""

_running: dict[str, threading.Thread] = {}


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


def run_custom(path: str, evidence: StepEvidence, patience_s: float = PATIENCE_S) -> Finding:
    """Call `package.module:function` with the evidence, in a thread of its own.

    The function runs in the Controller at every look, so it should be quick. One that is not is inconclusive, and is
    not called again before it has returned: no more than one thread ever waits for it.
    """
    before = _running.get(path)
    if before is not None and before.is_alive():
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} has not returned from an earlier look")
    answers: list[Finding] = []
    thread = threading.Thread(target=lambda: answers.append(_call(path, evidence)), name=path, daemon=True)
    _running[path] = thread
    thread.start()
    thread.join(patience_s)
    if not answers:
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} did not answer within {patience_s:g} s")
    return answers[0]


def _call(path: str, evidence: StepEvidence) -> Finding:
    module, _, name = path.partition(":")
    try:
        finding = getattr(importlib.import_module(module), name)(evidence)
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} cannot judge: {type(error).__name__}: {error}")
    if not isinstance(finding, Finding) or not isinstance(finding.verdict, Verdict):
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} answered {finding!r:.200}, not a Finding")
    return finding
