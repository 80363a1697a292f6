"""Turns a value and its limit into a verdict: pass, fail or inconclusive. Used by rollouts, alerts and guardrails.

Either verdict needs evidence. A value beyond its limit fails only when chance is ruled out (`proven`), and
passes only when it is within the limit; in between, and without enough samples, it is inconclusive, which never
promotes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Verdict(StrEnum):
    """The result of a criterion: pass, fail or inconclusive."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one criterion, with its reasons.

    Attributes:
        criterion: the criterion's name.
        detail: the reason, as text for people.
        value: the measured value; None if there is none.
        limit: the limit that the value was compared with.
        samples: the number of observations behind the value.
        asks: whether a person decides if it fails: a deployment then asks for approval instead of rolling back.
    """

    criterion: str
    verdict: Verdict
    detail: str
    value: float | None = None
    limit: float | None = None
    samples: int = 0
    asks: bool = False


def overall(findings: Iterable[Finding]) -> Verdict:
    """Return one verdict for many findings: any failure fails; else any doubt, or no finding at all, is inconclusive.

    >>> overall([])
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def at_most(value: float | None, limit: float, *, proven: bool) -> Verdict:
    """Return the verdict on a value that must not exceed its limit.

    Args:
        value: the measured value; None if there is none.
        limit: the largest allowed value.
        proven: whether chance is ruled out as the reason why the value exceeds the limit.

    >>> [str(at_most(value, 0.05, proven=value == 0.2)) for value in (0.04, 0.07, 0.2)]
    ['pass', 'inconclusive', 'fail']
    """
    if value is None:
        return Verdict.INCONCLUSIVE
    if value <= limit:
        return Verdict.PASS
    return Verdict.FAIL if proven else Verdict.INCONCLUSIVE


def at_least(value: float | None, limit: float, *, proven: bool) -> Verdict:
    """Return the verdict on a value that must not fall below its limit; the arguments are those of `at_most`."""
    return at_most(None if value is None else -value, -limit, proven=proven)


def with_enough(finding: Finding, samples: int, needed: int, what: str) -> Finding:
    """Return the finding, but inconclusive if it passed on fewer samples than needed, or on none.

    >>> few = with_enough(Finding("error_rate", Verdict.PASS, "0.0 % errors"), 7, 100, "requests")
    >>> str(few.verdict), few.detail
    ('inconclusive', 'only 7 of the 100 requests needed; so far: 0.0 % errors')
    """
    needed = max(1, needed)
    if finding.verdict is not Verdict.PASS or samples >= needed:
        return finding
    detail = f"only {samples:,} of the {needed:,} {what} needed; so far: {finding.detail}"
    return replace(finding, verdict=Verdict.INCONCLUSIVE, detail=detail)
