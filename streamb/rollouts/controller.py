"""The rollouts of all models: takes orders, persists intent, asks `decide`, acts through the `Runtime`.

One writer: a single instance lives in the Controller. Intent is written before it is acted on, so that an instance that
starts after a crash finds in the store all that it needs to go on.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any, Final

from streamb.clock import Clock
from streamb.errors import Conflict, NotFound
from streamb.registry import ModelVersion, Registry
from streamb.rollouts.decide import Action, Evidence, Limits, RouteAll, StartApp, decide
from streamb.rollouts.deployment import Deployment, DeploymentEvent, DeploymentState, ServingRoute, Strategy
from streamb.rollouts.janitor import Janitor
from streamb.rollouts.runtime import AppSpec, Runtime
from streamb.store import Journal, Page, Record, RecordStore, every_record
from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget

DEPLOYMENTS: Final = "deployments"
ROUTES: Final = "routes"
CONTROL: Final = "control"
EPOCH: Final = "epoch"
PLATFORM_ACTOR: Final = "controller"


class Rollouts:
    """All deployments, and the routing table that follows from them.

    Args:
        records, journal: where deployments, routes and their history are kept.
        registry: what may be deployed.
        runtime: what runs the versions.
        limits: how long a step may take.
        policy: what the gateways enforce besides routing; travels in the table.
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
    ) -> None:
        self._records = records
        self._journal = journal
        self._registry = registry
        self._runtime = runtime
        self._clock = clock
        self._limits = limits or Limits()
        self._policy = policy or GatewayPolicy()
        self._janitor = Janitor(runtime, clock)
        self._lock = threading.RLock()
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._routes = {record.key: ServingRoute(**record.body) for record in every_record(records, ROUTES)}
        self._active = {d.id: d for d in map(_deployment, every_record(records, DEPLOYMENTS)) if d.active}
        # A restart publishes under a new epoch, so that a table built from newer code or policy replaces the old one.
        epoch = self._records.get(CONTROL, EPOCH)
        self._table = self._build_table(1 + (int(epoch.body["value"]) if epoch else 0), self._routes)
        self._records.put(CONTROL, EPOCH, {"value": self._table.epoch})

    # --- orders -------------------------------------------------------------------------------------------------------

    def create(
        self, model_id: str, target_version: str, strategy: Strategy, options: Mapping[str, Any], actor: str
    ) -> Deployment:
        """Begin to deploy a registered version (a version, an alias or "latest").

        Raises:
            NotFound: no such model or version.
            Conflict: the model has a deployment under way.
        """
        version = self._registry.resolve(model_id, target_version)
        with self._lock:
            busy = next((d for d in self._active.values() if d.model_id == model_id), None)
            if busy is not None:
                raise Conflict(
                    f"model {model_id} is being deployed already ({busy.target_version}, {busy.state}, "
                    f"deployment {busy.id}); wait until it has ended",
                    deployment_id=busy.id,
                )
            now = self._clock.now()
            route = self._routes.get(model_id)
            same = route is not None and route.version == version.version
            deployment = Deployment(
                id=f"dep-{secrets.token_hex(6)}",
                model_id=model_id,
                target_version=version.version,
                app=route.app if route and same else f"{model_id}--{version.version}--{secrets.token_hex(4)}",
                strategy=strategy,
                state=DeploymentState.PENDING,
                created_by=actor,
                created_at=now,
                updated_at=now,
                step_started_at=now,
                previous_version=route.version if route else None,
                reason="waiting for the controller",
                options=dict(options),
            )
            self._persist(deployment, "created", actor)
            return deployment

    def get(self, deployment_id: str) -> Deployment:
        """One deployment.

        Raises:
            NotFound: no such deployment.
        """
        record = self._records.get(DEPLOYMENTS, deployment_id)
        if record is None:
            raise NotFound(f"no deployment {deployment_id}; `streamb deployments list` shows those there are")
        return _deployment(record)

    def list(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[Deployment]:
        """Deployments, newest first."""
        page = self._journal.read(_index_stream(model_id), limit=limit, cursor=cursor, newest_first=True)
        return Page(tuple(self.get(entry.body["deployment_id"]) for entry in page.items), page.next_cursor)

    def history(self, limit: int, cursor: str | None, model_id: str | None = None) -> Page[DeploymentEvent]:
        """What happened to deployments, newest first."""
        page = self._journal.read(_history_stream(model_id), limit=limit, cursor=cursor, newest_first=True)
        return Page(
            tuple(DeploymentEvent(**e.body, at=e.at, sequence=e.sequence) for e in page.items), page.next_cursor
        )

    def latest(self, model_id: str) -> Deployment | None:
        """The model's newest deployment."""
        page = self.list(1, None, model_id)
        return page.items[0] if page.items else None

    # --- the loop -----------------------------------------------------------------------------------------------------

    @property
    def table(self) -> RoutingTable:
        """The routing table that every gateway should have now."""
        return self._table

    @property
    def routes(self) -> Mapping[str, ServingRoute]:
        """Which app answers which model."""
        return dict(self._routes)

    @property
    def busy(self) -> bool:
        """True while a deployment is under way."""
        return bool(self._active)

    def set_policy(self, policy: GatewayPolicy) -> None:
        """Change what the gateways enforce; published under a new epoch."""
        with self._lock:
            self._policy = policy
            table = self._next_table(self._routes)
            self._records.put(CONTROL, EPOCH, {"value": table.epoch})
            self._table = table

    def tick(self) -> bool:
        """Move every active deployment one step and bring what runs in line. True when something changed."""
        with self._lock:
            before = (self._table.epoch, tuple(self._active.values()))
            for deployment in list(self._active.values()):
                self._advance(deployment)
            self._reconcile()
            return before != (self._table.epoch, tuple(self._active.values()))

    def _advance(self, deployment: Deployment) -> None:
        evidence = Evidence(
            app=self._runtime.apps().get(deployment.app),
            acknowledged=self._runtime.acknowledged(self._table.epoch),
        )
        after, actions = decide(deployment, evidence, self._clock.now(), self._limits)
        if after != deployment:
            self._persist(
                after, str(after.state) if after.state != deployment.state else "step", PLATFORM_ACTOR, actions
            )
        for action in actions:
            if isinstance(action, StartApp):
                self._runtime.start(self._spec(after.model_id, after.target_version, after.app))

    def _reconcile(self) -> None:
        """Start what should run and does not; let the janitor stop what runs and should not."""
        running = self._runtime.apps()
        for route in self._routes.values():
            if route.app not in running:
                self._runtime.start(self._spec(route.model_id, route.version, route.app))
        wanted = {route.app for route in self._routes.values()} | {d.app for d in self._active.values()}
        self._janitor.sweep(running, wanted)

    # --- persistence --------------------------------------------------------------------------------------------------

    def _persist(self, deployment: Deployment, kind: str, actor: str, actions: tuple[Action, ...] = ()) -> None:
        """Write a deployment, its history and, where it takes traffic, the route: all or nothing; then adopt them."""
        route = self._route_for(deployment) if any(isinstance(a, RouteAll) for a in actions) else None
        table = self._next_table({**self._routes, route.model_id: route}) if route else None
        with self._records.batch():
            self._records.put(DEPLOYMENTS, deployment.id, deployment.to_body())
            if route is not None and table is not None:
                self._records.put(ROUTES, route.model_id, route.to_body())
                self._records.put(CONTROL, EPOCH, {"value": table.epoch})
            self._note(deployment, kind, actor)
        if deployment.active:
            self._active[deployment.id] = deployment
        else:
            self._active.pop(deployment.id, None)
        if route is not None and table is not None:
            self._routes[route.model_id] = route
            self._table = table

    def _note(self, deployment: Deployment, kind: str, actor: str) -> None:
        """Add to the history of the model and of all models."""
        event = {"deployment_id": deployment.id, "model_id": deployment.model_id, "kind": kind}
        event |= {"detail": deployment.reason, "actor": actor}
        for model_id in (None, deployment.model_id):
            if kind == "created":
                self._journal.append(_index_stream(model_id), {"deployment_id": deployment.id})
            self._journal.append(_history_stream(model_id), event)

    def _route_for(self, deployment: Deployment) -> ServingRoute:
        known = self._routes.get(deployment.model_id)
        salt = known.salt if known else secrets.token_hex(8)
        return ServingRoute(deployment.model_id, deployment.target_version, deployment.app, salt)

    def _next_table(self, routes: Mapping[str, ServingRoute]) -> RoutingTable:
        return self._build_table(self._table.epoch + 1, routes)

    def _build_table(self, epoch: int, routes: Mapping[str, ServingRoute]) -> RoutingTable:
        return RoutingTable(epoch, {m: self._model_route(r) for m, r in routes.items()}, self._policy)

    def _model_route(self, route: ServingRoute) -> ModelRoute:
        version = self._version(route.model_id, route.version)
        target = VersionTarget(route.version, route.app, version.schema, version.task)
        return ModelRoute(route.model_id, route.salt, Split.all_to(route.version), {route.version: target})

    def _spec(self, model_id: str, version: str, app: str) -> AppSpec:
        return AppSpec(app, model_id, version, self._version(model_id, version).blob)

    def _version(self, model_id: str, version: str) -> ModelVersion:
        """A registered version; kept, since versions are immutable."""
        key = (model_id, version)
        if key not in self._versions:
            self._versions[key] = self._registry.get_version(model_id, version)
        return self._versions[key]


def _deployment(record: Record) -> Deployment:
    return Deployment.from_body(record.body)


def _index_stream(model_id: str | None) -> str:
    return "deployments" if model_id is None else f"deployments/{model_id}"


def _history_stream(model_id: str | None) -> str:
    return "deployment-history" if model_id is None else f"deployment-history/{model_id}"
