"""The life of an alert: inactive, pending, firing, resolved. Pure: depends on its state, the rule and the time.

An alert fires once its rule has found it active for `for_s` without a break (Prometheus' `for`). It is resolved when
the rule has found it clear at `calm_looks` looks in a row and `keep_firing_s` have passed since it was last not clear:
a value that swings around its limit does not fire and resolve again and again. An alert that fired three times
within two hours is flapping: it keeps firing until it was clear for an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from streamb.lifecycle import Lifecycle
from streamb.monitoring.alerts.alert import SEVERITY, Alert, Severity, fingerprint, severity_of, worst

ENDED: Final = "ended"
"""The annotation that says why an alert ended, if its values did not end it."""
FLAP_FIRINGS: Final = 3
FLAP_WINDOW_S: Final = 7_200.0
FLAP_CALM_S: Final = 3_600.0
_MOST_FIRINGS: Final = 20


class AlertPhase(StrEnum):
    """The phase of an alert's life."""

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
        for_s: seconds that it must be active without a break before it fires.
        keep_firing_s: seconds that it must be clear without a break before it is resolved.
        calm_looks: clear looks in a row that are needed before it is resolved.
        resolve_timeout_s: seconds without a result of its rule after which it is resolved.
    """

    for_s: float = 0.0
    keep_firing_s: float = 300.0
    calm_looks: int = 3
    resolve_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class AlertState:
    """The state of one alert. Times are seconds since the epoch.

    Attributes:
        labels: its labels, with the worst severity since it fired (before that: since it became pending).
        annotations: the annotations from the last look at which it was active.
        phase: pending, firing or resolved; an inactive alert has no state.
        value: the value that was last judged; None if there was none.
        active_since: when it became active.
        starts_at: when it last began to fire; 0 before it fired.
        ends_at: when it was resolved; None if it is not resolved.
        unclear_at: when it was last not clear.
        calm: the number of clear looks in a row.
        seen_at: when its rule last had a result for it.
        firings: when it recently began to fire, the oldest first.
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
        """The alert's identity: see `alert.fingerprint`."""
        return fingerprint(self.labels)

    @property
    def severity(self) -> Severity:
        """The worst severity of this incident."""
        return severity_of(self.labels)

    @property
    def firing(self) -> bool:
        """Whether the alert is in the phase `firing`."""
        return self.phase is AlertPhase.FIRING

    def flapping(self, now: float) -> bool:
        """Return whether it fired at least `FLAP_FIRINGS` times within the last `FLAP_WINDOW_S`."""
        return sum(at > now - FLAP_WINDOW_S for at in self.firings) >= FLAP_FIRINGS

    def not_after(self, now: float) -> AlertState:
        """Return a copy whose times are at most `now`: a clock that was set back leaves later ones behind."""
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
    """Return the alert's next state.

    Args:
        state: the state before; None: the alert is inactive.
        alert: the result of its rule now; None: the rule has none.
        policy: how fast the alert fires and is resolved.
        now: seconds since the epoch.

    Returns:
        The new state, or None if the alert is inactive.
    """
    if alert is None:
        return None if state is None else _unseen(state, policy, now)
    if alert.ended:
        return None if state is None else _gone(state, alert.ended, now)
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


def _gone(state: AlertState, why: str, now: float) -> AlertState | None:
    if not state.firing:
        return state if state.phase is AlertPhase.RESOLVED else None
    return _resolved(replace(state, annotations={**state.annotations, ENDED: why}, seen_at=now), now)


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
    """Whether the alert that is active now is the same incident as before."""
    if state.phase is AlertPhase.PENDING:  # after a long pause without looks, it may not have been active throughout
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
