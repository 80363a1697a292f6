"""Watches the versions being deployed: counts since the present share came into force, and the findings from them.

The counts at the start of an observation are kept in memory only. A restarted Controller begins a new observation, so
that promotion may take longer, but never rests on less evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol

from streamb.clock import Clock
from streamb.hashing import BASIS_POINTS
from streamb.metrics import Snapshot
from streamb.metrics.criteria import Finding
from streamb.rollouts.analysis import judge
from streamb.rollouts.blocks import Blocks
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.strategies import Strategy

JUDGE_EVERY_S: Final = 0.2
"""The shortest time between two judgements, in seconds: counts arrive only every second, and judging costs time."""
RECENT_S: Final = 10
NOW_S: Final = 3
WHILE_REFUSED_S: Final = (20, 40, 80, 160, 320, 640)
"""Windows in seconds used while gateways refuse a version: an open breaker tries it only about every 30 s."""

DriftOf = Callable[[str, str], tuple[float, bool] | None]
"""The drift score of a model's version, 0 to 1, and whether chance is ruled out as its reason.

None if monitoring reports no score, or none that is recent.
"""


class Outcomes(Protocol):
    """Counts of requests by model version; `metrics.windows.OutcomeWindows` implements it."""

    def total(self, model_id: str, version: str) -> Snapshot:
        """Return all counts of a version so far."""
        ...

    def recent(self, model_id: str, version: str, now: float, seconds: int) -> Snapshot:
        """Return a version's counts of the last `seconds`; `now` is a time of the monotonic clock."""
        ...


@dataclass(frozen=True, slots=True)
class Observed:
    """The result of watching a version.

    Attributes:
        seconds: for how long it has been watched.
        findings: one for each criterion.
        refused: whether gateways refuse to call it because it kept failing, and none gets a good answer from it.
    """

    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    refused: bool = False


def is_refused(newest: Snapshot) -> bool:
    """Return whether gateways have stopped calling a version, judging by the counts of the last few seconds.

    While any gateway still gets good answers the result is False: a breaker may also open by chance.
    """
    return newest.refused > 0 and newest.ok == 0


@dataclass(slots=True)
class _Mark:
    """The counts at the start of an observation, and the latest result."""

    since: tuple[float, int]
    at: float
    target: Snapshot
    stable: Snapshot
    judged_at: float
    latest: Observed
    blocks: Blocks = field(default_factory=Blocks)


class Observation:
    """The observations of all deployments, by deployment id.

    Args:
        outcomes: the source of counts; None if there is none, and then no criterion ever passes.
        clock: the source of time.
        drift: returns the present drift score of a model's version; None if there is no monitoring.
    """

    def __init__(self, outcomes: Outcomes | None, clock: Clock, drift: DriftOf | None = None) -> None:
        self._outcomes = outcomes
        self._clock = clock
        self._drift = drift
        self._marks: dict[str, _Mark] = {}

    def look(self, deployment: Deployment, stable: str) -> Observed:
        """Return what is known of the deployment's version at its present share.

        Args:
            deployment: the deployment to watch.
            stable: the version that it is compared with; "" if there is none.
        """
        if self._outcomes is None or not deployment.shown:
            self._marks.pop(deployment.id, None)
            return Observed()
        now = self._clock.monotonic()
        mark = self._marks.get(deployment.id)
        since = (deployment.observed_since, deployment.share)
        if mark is None or mark.since != since:
            mark = self._begin(self._outcomes, deployment, stable, now)
        elif now - mark.judged_at < JUDGE_EVERY_S:
            return mark.latest
        mark.judged_at = now
        mark.latest = self._judge(self._outcomes, deployment, stable, mark, now)
        return mark.latest

    def findings(self, deployment: Deployment) -> tuple[Finding, ...]:
        """Return the newest findings, or those stored with the deployment if there are none yet."""
        mark = self._marks.get(deployment.id)
        return mark.latest.findings if mark is not None and mark.latest.findings else deployment.findings

    def keep(self, deployments: Collection[str]) -> None:
        """Drop the observations of all other deployments, which have ended."""
        self._marks = {name: mark for name, mark in self._marks.items() if name in deployments}

    def _begin(self, outcomes: Outcomes, deployment: Deployment, stable: str, now: float) -> _Mark:
        model_id = deployment.model_id
        target_total = outcomes.total(model_id, deployment.target_version)
        stable_total = outcomes.total(model_id, stable)
        since = (deployment.observed_since, deployment.share)
        mark = self._marks[deployment.id] = _Mark(since, now, target_total, stable_total, now, Observed())
        return mark

    def _judge(self, outcomes: Outcomes, deployment: Deployment, stable: str, mark: _Mark, now: float) -> Observed:
        seconds = now - mark.at
        if deployment.strategy is Strategy.IMMEDIATE:
            return Observed(seconds)
        model_id, version = deployment.model_id, deployment.target_version
        usual = outcomes.total(model_id, stable)
        recent = outcomes.recent(model_id, version, now, RECENT_S)
        newest = outcomes.recent(model_id, version, now, NOW_S)
        lately = [one for one in WHILE_REFUSED_S if one <= seconds] if recent.refused else []
        score, proven = (self._drift(model_id, version) if self._drift is not None else None) or (None, False)
        target = outcomes.total(model_id, version).minus(mark.target)
        beside = usual.minus(mark.stable) if stable and deployment.share < BASIS_POINTS else None
        evidence = StepEvidence(
            target=target,
            stable=beside,
            target_recent=recent,
            seconds=seconds,
            drift_score=score,
            drift_proven=proven,
            usual_error_rate=usual.error_rate,
            target_lately=tuple(outcomes.recent(model_id, version, now, one) for one in lately),
            blocks=mark.blocks.add(seconds, target.latency, beside.latency) if beside is not None else (),
        )
        return Observed(
            seconds, judge(deployment.criteria, evidence, deployment.current.min_samples), is_refused(newest)
        )
