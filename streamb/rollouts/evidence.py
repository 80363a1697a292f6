"""What a decision is taken on, and what it may ask for: the arguments and the answers of `decide`."""

from __future__ import annotations

from dataclasses import dataclass

from streamb.metrics.criteria import Finding
from streamb.rollouts.runtime import AppStatus


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
