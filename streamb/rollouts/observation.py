"""Watches the versions being deployed: counts since the present share was published, and the findings from them.

The counts at the start of an observation, and at that of the deployment, are kept in memory only. A restarted
Controller begins a new observation, so that promotion may take longer, but never rests on less evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from streamb.clock import Clock
from streamb.hashing import BASIS_POINTS
from streamb.metrics import Outcome, Snapshot
from streamb.metrics.criteria import Finding
from streamb.metrics.weighing import Weights, weighed
from streamb.rollouts.analysis import judge
from streamb.rollouts.by_caller import WeighedBlocks, judged, weights_of
from streamb.rollouts.deployment import Deployment, Phase
from streamb.rollouts.evidence import StepEvidence
from streamb.rollouts.strategies import Strategy

JUDGE_EVERY_S: Final = 0.2
"""The shortest time between two judgements, in seconds: counts arrive only every second, and judging costs time."""
RECENT_S: Final = 10
NOW_S: Final = 3
SILENT_REQUESTS: Final = 10
"""A stable version that failed so many requests and answered none is taken for one that does not work."""
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
class Stable:
    """What a version is compared with.

    Attributes:
        version: the version that served before; "" if there is none.
        down: whether its app does not run.
        deterministic: False if it or the target is known to answer the same rows differently.
    """

    version: str = ""
    down: bool = False
    deterministic: bool = True


@dataclass(frozen=True, slots=True)
class Observed:
    """The result of watching a version.

    Attributes:
        seconds: for how long it has been watched since every gateway knows its share.
        findings: one for each criterion.
        refused: whether gateways refuse to call it because it kept failing, and none gets a good answer from it.
        pairs: copied requests that both versions have answered since the deployment began.
        requests: requests of the stable version since the share was published.
        stable_silent: whether it answered none of them, of ten at least.
    """

    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    refused: bool = False
    pairs: int = 0
    requests: int = 0
    stable_silent: bool = False


def is_refused(newest: Snapshot) -> bool:
    """Return whether gateways have stopped calling a version, judging by the counts of the last few seconds.

    While any gateway still gets good answers the result is False: a breaker may also open by chance.
    """
    return newest.refused > 0 and newest.ok == 0


@dataclass(slots=True)
class _Counted:
    """The counts of both versions at some moment."""

    target: Snapshot
    stable: Snapshot


@dataclass(slots=True)
class _Mark:
    """The counts at the start of an observation, its length so far, and the latest result.

    Attributes:
        seconds: since the share was published.
        known_s: since every gateway knows it.
    """

    since: tuple[float, int]
    began: _Counted
    judged_at: float
    latest: Observed
    blocks: WeighedBlocks = field(default_factory=WeighedBlocks)
    seconds: float = 0.0
    known_s: float = 0.0


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
        self._whole: dict[str, _Counted] = {}

    def begin(self, deployment: Deployment, stable: Stable) -> None:
        """Begin to observe a new share. Call it before the share is published, so that no request is missed."""
        since = (deployment.observed_since, deployment.share)
        mark = self._marks.get(deployment.id)
        if self._outcomes is None or not _watched(deployment) or (mark is not None and mark.since == since):
            return
        model_id, now = deployment.model_id, self._clock.monotonic()
        target = self._outcomes.total(model_id, deployment.target_version)
        counted = _Counted(target, self._outcomes.total(model_id, stable.version))
        self._whole.setdefault(deployment.id, counted)
        self._marks[deployment.id] = _Mark(since, counted, now - JUDGE_EVERY_S, Observed())

    def look(self, deployment: Deployment, stable: Stable, counted_s: float) -> Observed:
        """Return what is known of the deployment's version at its present share.

        Args:
            deployment: the deployment to watch.
            stable: what it is compared with.
            counted_s: how many seconds count since the last look (see `patience`).
        """
        if self._outcomes is None or not _watched(deployment):
            self._marks.pop(deployment.id, None)
            return Observed()
        known = self._marks.get(deployment.id)
        self.begin(deployment, stable)
        mark = self._marks[deployment.id]
        if mark is known:
            mark.seconds += counted_s
            mark.known_s += counted_s if deployment.phase is not Phase.SHIFT else 0.0
        now = self._clock.monotonic()
        if now - mark.judged_at < JUDGE_EVERY_S:
            return replace(mark.latest, seconds=mark.known_s)
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
        self._whole = {name: counted for name, counted in self._whole.items() if name in deployments}

    def _judge(self, outcomes: Outcomes, deployment: Deployment, stable: Stable, mark: _Mark, now: float) -> Observed:
        if deployment.strategy is Strategy.IMMEDIATE:
            return Observed(mark.known_s)
        model_id, version, whole = deployment.model_id, deployment.target_version, self._whole[deployment.id]
        total, usual = outcomes.total(model_id, version), outcomes.total(model_id, stable.version)
        recent = outcomes.recent(model_id, version, now, RECENT_S)
        newest = outcomes.recent(model_id, version, now, NOW_S)
        lately = [one for one in WHILE_REFUSED_S if one <= mark.seconds] if recent.refused else []
        score, proven = (self._drift(model_id, version) if self._drift is not None else None) or (None, False)
        target, pairs, lasting = total.minus(mark.began.target), total.minus(whole.target), usual.minus(whole.stable)
        beside = usual.minus(mark.began.stable) if stable.version and deployment.share < BASIS_POINTS else None
        min_samples = deployment.current.min_samples
        present = set(recent.callers)
        if len(usual.callers) > 1:
            present.update(outcomes.recent(model_id, stable.version, now, RECENT_S).callers)
        by = weights_of(target, beside, pairs, min_samples, len(present))
        blocks = mark.blocks.add(mark.seconds, (target, beside), by) if beside is not None else ()
        windows = tuple(outcomes.recent(model_id, version, now, one) for one in lately)

        def found(by: tuple[Weights, Weights]) -> tuple[Finding, ...]:
            shown = weighed(target, by[0])
            evidence = StepEvidence(
                target=shown if deployment.share else with_copies(shown),
                stable=weighed(beside, by[1]) if beside is not None else None,
                target_recent=weighed(recent, by[0]),
                seconds=mark.seconds,
                drift_score=score,
                drift_proven=proven,
                usual_error_rate=weighed(usual, by[1]).error_rate,
                target_lately=tuple(weighed(one, by[0]) for one in windows),
                pairs=weighed(pairs, by[0]) if stable.version and deployment.shadow else None,
                stable_down=stable.down,
                usual=weighed(lasting, by[1]) if lasting.total else None,
                blocks=blocks,
                deterministic=stable.deterministic,
                copies=not deployment.share,
            )
            return judge(deployment.criteria, evidence, min_samples)

        seen = weighed(beside, by[1]) if beside is not None else None
        return Observed(
            mark.known_s,
            judged(by, found),
            is_refused(weighed(newest, by[0])),
            pairs=pairs.shadow.get("compared", 0),
            requests=beside.total if beside is not None else 0,
            stable_silent=seen is not None and not seen.ok and seen.judged >= SILENT_REQUESTS,
        )


def with_copies(target: Snapshot) -> Snapshot:
    """Return the counts of a version in its preview, with its answers to copied requests as if clients had them.

    Stable answered all of these requests, so one that failed is the version's failure, and nobody was hurt by it.

    >>> with_copies(Snapshot("m", "1", shadow={"compared": 3, "failed": 1})).error_rate
    0.25
    """
    counts = dict(target.counts)
    told = (("compared", Outcome.OK), ("failed", Outcome.MODEL_ERROR), ("refused", Outcome.CLIENT_ERROR))
    for how, outcome in told:
        counts[outcome] = counts.get(outcome, 0) + target.shadow.get(how, 0)
    return replace(target, counts=counts)


def _watched(deployment: Deployment) -> bool:
    return deployment.shown or deployment.baking
