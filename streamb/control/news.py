"""What is new about deployments, for the Monitor, which tells people, and as metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streamb.clock import Clock
from streamb.errors import StorageFailed
from streamb.monitoring.alerts.causes import Happening
from streamb.monitoring.alerts.deployments import DeploymentNews, News
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.deployment import Deployment, DeploymentEvent, DeploymentState, Phase, stuck
from streamb.rollouts.evidence import Limits
from streamb.rollouts.exposition import Counted, Shown, deployments_text

LATELY_S: Final = 1_800.0
"""How long the Monitor, and metrics, are told of a deployment that has ended, in seconds."""
SOON_SHARE: Final = 0.1
SOON_S: Final = 3_600.0
"""The wait for an approval ends soon in its last tenth, at most in its last hour."""
_ENDS: Final = frozenset({"completed", "rolled_back", "aborted", "failed"})
_PAGE: Final = 100
_MOST_PAGES: Final = 10
_PAUSED_BY: Final = "paused by "
"""How the reason begins if a person paused the deployment; otherwise the platform did, because the version fails."""


@dataclass(frozen=True, slots=True)
class _Look:
    """The deployments that matter now, and the events of the last half hour, newest first."""

    events: tuple[DeploymentEvent, ...]
    shown: tuple[Shown, ...]


class DeploymentDesk:
    """Looks at the deployments of now and of the last half hour. Safe to use from many threads.

    It counts the ends since it was made. What ended before is in the history, and so is what ended while nobody
    looked for longer than half an hour.
    """

    def __init__(self, rollouts: Rollouts, clock: Clock) -> None:
        self._rollouts = rollouts
        self._clock = clock
        self._began_at = clock.now()
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, Deployment]] = {}
        self._counted_to = 0
        self._counts: Counted = Counter()

    def news(self) -> News:
        """Return what the Monitor tells people.

        Raises:
            StorageFailed: the history cannot be read now.
        """
        look, now, limits = self._look(), self._clock.now(), self._rollouts.limits
        happenings: dict[str, tuple[Happening, ...]] = {}
        for event in look.events:
            happening = Happening(event.at, _clause(event))
            happenings[event.model_id] = (*happenings.get(event.model_id, ()), happening)
        models = self._rollouts.table.models.items()
        versions = frozenset((model_id, version) for model_id, route in models for version in route.targets)
        return News(happenings, tuple(news_of(one, now, limits) for one in look.shown), versions)

    def metrics(self) -> bytes:
        """Return the metrics of deployments as Prometheus text; without those that ended if the database is away."""
        try:
            shown = self._look().shown
        except StorageFailed:
            shown = tuple(Shown(one) for one in self._rollouts.current)
        return deployments_text(shown, self._counts, self._clock.now())

    def _look(self) -> _Look:
        with self._lock:
            events = tuple(self._events(self._clock.now() - LATELY_S))
            current = {one.id: one for one in self._rollouts.current}
            newest = {event.deployment_id: event.sequence for event in reversed(events)}
            ends = {event.deployment_id: event for event in reversed(events) if event.kind in _ENDS}
            self._read = {key: one for key, one in self._read.items() if key in newest}
            self._count(events, newest)
            ended = [
                Shown(current.get(key) or self._get(key, newest[key]), event.at)
                for key, event in ends.items()
                if key not in current or not current[key].active
            ]
            told = {one.deployment.id for one in ended}
            return _Look(events, (*(Shown(one) for key, one in current.items() if key not in told), *ended))

    def _events(self, since: float) -> Iterator[DeploymentEvent]:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = self._rollouts.history(_PAGE, cursor)
            for event in page.items:
                if event.at < since:
                    return
                yield event
            cursor = page.next_cursor
            if cursor is None:
                return

    def _count(self, events: tuple[DeploymentEvent, ...], newest: dict[str, int]) -> None:
        for event in events:
            if event.kind in _ENDS and event.sequence > self._counted_to and event.at >= self._began_at:
                deployment = self._get(event.deployment_id, newest[event.deployment_id])
                self._counts[str(deployment.strategy), event.kind] += 1
        self._counted_to = max((event.sequence for event in events), default=self._counted_to)

    def _get(self, deployment_id: str, sequence: int) -> Deployment:
        """Return a deployment that has ended, as it was after the event with this number."""
        known = self._read.get(deployment_id)
        if known is None or known[0] != sequence or known[1].phase is Phase.BAKE:
            known = self._read[deployment_id] = (sequence, self._rollouts.get(deployment_id))
        return known[1]


def news_of(shown: Shown, now: float, limits: Limits) -> DeploymentNews:
    """Return what is told of one deployment.

    Args:
        shown: the deployment.
        now: seconds since the epoch.
        limits: how long a phase may take.
    """
    one, expires_at = shown.deployment, shown.deployment.approval_expires_at
    soon_s = min(SOON_SHARE * one.approval_timeout_s, SOON_S)
    return DeploymentNews(
        one.id,
        one.model_id,
        one.target_version,
        str(one.state),
        str(one.phase),
        one.weight,
        one.reason,
        waiting_for=one.waiting_for,
        approval_expires_at=expires_at,
        expiring=expires_at is not None and expires_at - now <= soon_s,
        stuck=stuck(one, now, limits) or _held(one),
        ended_at=shown.ended_at,
    )


def _held(one: Deployment) -> str:
    if one.state is not DeploymentState.PAUSED or one.reason.startswith(_PAUSED_BY):
        return ""
    return "the platform paused it: resume, promote or abort it"


def _clause(event: DeploymentEvent) -> str:
    about = f"deployment {event.deployment_id}: " if event.deployment_id else ""
    what = about + event.kind.replace("_", " ")
    return f"{what} ({event.detail})" if event.detail else what
