"""Advances one deployment at a tick: gathers the evidence, decides, stores the decision, and then acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streamb.clock import Clock
from streamb.rollouts.decide import Action, Evidence, Limits, RouteTo, Scale, StartApp, decide
from streamb.rollouts.deployment import Deployment, Phase
from streamb.rollouts.evidence import down
from streamb.rollouts.ledger import PLATFORM_ACTOR, Note
from streamb.rollouts.observation import Observation, Observed, Stable
from streamb.rollouts.patience import Patience
from streamb.rollouts.route import ServingRoute
from streamb.rollouts.runtime import AppStatus, Runtime
from streamb.rollouts.standing import Standing


class Advancer:
    """Advances deployments; what each argument is for, `controller.Rollouts` explains."""

    def __init__(
        self,
        standing: Standing,
        observation: Observation,
        patience: Patience,
        runtime: Runtime,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._standing = standing
        self._observation = observation
        self._patience = patience
        self._runtime = runtime
        self._clock = clock
        self._limits = limits

    def advance(self, deployment: Deployment, running: Mapping[str, AppStatus]) -> None:
        """Do what a deployment needs now.

        Args:
            deployment: the deployment as it is stored.
            running: the state of every app.

        Raises:
            StorageFailed, …: nothing was changed; the next tick tries again.
        """
        counted, waited = self._patience.passed(deployment)
        stable = self._stable(deployment, running)
        observed = self._observation.look(deployment, stable, counted)
        evidence = self._evidence(deployment, running, observed, waited)
        after, actions = decide(deployment, evidence, self._clock.now(), self._limits)
        if observed.findings and (
            after != deployment or _verdicts(observed.findings) != _verdicts(deployment.findings)
        ):
            # Numbers change all the time; findings are stored only when a verdict changes, or with a change of state.
            after = replace(after, findings=observed.findings)
        if after != deployment:
            self._observation.begin(after, stable)
            self._standing.change(after, _note(deployment, after), self._switched(after, actions))
        for action in actions:
            self._act(after, action)

    def _stable(self, deployment: Deployment, running: Mapping[str, AppStatus]) -> Stable:
        """Return what the deployment's version is compared with; while it bakes, the version before."""
        target, before = deployment.target_version, deployment.previous_version or ""
        route = self._standing.stable_of(deployment)
        version = route.version if route is not None else before if deployment.baking else ""
        same = self._standing.deterministic(deployment.model_id, target, version)
        return Stable(version, route is not None and down(running.get(route.app)), same)

    def _evidence(
        self, deployment: Deployment, running: Mapping[str, AppStatus], observed: Observed, waited: float
    ) -> Evidence:
        stable, route = self._standing.stable_of(deployment), self._standing.routes.get(deployment.model_id)
        return Evidence(
            app=running.get(deployment.app),
            acknowledged=self._runtime.acknowledged(self._standing.table.epoch),
            stable=running.get(stable.app) if stable else None,
            back=running.get(deployment.back_app),
            findings=observed.findings,
            observed_s=observed.seconds,
            refused=observed.refused,
            pairs=observed.pairs,
            requests=observed.requests,
            stable_silent=observed.stable_silent,
            waited_s=waited,
            warm=route.warm(deployment.previous_version or "") if route is not None else "",
            superseded=self._superseded(deployment, route) if deployment.baking else "",
        )

    def _superseded(self, deployment: Deployment, route: ServingRoute | None) -> str:
        """Return why a completed deployment is no longer in effect; "" if it is."""
        newer = self._standing.deployment_of(deployment.model_id)
        if newer is not None:
            return f"version {newer.target_version} is being deployed"
        if route is None:
            return "the model was undeployed"
        return "" if route.version == deployment.target_version else f"version {route.version} serves now"

    def _act(self, deployment: Deployment, action: Action) -> None:
        if isinstance(action, StartApp):
            self._runtime.start(self._standing.spec(deployment.model_id, action.version, action.app))
        elif isinstance(action, Scale):
            self._runtime.scale(action.app, action.replicas)

    def _switched(self, deployment: Deployment, actions: tuple[Action, ...]) -> ServingRoute | None:
        """Return the model's new route if the actions change it, otherwise None."""
        route, model_id = self._standing.routes.get(deployment.model_id), deployment.model_id
        for action in actions:
            if not isinstance(action, RouteTo):
                continue
            if route is None:
                salt = deployment.salt or deployment.id
                return ServingRoute(model_id, action.version, action.app, salt, run=deployment.run)
            run = deployment.run_of(action.app) or route.run
            return route.switched(action.version, action.app, self._clock.now(), action.hold_s, run)
        return None


def _note(before: Deployment, after: Deployment) -> Note | None:
    """Return the history's note for a change that the platform made; None if it needs none."""
    if after.returning and not before.returning:
        return Note("rolling_back", after.reason, PLATFORM_ACTOR)
    if before.baking and (after.phase is not before.phase or after.reason != before.reason):
        return Note("baked" if after.phase is Phase.DONE else "failing", after.reason, PLATFORM_ACTOR)
    if after.state is not before.state:
        return Note(str(after.state), after.reason, PLATFORM_ACTOR)
    if after.returning:
        return None
    if after.restarts != before.restarts or (before.shown and not after.shown):
        return Note("starting_again", after.reason, PLATFORM_ACTOR)
    if after.share != before.share or (after.shown and not before.shown):
        return Note("step", after.reason, PLATFORM_ACTOR)
    return None


def _verdicts(findings: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((finding.criterion, str(finding.verdict)) for finding in findings)
