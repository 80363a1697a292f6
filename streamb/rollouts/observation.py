"""Watches the versions under way: what happened since the present share was in force, and the judgement of it.

Where an observation began (the counts at that moment) is kept in memory only. A Controller that starts again begins to
watch anew: it may take longer to promote, it never promotes on less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from streamb.clock import Clock
from streamb.hashing import BASIS_POINTS
from streamb.metrics import Snapshot
from streamb.metrics.criteria import Finding
from streamb.rollouts.analysis import judge
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.strategies import Strategy

JUDGE_EVERY_S: Final = 0.2
"""Counts arrive every second and the loop may run more often; judging costs a moment."""
RECENT_S: Final = 10
NOW_S: Final = 3
WHILE_REFUSED_S: Final = (20, 40, 80, 160, 320, 640)
"""An open circuit breaker tries its version again after half a minute, by default: so far back is looked then."""

DriftOf = Callable[[str, str], tuple[float, bool] | None]
"""The drift score of a model's version, 0 to 1, and whether chance is ruled out as its reason.

None: monitoring says nothing, or nothing that is still true.
"""


class Outcomes(Protocol):
    """What happened to requests, by model version; `metrics.windows.OutcomeWindows` is one."""

    def total(self, model_id: str, version: str) -> Snapshot:
        """Everything counted so far."""
        ...

    def recent(self, model_id: str, version: str, now: float, seconds: int) -> Snapshot:
        """What was counted in the last `seconds`; `now` is of the monotonic clock."""
        ...


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a version now.

    Attributes:
        seconds: for how long it has been watched.
        refused: no gateway has a good answer of it now, and some do not call it, because it kept failing.
    """

    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    refused: bool = False


def is_refused(newest: Snapshot) -> bool:
    """Whether gateways have stopped to call a version, by what was counted in the last few seconds.

    While one of them still gets answers it is not: a breaker opens by chance, too.
    """
    return newest.refused > 0 and newest.ok == 0


@dataclass(slots=True)
class _Mark:
    """Where an observation began, and what was found last."""

    since: tuple[float, int]
    at: float
    target: Snapshot
    stable: Snapshot
    judged_at: float
    latest: Observed


class Observation:
    """The observations of all deployments, by deployment id.

    Args:
        outcomes: where counts come from; None: nothing is ever known, so nothing is ever judged to pass.
        drift: what monitoring says now about a model's version; None: nothing monitors.
    """

    def __init__(self, outcomes: Outcomes | None, clock: Clock, drift: DriftOf | None = None) -> None:
        self._outcomes = outcomes
        self._clock = clock
        self._drift = drift
        self._marks: dict[str, _Mark] = {}

    def look(self, deployment: Deployment, stable: str) -> Observed:
        """What is known of the deployment's version at its present share.

        Args:
            stable: the version that it is compared with; "" when there is none.
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
        """The newest judgement; the one on the deployment itself while there is none."""
        mark = self._marks.get(deployment.id)
        return mark.latest.findings if mark is not None and mark.latest.findings else deployment.findings

    def keep(self, deployments: Collection[str]) -> None:
        """Forget the observations of all other deployments: they have ended."""
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
        evidence = StepEvidence(
            target=outcomes.total(model_id, version).minus(mark.target),
            stable=usual.minus(mark.stable) if stable and deployment.share < BASIS_POINTS else None,
            target_recent=recent,
            seconds=seconds,
            drift_score=score,
            drift_proven=proven,
            usual_error_rate=usual.error_rate,
            target_lately=tuple(outcomes.recent(model_id, version, now, one) for one in lately),
        )
        return Observed(
            seconds, judge(deployment.criteria, evidence, deployment.current.min_samples), is_refused(newest)
        )
