"""What a version is judged on; what a decision is taken on, and what it may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from streamb.metrics.criteria import Finding
from streamb.metrics.snapshot import Snapshot
from streamb.rollouts.runtime import AppStatus


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What happened to the target version during a step, and to the stable version in the same time.

    Attributes:
        target: since the step began, that is, since its weight was in force on every gateway.
        stable: the same time; None where there is nothing to compare with: a first version, or a step that takes all
            traffic from stable.
        target_recent: the last 10 seconds.
        target_lately: longer windows within the step, while gateways refuse to call the target: they then try it so
            seldom that the last seconds say nothing.
        seconds: since the step began.
        drift_score: what monitoring says about the target version; None: it says nothing.
        drift_proven: monitoring has ruled out chance as the reason for that score.
        usual_error_rate: stable's error rate where `stable` is None: before it lost its traffic.
    """

    target: Snapshot
    stable: Snapshot | None
    target_recent: Snapshot
    seconds: float
    drift_score: float | None = None
    drift_proven: bool = True
    usual_error_rate: float | None = None
    target_lately: tuple[Snapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a decision is taken.

    Attributes:
        app: the target version's app; None when it does not exist.
        acknowledged: every live gateway routes by the table that the last decision published.
        stable: the stable version's app, likewise.
        back: the app of the version that a rollback after completion returns to, likewise.
        findings: the judgement of the version since `observed_s` ago; none while nothing is watched.
        observed_s: how long the present share has been watched. It starts anew when the Controller does.
        refused: gateways do not call the target version now, because it kept failing.
    """

    app: AppStatus | None
    acknowledged: bool
    stable: AppStatus | None = None
    back: AppStatus | None = None
    findings: tuple[Finding, ...] = ()
    observed_s: float = 0.0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class StartApp:
    """Ask for an app; one that exists already stays as it is."""

    app: str
    version: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Ask for so many replicas of an app."""

    app: str
    replicas: int


@dataclass(frozen=True, slots=True)
class RouteTo:
    """Outside this deployment, this app answers for the model from now on.

    Attributes:
        hold_s: how long the app that answered before is kept warm.
    """

    version: str
    app: str
    hold_s: float = 0.0


Action = StartApp | Scale | RouteTo


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a phase may take, in seconds.

    Attributes:
        start_s: until an app runs with the replicas that were asked for.
        acknowledge_s: until every gateway has a table; after that the step goes on without the silent ones. The way
            back waits for all of them, however long.
    """

    start_s: float = 120.0
    acknowledge_s: float = 15.0
