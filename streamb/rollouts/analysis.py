"""Judges whether a version may get more traffic: turns criteria and evidence into findings.

There are two layers. The *fast abort* considers the target version alone: from 10 requests on, an error rate that is
surely above the limit (99 %, over all looks at the step together) fails at once, even with few samples. Then every
limit that is set (`checks`), the comparison with stable (`comparison`) or with what was usual before it lost its
traffic (`usual`), the comparison of answers to the same rows (`outputs`) and the user's own criteria each give a
finding. Client errors are only compared with stable's; refused and overloaded requests are no errors.

A criterion passes if there are at least `min_samples` judged requests, its estimate is within the limit, and no test
proves the contrary; it fails if the estimate is beyond the limit and chance is ruled out; otherwise it is
inconclusive. So a small first step can pass although its few requests cannot prove that the version is harmless, and
the step before half of the traffic moves requires enough requests to detect a bad version. Without traffic a criterion
is always inconclusive. An error in a user's own criterion makes it inconclusive, with the reason.
"""

from __future__ import annotations

import importlib
import threading
from typing import Final

from streamb.errors import words_of
from streamb.metrics.criteria import Finding, Verdict, with_enough
from streamb.rollouts.checks import fast_abort, limits, unanswered
from streamb.rollouts.comparison import compare
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.options import HealthCriteria
from streamb.rollouts.outputs import compare_outputs
from streamb.rollouts.usual import against_usual

__all__ = ["HealthCriteria", "StepEvidence", "judge"]

PATIENCE_S: Final = 1.0
"""How many seconds a look waits for a user's criterion; all deployments wait meanwhile."""

_running: dict[str, threading.Thread] = {}


def judge(criteria: HealthCriteria, evidence: StepEvidence, min_samples: int) -> tuple[Finding, ...]:
    """Return one finding for each criterion; the first one is the fast abort.

    Args:
        criteria: the criteria of the deployment.
        evidence: what was counted of both versions since the step began.
        min_samples: the fewest judged requests of the target version with which a criterion can pass (at least one).
            The comparison of answers needs as many pairs of them, at most 100.
    """
    findings = [fast_abort(criteria, evidence), *unanswered(evidence), *limits(criteria, evidence)]
    if criteria.compare_with_stable and evidence.stable is not None:
        findings += compare(criteria, evidence, evidence.stable, min_samples)
    elif criteria.compare_with_stable and evidence.usual is not None:
        findings += against_usual(criteria, evidence, evidence.usual)
    findings += [run_custom(path, evidence) for path in criteria.custom]
    judged = evidence.target.judged
    enough = [with_enough(finding, judged, min_samples, "requests") for finding in findings]
    return (*enough, *compare_outputs(criteria, evidence, min_samples))


def run_custom(path: str, evidence: StepEvidence, patience_s: float = PATIENCE_S) -> Finding:
    """Call the criterion `path` (`package.module:function`) with the evidence in a new thread, and return its finding.

    The function runs in the Controller at every look, so it should be fast. If it does not return within `patience_s`
    seconds, the finding is inconclusive, and it is not called again before it has returned.
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
        if not isinstance(finding, Finding) or not isinstance(finding.verdict, Verdict):
            return Finding(path, Verdict.INCONCLUSIVE, f"{path} answered {finding!r:.200}, not a Finding")
    except BaseException as error:  # whatever a user's code raises; this thread is its own
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} cannot judge: {words_of(error)}")
    return finding
