"""A user's own criteria, by import path. Whatever goes wrong in one makes it inconclusive, with the reason."""

from __future__ import annotations

import importlib
import threading
from typing import Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts.health import StepEvidence

PATIENCE_S: Final = 1.0
"""How long a look waits for a criterion; all deployments wait with it."""

_running: dict[str, threading.Thread] = {}


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
