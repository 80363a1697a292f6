"""Judges by what each caller may weigh (`metrics.weighing`), and says in the findings who was left out.

With doubted callers (odd ones with more than half of the requests) a step is judged twice. What fails without them,
fails. What fails only with them is inconclusive: either they fail on purpose, or the version fails its main client.
Likewise, what fails only with the few callers who speak most against the target is not proven yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.histogram import LatencyHistogram
from streamb.metrics.snapshot import Snapshot
from streamb.metrics.weighing import FLOOR, Group, Weights, weighed, weights
from streamb.rollouts.blocks import Block, Blocks

_T = TypeVar("_T")
_SHOWN: Final = 3
_OF: Final[Mapping[str, Group]] = {
    **dict.fromkeys(
        ("fast_abort", "error_rate", "error_rate_against_stable", "error_rate_against_usual"), Group.ERRORS
    ),
    **dict.fromkeys(("client_errors_against_stable", "client_errors_against_usual"), Group.ERRORS),
    **dict.fromkeys(("latency_against_stable", "latency_against_usual"), Group.LATENCY),
    **dict.fromkeys(("p50_latency", "p95_latency", "p99_latency"), Group.LATENCY),
    **dict.fromkeys(("accuracy", "success_rate", "error_value"), Group.FEEDBACK),
    **dict.fromkeys(("output_type", "output_disagreement", "output_constant", "output_shift"), Group.COPIES),
}
"""The counts that each criterion rests on."""


class WeighedBlocks:
    """The latencies of both versions in blocks of seconds, with the weights that callers had when they came."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._seen: tuple[Snapshot, Snapshot] | None = None
        self._sums = LatencyHistogram(), LatencyHistogram()

    def add(self, seconds: float, counted: tuple[Snapshot, Snapshot], by: tuple[Weights, Weights]) -> tuple[Block, ...]:
        """Return the closed blocks, after a look at the counts.

        Args:
            seconds: the time of the look, in seconds since the observation began.
            counted: everything that was counted of the target and of stable since then.
            by: the present weights of callers for each.
        """
        came = counted if self._seen is None else tuple(map(Snapshot.minus, counted, self._seen))
        new = [weighed(one, weight).latency for one, weight in zip(came, by, strict=True)]
        self._seen = counted
        self._sums = LatencyHistogram.merge((self._sums[0], new[0])), LatencyHistogram.merge((self._sums[1], new[1]))
        return self._blocks.add(seconds, *self._sums)


def weights_of(
    target: Snapshot, stable: Snapshot | None, pairs: Snapshot, min_samples: int, present: int = 0
) -> tuple[Weights, Weights]:
    """Return the weights for the target (with its copies) and for stable.

    Args:
        target: what was counted of the target since the step began.
        stable: the same of stable; None if there is nothing to compare with.
        pairs: what was counted of the target since the deployment began, for the copies.
        min_samples: judged requests that the step requires: a caller may weigh so many in any case.
        present: the number of callers in the last seconds: when a step begins, few of them are counted in it.
    """
    floor = max(FLOOR, min_samples)
    if len(target.callers) < 2 and len(pairs.callers) < 2 and (stable is None or len(stable.callers) < 2):
        return Weights(), Weights()
    own, *other = weights([target] if stable is None else [target, stable], floor, present)
    (copied,) = weights([pairs], floor, present)
    whole = replace(
        own,
        of=_with_copies(own.of, copied.of),
        left_out=_with_copies(own.left_out, copied.left_out),
        doubted=_with_copies(own.doubted, copied.doubted),
        spare=_with_copies(own.spare, copied.spare),
    )
    if stable is not None:
        return whole, other[0]
    return whole, Weights().without(own.left_out)


def judged(
    by: tuple[Weights, Weights], judge: Callable[[tuple[Weights, Weights]], tuple[Finding, ...]]
) -> tuple[Finding, ...]:
    """Return the findings, judged again without callers who may decide alone; they say who was left out.

    Args:
        by: the weights of callers for the target and for stable.
        judge: judges with such weights.
    """
    found = judge(by)
    if doubted := by[0].doubted:
        by = by[0].without(doubted), by[1].without(doubted)
        why = "most of the requests are theirs, and they differ from the rest"
        found = tuple(_only_with(found, finding, doubted, why) for finding in judge(by))
    spare = by[0].spare
    if spare and any(finding.verdict is Verdict.FAIL for finding in found):
        without = {finding.criterion: finding for finding in judge((by[0].without(spare), by[1].without(spare)))}
        why = "too few others say so to rule out that they do it on purpose"
        found = tuple(_only_with((one,), without.get(one.criterion, one), spare, why, kept=one) for one in found)
    return tuple(_told(finding, by[0]) for finding in found) if by[0].left_out else found


def _with_copies(counted: Mapping[Group, _T], copied: Mapping[Group, _T]) -> dict[Group, _T]:
    """Return what holds for each group: of copies, what was found with the pairs of the whole deployment."""
    kept = {group: part for group, part in counted.items() if group is not Group.COPIES}
    return kept | {group: part for group, part in copied.items() if group is Group.COPIES}


def _only_with(
    found: Iterable[Finding],
    without: Finding,
    callers: Mapping[Group, tuple[str, ...]],
    why: str,
    kept: Finding | None = None,
) -> Finding:
    """Return the finding that holds, where some callers decide alone: what fails only with them is inconclusive.

    Args:
        found: the findings with these callers.
        without: one without them.
        callers: these callers.
        why: why what they say is not believed.
        kept: what holds where that is no matter; by default the finding without them.
    """
    failed = next((one for one in found if one.criterion == without.criterion and one.verdict is Verdict.FAIL), None)
    names = callers.get(_OF.get(without.criterion, Group.ERRORS), ())
    if failed is None or without.verdict is Verdict.FAIL or not names:
        return kept or (failed if failed is not None and not names else without)
    return replace(failed, verdict=Verdict.INCONCLUSIVE, detail=f"{failed.detail}; only with {_names(names)}: {why}")


def _told(finding: Finding, by: Weights) -> Finding:
    names = by.left_out.get(_OF.get(finding.criterion, Group.ERRORS), ()) if finding.criterion in _OF else ()
    if not names:
        return finding
    said = f"{len(names)} of {by.callers} callers left out, as they differ from the rest: {_names(names)}"
    return replace(finding, detail=f"{finding.detail} ({said})")


def _names(names: Iterable[str]) -> str:
    listed = [name or "callers without a key" for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
