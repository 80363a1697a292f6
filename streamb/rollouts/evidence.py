"""The evidence that a version is judged by, and the input and the actions of a decision."""

from __future__ import annotations

from dataclasses import dataclass

from streamb.metrics.criteria import Finding
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.blocks import Block
from streamb.rollouts.runtime import AppPhase, AppStatus


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """Counts of the target version during a step, and of the stable version in the same time.

    Attributes:
        target: counts since the step began, that is, since every gateway used its weight.
        stable: counts of the stable version in the same time; None if there is nothing to compare with: for a first
            version, or in a step that takes all traffic from stable.
        target_recent: counts of the last 10 seconds.
        target_lately: counts of longer windows within the step, while gateways refuse to call the target: they then
            call it too rarely for the last seconds to show anything.
        seconds: time since the step began.
        drift_score: the target version's drift score, 0 to 1; None if monitoring reports none.
        drift_proven: whether monitoring has ruled out chance as the reason for that score.
        usual_error_rate: stable's error rate before it lost its traffic, for use when `stable` is None.
        pairs: counts of the target version since the deployment began, for the comparison of outputs: copied requests
            (`shadow`, `shadow_predictions`); None if outputs cannot be compared (a first version).
        stable_down: whether the stable version's app does not run.
        usual: counts of the stable version since the deployment began, which end where it lost its traffic: its usual
            figures and answers; None if they are not known (a first version, a restarted Controller).
        blocks: latencies of target and stable since the step began, in blocks of seconds.
        deterministic: False if the target or stable is known to answer the same rows differently.
        copies: whether the target's counts are those of a preview, where copied requests count like those of clients.
    """

    target: Snapshot
    stable: Snapshot | None
    target_recent: Snapshot
    seconds: float
    drift_score: float | None = None
    drift_proven: bool = True
    usual_error_rate: float | None = None
    target_lately: tuple[Snapshot, ...] = ()
    pairs: Snapshot | None = None
    stable_down: bool = False
    usual: Snapshot | None = None
    blocks: tuple[Block, ...] = ()
    deterministic: bool = True
    copies: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """The input of a decision.

    Attributes:
        app: the state of the target version's app; None if it does not exist.
        acknowledged: whether every live gateway uses the table that the last decision published.
        stable: the state of the stable version's app; None if it does not exist.
        back: the state of the app that a rollback after completion returns to; None if it does not exist.
        findings: one for each criterion, from the last `observed_s` seconds; empty while nothing is watched.
        observed_s: for how many seconds the present share has been watched; restarts when the Controller does.
        refused: whether gateways refuse to call the target version now, because it kept failing.
        pairs: copied requests that both versions have answered since the deployment began.
        requests: requests of the stable version since the present share was published.
        stable_silent: whether the stable version answered none of them, of ten at least.
        waited_s: for how many seconds the present phase has lasted, without the time in which the Controller stood
            still or could not write; None for the time by the clock.
        warm: the app of the version before, if it is kept warm; "" if it is not.
        superseded: why a deployment that is still judged after completion is no longer in effect; "" if it is.
    """

    app: AppStatus | None
    acknowledged: bool
    stable: AppStatus | None = None
    back: AppStatus | None = None
    findings: tuple[Finding, ...] = ()
    observed_s: float = 0.0
    refused: bool = False
    pairs: int = 0
    requests: int = 0
    stable_silent: bool = False
    waited_s: float | None = None
    warm: str = ""
    superseded: str = ""

    @property
    def stable_down(self) -> bool:
        """True if the stable version answers nothing: its app does not run, or every request of it fails."""
        return self.stable_silent or down(self.stable)

    def waited(self, since: float, now: float) -> float:
        """Return for how many seconds the present phase has lasted; it began at `since`."""
        return now - since if self.waited_s is None else self.waited_s


def down(app: AppStatus | None) -> bool:
    """Return True if no replica of an app answers."""
    return app is None or (app.phase is not AppPhase.RUNNING and app.replicas == 0)


@dataclass(frozen=True, slots=True)
class StartApp:
    """Start an app; an app that exists already stays unchanged."""

    app: str
    version: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the number of replicas of an app."""

    app: str
    replicas: int


@dataclass(frozen=True, slots=True)
class RouteTo:
    """Make this app the one that serves the model from now on.

    Attributes:
        hold_s: for how many seconds the previous app is kept warm.
    """

    version: str
    app: str
    hold_s: float = 0.0


Action = StartApp | Scale | RouteTo


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a phase may take, in seconds.

    Attributes:
        start_s: until an app runs with the wanted replicas. Time in which the Controller stood still or could not write
            does not count.
        acknowledge_s: until every gateway has a new table; then the step continues without the gateways that do not
            answer. A rollback waits for all of them, without a limit.
    """

    start_s: float = 120.0
    acknowledge_s: float = 15.0
