"""The life of an alert: inactive, pending, firing, resolved. Pure: what it was, what the rule says, and the time.

An alert fires once its rule has found it active for `for_s` without a break (Prometheus' `for`). It is resolved when
the rule has found it clear at `calm_looks` looks in a row and `keep_firing_s` have passed since it was last not clear:
a value that swings about its threshold neither fires nor resolves again and again. An alert that fired three times
within two hours is flapping: it goes on firing until it was clear for an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from streamb.lifecycle import Lifecycle
from streamb.monitoring.alerts.alert import SEVERITY, Alert, Severity, fingerprint, severity_of, worst

FLAP_FIRINGS: Final = 3
FLAP_WINDOW_S: Final = 7_200.0
FLAP_CALM_S: Final = 3_600.0
_MOST_FIRINGS: Final = 20


class AlertPhase(StrEnum):
    """Where an alert is in its life."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


ALERT_LIFE: Final = Lifecycle(
    "alert",
    {
        AlertPhase.INACTIVE: frozenset({AlertPhase.PENDING, AlertPhase.FIRING}),
        AlertPhase.PENDING: frozenset({AlertPhase.INACTIVE, AlertPhase.FIRING}),
        AlertPhase.FIRING: frozenset({AlertPhase.RESOLVED}),
        AlertPhase.RESOLVED: frozenset({AlertPhase.PENDING, AlertPhase.FIRING}),
    },
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How fast an alert fires and is resolved.

    Attributes:
        for_s: seconds that it must be active without a break.
        keep_firing_s: seconds that it must not have been anything but clear, before it is resolved.
        calm_looks: clear looks in a row, before it is resolved.
        resolve_timeout_s: an alert of which no rule says anything for so long is over.
    """

    for_s: float = 0.0
    keep_firing_s: float = 300.0
    calm_looks: int = 3
    resolve_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class AlertState:
    """One alert and what happened to it. Times are seconds since the epoch.

    Attributes:
        labels: with the worst severity since it fired (since it is pending, before).
        annotations: as the rule last gave them while the alert was active.
        phase: pending, firing or resolved; an inactive alert has no state.
        value: what was last judged.
        active_since: since when it is active without a break.
        starts_at: since when it fires, or fired; 0 before.
        ends_at: when it was resolved; None while it is not.
        unclear_at: when it was last anything but clear.
        calm: clear looks in a row.
        seen_at: when a rule last said anything of it.
        firings: when it began to fire, lately, the oldest first.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    phase: AlertPhase
    value: float | None
    active_since: float
    starts_at: float = 0.0
    ends_at: float | None = None
    unclear_at: float = 0.0
    calm: int = 0
    seen_at: float = 0.0
    firings: tuple[float, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """The alert's identity."""
        return fingerprint(self.labels)

    @property
    def severity(self) -> Severity:
        """The worst of this incident."""
        return severity_of(self.labels)

    @property
    def firing(self) -> bool:
        """Whether it fires."""
        return self.phase is AlertPhase.FIRING

    def flapping(self, now: float) -> bool:
        """Whether it fired again and again lately."""
        return sum(at > now - FLAP_WINDOW_S for at in self.firings) >= FLAP_FIRINGS

    def not_after(self, now: float) -> AlertState:
        """The same, with nothing that happened later than now: a clock that was set back leaves such times behind."""
        latest = max(self.active_since, self.starts_at, self.ends_at or 0.0, self.unclear_at, self.seen_at)
        if max((latest, *self.firings)) <= now:
            return self
        return replace(
            self,
            active_since=min(self.active_since, now),
            starts_at=min(self.starts_at, now),
            ends_at=None if self.ends_at is None else min(self.ends_at, now),
            unclear_at=min(self.unclear_at, now),
            seen_at=min(self.seen_at, now),
            firings=tuple(min(at, now) for at in self.firings),
        )


def step(state: AlertState | None, alert: Alert | None, policy: Policy, now: float) -> AlertState | None:
    """The alert's next state.

    Args:
        state: what it was; None: inactive, and not known from before.
        alert: what its rule says now; None: nothing.
        policy: how fast it changes.
        now: seconds since the epoch.

    Returns:
        None when it is inactive and there is nothing to remember.
    """
    if alert is None:
        return None if state is None else _unseen(state, policy, now)
    if alert.active:
        return _active(state, alert, policy, now)
    if state is None or state.phase is AlertPhase.PENDING:
        return None
    if state.phase is AlertPhase.RESOLVED:
        return state
    return _easing(state, alert, policy, now)


def _unseen(state: AlertState, policy: Policy, now: float) -> AlertState | None:
    if state.phase is AlertPhase.RESOLVED or now - state.seen_at < policy.resolve_timeout_s:
        return state
    return _resolved(state, now) if state.firing else None


def _active(state: AlertState | None, alert: Alert, policy: Policy, now: float) -> AlertState:
    if state is None or not _continues(state, policy, now):
        pending = AlertState(
            labels=alert.labels,
            annotations=alert.annotations,
            phase=AlertPhase.PENDING,
            value=alert.value,
            active_since=now,
            unclear_at=now,
            seen_at=now,
            firings=() if state is None else state.firings,
        )
        return _fired(pending, now) if policy.for_s <= 0 else pending
    severity = worst((state.severity, alert.severity))
    seen = replace(
        state,
        labels={**alert.labels, SEVERITY: str(severity)},
        annotations=alert.annotations,
        value=alert.value,
        unclear_at=now,
        calm=0,
        seen_at=now,
    )
    due = state.phase is AlertPhase.PENDING and now - state.active_since >= policy.for_s
    return _fired(seen, now) if due else seen


def _continues(state: AlertState, policy: Policy, now: float) -> bool:
    """Whether what is active now is what was there before."""
    if state.phase is AlertPhase.PENDING:  # nobody looked for long: nothing is known of the time between
        return now - state.seen_at < policy.resolve_timeout_s
    return state.firing


def _easing(state: AlertState, alert: Alert, policy: Policy, now: float) -> AlertState:
    if not alert.clears:
        return replace(state, value=alert.value, unclear_at=now, calm=0, seen_at=now)
    seen = replace(state, value=alert.value, calm=min(state.calm + 1, policy.calm_looks), seen_at=now)
    wait = max(policy.keep_firing_s, FLAP_CALM_S) if state.flapping(now) else policy.keep_firing_s
    over = seen.calm >= policy.calm_looks and now - seen.unclear_at >= wait
    return _resolved(seen, now) if over else seen


def _fired(state: AlertState, now: float) -> AlertState:
    ALERT_LIFE.check(state.phase, AlertPhase.FIRING)
    firings = (*(at for at in state.firings if at > now - FLAP_WINDOW_S), now)[-_MOST_FIRINGS:]
    return replace(state, phase=AlertPhase.FIRING, starts_at=now, ends_at=None, firings=firings)


def _resolved(state: AlertState, now: float) -> AlertState:
    ALERT_LIFE.check(state.phase, AlertPhase.RESOLVED)
    return replace(state, phase=AlertPhase.RESOLVED, ends_at=now)
