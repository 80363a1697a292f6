"""The rollouts of all models: accepts orders, stores intent, and advances every deployment at each tick.

There is one writer: a single instance in the Controller. Intent is stored before it is acted on, so that an instance
that starts after a crash finds all it needs in the store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from streamb.asking import change, verb
from streamb.clock import Clock
from streamb.errors import Conflict, InvalidInput
from streamb.hashing import BASIS_POINTS
from streamb.registry import ModelVersion, Registry
from streamb.rollouts import verbs
from streamb.rollouts.advance import Advancer
from streamb.rollouts.caretaker import Caretaker
from streamb.rollouts.compatibility import accepted_changes
from streamb.rollouts.creation import new_deployment, way_back
from streamb.rollouts.decide import Limits
from streamb.rollouts.deployment import Deployment, DeploymentEvent, DeploymentState, Phase
from streamb.rollouts.ledger import CREATED, Ledger, Note
from streamb.rollouts.observation import DriftOf, Observation, Outcomes
from streamb.rollouts.options import RolloutOptions
from streamb.rollouts.patience import Patience
from streamb.rollouts.removal import needed_for, undeployment_of
from streamb.rollouts.route import ServingRoute, Undeployment
from streamb.rollouts.runtime import Resources, Runtime
from streamb.rollouts.standing import Standing
from streamb.rollouts.strategies import Strategy
from streamb.rollouts.unjudged import demand_judged, demand_judgement, demand_known
from streamb.store import Journal, Page, RecordStore
from streamb.traffic import GatewayPolicy, RoutingTable

_log = logging.getLogger(__name__)


class Rollouts:
    """All deployments, and the routing table that results from them. Safe to use from many threads.

    The orders to a deployment take its id, who gives the order (`by`), and why (`reason`); both go into its history.

    Args:
        records, journal: store deployments, routes and their history.
        registry: holds the versions that may be deployed.
        runtime: runs the versions.
        clock: the source of time.
        limits: how long a phase may take.
        policy: what the gateways enforce besides routing; it is part of the routing table.
        outcomes: counts of requests, to judge versions by; without it, no step that is judged ever passes.
        drift: returns a version's drift score.
        four_eyes: whether a deployment is approved by somebody other than its author.
        most_unjudged: the largest share of the traffic, in ten-thousandths, that a version may get before it is judged,
            unless that is forced.
        on_table: called when there is a newer routing table.
        on_order: called after every order (`create`, `approve`, …), so that the loop can look at once.
    """

    def __init__(
        self,
        records: RecordStore,
        journal: Journal,
        registry: Registry,
        runtime: Runtime,
        clock: Clock,
        *,
        limits: Limits | None = None,
        policy: GatewayPolicy | None = None,
        outcomes: Outcomes | None = None,
        drift: DriftOf | None = None,
        four_eyes: bool = True,
        most_unjudged: int = BASIS_POINTS,
        on_table: Callable[[], None] | None = None,
        on_order: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._runtime = runtime
        self._clock = clock
        self._limits = limits or Limits()
        self._ledger = Ledger(records, journal)
        self._standing = Standing(self._ledger, registry, policy or GatewayPolicy(), on_table)
        self._observation = Observation(outcomes, clock, drift)
        self._patience = Patience(clock, self._limits.start_s)
        self._advancer = Advancer(self._standing, self._observation, self._patience, runtime, clock, self._limits)
        self._caretaker = Caretaker(self._standing, runtime, clock)
        self._on_order = on_order
        self._four_eyes = four_eyes
        self._most_unjudged = most_unjudged
        self._lock = threading.RLock()
        self._renamed: set[str] = set()
        registry.on_names = self._note_names

    # --- orders -------------------------------------------------------------------------------------------------------

    def create(
        self,
        model_id: str,
        target_version: str,
        strategy: Strategy,
        options: RolloutOptions | Mapping[str, Any],
        actor: str,
        *,
        force: bool = False,
    ) -> Deployment:
        """Start to deploy a registered version.

        Args:
            model_id: the model.
            target_version: a version, an alias or "latest".
            strategy: how the deployment proceeds.
            options: options of the strategy.
            actor: the name of the caller, for the history.
            force: whether the version may get all traffic before it is judged.

        Raises:
            Forbidden: it counts as immediate, and is not forced.
            NotFound: there is no such model or version.
            Conflict: the model has a deployment under way.
            IncompatibleSignature: the version's signature differs from that of the version that serves, in something
                that `accept_changes` does not name.
            InvalidInput: an option is unknown, out of range, or not used by the strategy.
        """
        read, most = RolloutOptions.read(options), BASIS_POINTS if force else self._most_unjudged
        with self._lock:
            target = self._registry.resolve(model_id, target_version)  # locked, so that nobody deletes it
            version = target.version
            self._refuse_second(model_id)
            route = self._standing.routes.get(model_id)
            stable = self._registry.get_version(model_id, route.version) if route is not None else None
            accepted = accepted_changes(stable, target, read.accept_changes)
            _check_joining(target, read)
            deployment = new_deployment(
                model_id, version, strategy, read, actor, self._clock.now(), route, self._runtime.apps(), most
            )
            if most < BASIS_POINTS:
                demand_judgement(deployment, most, self._ledger.served(model_id))
            # Versions that are kept warm make room for the target, unless it is one of them.
            kept = route.keeping(deployment.app) if route is not None else None
            note = Note(CREATED, "; ".join(filter(None, (deployment.reason, accepted))), actor)
            self._standing.change(deployment, note, kept if kept != route else None)
        self._on_order()
        return deployment

    @change
    def approve(self, deployment_id: str, by: str, reason: str = "") -> Deployment:
        """Approve the gate at which a deployment waits.

        Raises:
            SelfApproval: `by` is the author of the deployment, and `four_eyes` is set.
            InvalidTransition: the deployment does not wait for an approval.
        """
        return self._order(deployment_id, "approved", by, reason, partial(verbs.approve, four_eyes=self._four_eyes))

    @change
    def pause(self, deployment_id: str, by: str, reason: str = "") -> Deployment:
        """Keep the current share until `resume`. A version that fails is still taken out of traffic."""
        return self._order(deployment_id, "paused", by, reason, verbs.pause)

    @change
    def resume(self, deployment_id: str, by: str, reason: str = "") -> Deployment:
        """Continue a paused deployment."""
        return self._order(deployment_id, "resumed", by, reason, verbs.resume)

    @change
    def promote(self, deployment_id: str, by: str, reason: str = "", *, force: bool = False) -> Deployment:
        """Skip to the last step, with all traffic; gates without an approval stay closed.

        Args:
            deployment_id: the deployment.
            by, reason: who decided, and why.
            force: whether its version may get all traffic though no step has judged it, and its other answers need no
                approval.

        Raises:
            Forbidden: no step has judged the version so far, and it is not forced.
        """
        most = BASIS_POINTS if force else self._most_unjudged

        def change(found: Deployment, by: str, reason: str, now: float) -> Deployment:
            moved = verbs.promote(found, by, reason, now, four_eyes=self._four_eyes and not force)
            if moved is not found and moved.step != found.step:
                demand_judged(found, most)
            return moved

        return self._order(deployment_id, "promoted", by, reason, change)

    @change
    def abort(self, deployment_id: str, by: str, reason: str = "") -> Deployment:
        """Abort the deployment: all traffic goes back to the previous version."""
        return self._order(deployment_id, "aborting", by, reason, verbs.abort)

    @change
    def rollback(
        self, deployment_id: str, by: str, reason: str = "", to_version: str | None = None, *, force: bool = False
    ) -> Deployment:
        """Send all traffic to the previous version; after completion, to any version registered earlier.

        Args:
            deployment_id: the deployment to roll back.
            by, reason: who decided, and why.
            to_version: the version to return to; None for the previous one.
            force: whether it may be a version that has never served.

        Raises:
            Forbidden: the version has never served, and it is not forced.
            NotFound: there is no such version.
            Conflict: another deployment has taken over meanwhile, or there is no version to return to.
        """
        with self._lock:
            deployment = self.get(deployment_id)
            wanted = self._registry.resolve(deployment.model_id, to_version).version if to_version else None

            def change(found: Deployment, by: str, reason: str, now: float) -> Deployment:
                if found.state is not DeploymentState.COMPLETED:
                    return verbs.roll_back(found, by, reason, now, to_version=wanted)
                self._refuse_second(found.model_id)
                route = self._standing.routes.get(found.model_id)
                ran = partial(self._ledger.run_of, found.model_id)
                version, app, run = way_back(found, wanted, route, self._registry, now, ran)
                if version != found.previous_version and not force:
                    demand_known(version, self._most_unjudged, self._ledger.served(found.model_id))
                return verbs.roll_back_to(found, version, app, run, by, reason, now)

            return self._order(deployment_id, "rolling_back", by, reason, change)

    @change
    def undeploy(self, model_id: str, by: str, reason: str = "") -> Undeployment:
        """Take a model out of traffic, and stop its apps once gateways know and requests in flight are answered.

        Nothing changes if the model is being undeployed already.

        Args:
            model_id: the model.
            by, reason: who decided, and why; for the history.

        Raises:
            NotFound: there is no such model.
            Conflict: the model has a deployment under way, or is not deployed.
        """
        with self._lock:
            self._registry.get_model(model_id)
            self._refuse_second(model_id, "wait until it has ended, or abort it, and then undeploy the model")
            leaving, route = self._standing.leaving.get(model_id), self._standing.routes.get(model_id)
            if route is None and leaving is not None:
                return leaving
            ordered = undeployment_of(model_id, route, leaving, self._clock.now(), by, reason)
            said = f"version {ordered.version} is taken out of traffic" + (f": {reason}" if reason else "")
            self._standing.undeploy(ordered, Note("undeploying", said, by))
        self._on_order()
        return ordered

    @change
    def delete_version(self, model_id: str, version: str, by: str) -> ModelVersion:
        """Delete a version that no traffic needs and nothing refers to; then remove its bytes.

        Args:
            model_id: the model.
            version: the number of the version.
            by: who deletes it, for the journal.

        Raises:
            Conflict: it serves, is kept warm, takes part in a deployment that has not ended, or is named by an alias or
                by another version; the message names each.
            InvalidInput, NotFound: see `Registry.delete_version`.
        """
        with self._lock:
            standing, deployment = self._standing, self._standing.deployment_of(model_id)
            used = needed_for(version, standing.routes.get(model_id), deployment, standing.leaving.get(model_id))
            deleted = self._registry.delete_version(model_id, version, by=by, used=used)
            standing.forget(model_id, version)
        self._registry.sweep()
        return deleted

    def _order(
        self,
        deployment_id: str,
        kind: str,
        by: str,
        reason: str,
        move: Callable[[Deployment, str, str, float], Deployment],
    ) -> Deployment:
        """Carry out an order; nothing is written if the deployment is already in the ordered state."""
        with self._lock:
            before = self._standing.active.get(deployment_id) or self._ledger.get(deployment_id)
            after = move(before, by, reason, self._clock.now())
            if after is not before:
                ended = str(after.state) if before.active and not after.active else kind
                opened = after.approvals != before.approvals
                detail = after.reason
                if opened:
                    detail = f"{after.waiting_for}: {after.approvals[-1].reason}".rstrip(": ")
                self._standing.change(after, Note(ended, detail, by))
        self._on_order()
        return after

    def _refuse_second(self, model_id: str, advice: str = "wait until it has ended") -> None:
        busy = self._standing.deployment_of(model_id)
        if busy is not None:
            raise Conflict(
                f"model {model_id} is being deployed already ({busy.target_version}, {busy.state}, "
                f"deployment {busy.id}); {advice}",
                deployment_id=busy.id,
            )

    # --- reading ------------------------------------------------------------------------------------------------------

    @verb
    def get(self, deployment_id: str) -> Deployment:
        """Return one deployment, with its newest findings.

        Raises:
            NotFound: there is no such deployment.
        """
        return self._judged(self._ledger.get(deployment_id))

    @verb
    def list(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[Deployment]:
        """Return at most `limit` deployments (of `model_id`, if given) from `cursor` on, newest first."""
        page = self._ledger.list(limit, cursor, model_id)
        return Page(tuple(map(self._judged, page.items)), page.next_cursor)

    @verb
    def history(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[DeploymentEvent]:
        """Return at most `limit` events of deployments (of `model_id`, if given) from `cursor` on, newest first."""
        return self._ledger.history(limit, cursor, model_id)

    def resources_of(self, model_id: str, app: str) -> Resources:
        """Return what is reserved for each replica of an app."""
        return self._standing.run_of(model_id, app).resources

    def latest(self, model_id: str) -> Deployment | None:
        """Return the model's newest deployment; None if it has none."""
        page = self.list(1, None, model_id)
        return page.items[0] if page.items else None

    def undeploying(self, model_id: str) -> Undeployment | None:
        """Return the model's undeployment until its last app has stopped; None if there is none."""
        return self._standing.leaving.get(model_id)

    @property
    def table(self) -> RoutingTable:
        """The current routing table, which every gateway should have."""
        return self._standing.table

    @property
    def routes(self) -> Mapping[str, ServingRoute]:
        """The serving route of each model, by model id."""
        return dict(self._standing.routes)

    @property
    def limits(self) -> Limits:
        """How long a phase of a deployment may take."""
        return self._limits

    @property
    def current(self) -> tuple[Deployment, ...]:
        """The deployments that are under way or still judged after completion, with their newest findings."""
        return tuple(map(self._judged, self._unfinished))

    @property
    def busy(self) -> bool:
        """True while a model leaves traffic, or a deployment is under way that waits for nobody: call `tick` often."""
        resting = {DeploymentState.PAUSED, DeploymentState.AWAITING_APPROVAL}
        return bool(self._standing.leaving) or any(
            one.state not in resting for one in list(self._standing.active.values())
        )

    @property
    def starting(self) -> bool:
        """True while a deployment waits for apps to start, or the apps of a model stop: query the runtime often."""
        phases = {Phase.GATE, Phase.CAPACITY, Phase.RESTORE, Phase.REVERT}
        awaited = self._standing.leaving or any(one.phase in phases for one in list(self._standing.active.values()))
        return bool(awaited) and self.busy

    def deploying(self, app: str) -> bool:
        """Return True while a deployment under way, or one that is still judged, uses this app."""
        return any(app in (one.app, one.stable_app, one.back_app) for one in self._unfinished)

    def analysing(self, app: str) -> bool:
        """Return True while a deployment that uses this app is being judged: keep its number of replicas."""
        return any(
            app in (one.app, one.stable_app) and one.phase in (Phase.SHIFT, Phase.OBSERVE, Phase.BAKE)
            for one in self._unfinished
        )

    @property
    def _unfinished(self) -> tuple[Deployment, ...]:
        return (*list(self._standing.active.values()), *list(self._standing.baking.values()))

    def _judged(self, deployment: Deployment) -> Deployment:
        if not deployment.active and not deployment.baking:
            return deployment
        return replace(deployment, findings=self._observation.findings(deployment))

    # --- the loop -----------------------------------------------------------------------------------------------------

    def set_policy(self, policy: GatewayPolicy) -> None:
        """Change what the gateways enforce; it is published under a new epoch."""
        with self._lock:
            self._standing.set_policy(policy)

    def _note_names(self, model_id: str) -> None:
        """Have the next tick publish a model's aliases; the tick repeats it until it is stored."""
        self._renamed.add(model_id)
        self._on_order()

    def _publish_names(self) -> None:
        for model_id in list(self._renamed):
            self._renamed.discard(model_id)  # first, so that a change that comes meanwhile is not lost
            try:
                self._standing.rename(model_id)
            except Exception:
                self._renamed.add(model_id)
                raise

    def tick(self) -> bool:
        """Advance every deployment that has not ended or is still judged, and tend the running apps.

        Returns True if a deployment or the table changed.

        Raises:
            StorageFailed, …: the first error; all other work was done, and the next tick tries again.
        """
        with self._lock:
            before, troubles = self._state(), list[Exception]()
            try:
                self._publish_names()
            except Exception as error:
                troubles.append(error)
            self._patience.tick()
            running = self._patience.checked(self._runtime.apps())
            for deployment in (*self._standing.active.values(), *self._standing.baking.values()):
                try:
                    self._advancer.advance(deployment, running)
                except Exception as error:  # one model's error must not delay the others
                    _log.warning("deployment %s could not be advanced: %s", deployment.id, error)
                    self._patience.interrupt(deployment.id)
                    troubles.append(error)
            self._caretaker.tend(running)
            unfinished = self._standing.active.keys() | self._standing.baking.keys()
            self._observation.keep(unfinished)
            self._patience.keep(unfinished)
            if troubles:
                raise troubles[0]
            return before != self._state()

    def _state(self) -> tuple[Any, ...]:
        standing = self._standing
        return standing.table.epoch, tuple(standing.active.values()), tuple(standing.baking.values())


def _check_joining(version: ModelVersion, options: RolloutOptions) -> None:
    """Raise InvalidInput if requests are to be joined though the version is known to answer a row by other rows."""
    if options.batching.join and version.trial.row_wise is False:
        raise InvalidInput(
            f"batching.join cannot be true: the trial of version {version.version} found that its answer to a row "
            "depends on the rows beside it, so strangers' requests would change each other's answers; leave it out"
        )
