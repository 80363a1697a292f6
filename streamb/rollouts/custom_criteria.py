"""A user's own criteria, by import path. Whatever goes wrong in one makes it inconclusive, with the reason."""

from __future__ import annotations

import importlib

from streamb.metrics.criteria import Finding, Verdict
from streamb.rollouts.health import StepEvidence


def run_custom(path: str, evidence: StepEvidence) -> Finding:
    """Call `package.module:function` with the evidence.

    The function runs in the Controller at every look, so it must be quick and must not wait for anything.
    """
    module, _, name = path.partition(":")
    try:
        finding = getattr(importlib.import_module(module), name)(evidence)
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} cannot judge: {type(error).__name__}: {error}")
    if not isinstance(finding, Finding) or not isinstance(finding.verdict, Verdict):
        return Finding(path, Verdict.INCONCLUSIVE, f"{path} answered {finding!r:.200}, not a Finding")
    return finding
