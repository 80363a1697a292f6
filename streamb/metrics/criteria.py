"""A threshold becomes a verdict: pass, fail or inconclusive. For rollouts, alerts and guardrails alike.

A verdict needs evidence for either answer. A value beyond its limit fails only when chance is ruled out (`proven`), and
passes only when it is within the limit; in between, and without enough samples, it is inconclusive, which never
promotes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    """What a criterion says."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one criterion found.

    Attributes:
        criterion: its name.
        detail: why, in words for a person.
        value: what was measured; None when nothing was.
        limit: what it was held against.
        samples: how many observations it rests on.
    """

    criterion: str
    verdict: Verdict
    detail: str
    value: float | None = None
    limit: float | None = None
    samples: int = 0


def overall(findings: Iterable[Finding]) -> Verdict:
    """One verdict for many findings: any failure fails; then any doubt, or no finding at all, is inconclusive.

    >>> overall([])
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def at_most(value: float | None, limit: float, *, proven: bool) -> Verdict:
    """The verdict on a value that must not pass its limit.

    Args:
        value: what was measured; None when nothing was.
        proven: chance is ruled out as the reason why the value is beyond the limit.

    >>> [str(at_most(value, 0.05, proven=value == 0.2)) for value in (0.04, 0.07, 0.2)]
    ['pass', 'inconclusive', 'fail']
    """
    if value is None:
        return Verdict.INCONCLUSIVE
    if value <= limit:
        return Verdict.PASS
    return Verdict.FAIL if proven else Verdict.INCONCLUSIVE


def at_least(value: float | None, limit: float, *, proven: bool) -> Verdict:
    """The verdict on a value that must not fall below its limit; the arguments are those of `at_most`."""
    return at_most(None if value is None else -value, -limit, proven=proven)


def with_enough(finding: Finding, samples: int, needed: int, what: str) -> Finding:
    """The finding, unless it says "pass" on fewer samples than needed: then it is inconclusive. None is never enough.

    >>> few = with_enough(Finding("error_rate", Verdict.PASS, "0.0 % errors"), 7, 100, "requests")
    >>> str(few.verdict), few.detail
    ('inconclusive', 'only 7 of the 100 requests needed; so far: 0.0 % errors')
    """
    needed = max(1, needed)
    if finding.verdict is not Verdict.PASS or samples >= needed:
        return finding
    detail = f"only {samples:,} of the {needed:,} {what} needed; so far: {finding.detail}"
    return replace(finding, verdict=Verdict.INCONCLUSIVE, detail=detail)
