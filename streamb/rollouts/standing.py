"""The present state: routes, deployments under way and the resulting routing table, in memory and in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from streamb.hashing import BASIS_POINTS
from streamb.registry import ModelVersion, Registry, TrialState
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.ledger import Ledger, Note
from streamb.rollouts.route import ServingRoute, Undeployment
from streamb.rollouts.runtime import DEFAULT_RUN, AppSpec, RunOptions
from streamb.rollouts.strategies import COPIES_PER_SECOND
from streamb.traffic import GatewayPolicy, ModelRoute, Override, RoutingTable, Shadow, Split, VersionTarget

TargetOf = Callable[[str, str, RunOptions], VersionTarget]
"""Turns a version, its app and how it runs into the target that gateways know."""


def _nobody() -> None:
    """Do nothing: the default when nobody waits for routing tables."""


class Standing:
    """The state of all rollouts. Every change is first stored, with the table's new epoch, and then kept in memory.

    Attributes:
        routes: the serving route of each model, by model id.
        active: the deployments under way, by id; at most one for each model.
        baking: the completed deployments whose version is still judged, by id.
        leaving: the models that were undeployed and whose apps have not all stopped yet, by model id.
        table: the current routing table, which every gateway should have.
    """

    def __init__(
        self, ledger: Ledger, registry: Registry, policy: GatewayPolicy, on_table: Callable[[], None] | None = None
    ) -> None:
        self._ledger = ledger
        self._on_table = on_table or _nobody
        self._registry = registry
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._aliases: dict[str, Mapping[str, str]] = {}
        self.routes: dict[str, ServingRoute] = {route.model_id: route for route in ledger.routes()}
        unfinished = list(ledger.unfinished())
        self.active: dict[str, Deployment] = {one.id: one for one in unfinished if one.active}
        self.baking: dict[str, Deployment] = {one.id: one for one in unfinished if one.baking}
        self.leaving: dict[str, Undeployment] = {one.model_id: one for one in ledger.undeployments()}
        busy = {deployment.model_id: deployment for deployment in (*self.baking.values(), *self.active.values())}
        models = {
            model_id: route
            for model_id in self.routes.keys() | busy.keys()
            if (route := self._model(model_id, self.routes.get(model_id), busy.get(model_id))) is not None
        }
        # A restart publishes under a new epoch, so that a table built from newer code or policy replaces the old one.
        self.table = RoutingTable(ledger.epoch() + 1, models, policy)
        ledger.write(epoch=self.table.epoch)

    def deployment_of(self, model_id: str) -> Deployment | None:
        """Return the model's deployment under way; None if there is none."""
        return next((one for one in self.active.values() if one.model_id == model_id), None)

    def latest_of(self, model_id: str) -> Deployment | None:
        """Return the model's deployment under way, else the one that is still judged; None if there is neither."""
        baking = next((one for one in self.baking.values() if one.model_id == model_id), None)
        return self.deployment_of(model_id) or baking

    def stable_of(self, deployment: Deployment) -> ServingRoute | None:
        """Return the route of the stable version; None if the target is the only version that serves."""
        route = self.routes.get(deployment.model_id)
        return route if route is not None and route.version != deployment.target_version else None

    def change(
        self, deployment: Deployment | None = None, note: Note | None = None, route: ServingRoute | None = None
    ) -> None:
        """Store a deployment, its event, a route and the resulting table in one transaction; then use them."""
        changed = deployment or route
        if changed is None:
            return
        model_id = changed.model_id
        after = deployment if deployment is not None else self.latest_of(model_id)
        table = self._table_with(model_id, route or self.routes.get(model_id), after)
        epoch = table.epoch if table is not self.table else None
        self._ledger.write(deployment=deployment, note=note, route=route, epoch=epoch)
        if deployment is not None:
            for kept, wanted in ((self.active, deployment.active), (self.baking, deployment.baking)):
                if wanted:
                    kept[deployment.id] = deployment
                else:
                    kept.pop(deployment.id, None)
        if route is not None:
            self.routes[model_id] = route
        self._adopt(table)

    def undeploy(self, undeployment: Undeployment, note: Note) -> None:
        """Take a model out of the table, and store which apps stop; the model must have no deployment under way."""
        model_id = undeployment.model_id
        table = self._table_with(model_id, None, None)
        self._ledger.undeploy(undeployment, note, table.epoch)
        self.routes.pop(model_id)
        self.leaving[model_id] = undeployment
        self._adopt(table)

    def undeployed(self, undeployment: Undeployment, note: Note) -> None:
        """Forget an undeployment whose apps have all stopped."""
        self._ledger.undeployed(undeployment, note)
        del self.leaving[undeployment.model_id]

    def forget(self, model_id: str, version: str) -> None:
        """Forget what is cached of a version that was deleted; it may be registered again."""
        self._versions.pop((model_id, version), None)

    def rename(self, model_id: str) -> None:
        """Read a model's aliases again; if they have changed and it is routed, they are published under a new epoch."""
        self._aliases.pop(model_id, None)
        route = self.table.models.get(model_id)
        if route is None or (aliases := self._aliases_of(model_id)) == route.aliases:
            return
        models = {**self.table.models, model_id: replace(route, aliases=aliases)}
        table = RoutingTable(self.table.epoch + 1, models, self.table.policy)
        self._ledger.write(epoch=table.epoch)
        self._adopt(table)

    def set_policy(self, policy: GatewayPolicy) -> None:
        """Change what gateways enforce; it is published under a new epoch."""
        table = RoutingTable(self.table.epoch + 1, self.table.models, policy)
        self._ledger.write(epoch=table.epoch)
        self._adopt(table)

    def spec(self, model_id: str, version: str, app: str) -> AppSpec:
        """Return the specification of the app that runs a version."""
        found = self._version(model_id, version)
        run = self.run_of(model_id, app)
        return AppSpec(app, model_id, version, found.blob, found.environment, run.resources, run.isolation)

    def run_of(self, model_id: str, app: str) -> RunOptions:
        """Return how an app runs, as the route or the deployment that it belongs to says."""
        route = self.routes.get(model_id)
        found = route.run_of(app) if route is not None else None
        for deployment in (*self.active.values(), *self.baking.values()):
            if found is None and deployment.model_id == model_id:
                found = deployment.run_of(app)
        return found or DEFAULT_RUN

    def deterministic(self, model_id: str, *versions: str) -> bool:
        """Return False if one of these versions is known to answer the same rows differently."""
        known = [self._version(model_id, version).trial.deterministic for version in versions if version]
        return False not in known

    def _adopt(self, table: RoutingTable) -> None:
        newer = table.epoch > self.table.epoch
        self.table = table
        if newer:
            self._on_table()

    def _table_with(self, model_id: str, route: ServingRoute | None, deployment: Deployment | None) -> RoutingTable:
        """Return the table with one model's new state; the present table if nothing changes for gateways."""
        models: Mapping[str, ModelRoute] = self.table.models
        new = self._model(model_id, route, deployment)
        if new == models.get(model_id):
            return self.table
        rest = {name: one for name, one in models.items() if name != model_id}
        return RoutingTable(self.table.epoch + 1, {**rest, model_id: new} if new else rest, self.table.policy)

    def _model(self, model_id: str, route: ServingRoute | None, deployment: Deployment | None) -> ModelRoute | None:
        def target_of(version: str, app: str, run: RunOptions) -> VersionTarget:
            known = self._version(model_id, version)
            return VersionTarget(
                version,
                app,
                known.schema,
                known.task,
                known.outputs,
                known.classes,
                batching=run.batching(may_join=known.may_join),
                timeout_s=run.timeout_s,
            )

        found = model_route(model_id, route, deployment, target_of)
        return None if found is None else replace(found, aliases=self._aliases_of(model_id))

    def _aliases_of(self, model_id: str) -> Mapping[str, str]:
        """Return a model's aliases, and "latest", by which gateways find versions; read once until `rename`."""
        found = self._aliases.get(model_id)
        if found is None:
            found = self._aliases[model_id] = self._registry.get_model(model_id).names
        return found

    def _version(self, model_id: str, version: str) -> ModelVersion:
        """Return a registered version; once it was tried it does not change, so it is cached until it is deleted."""
        key = (model_id, version)
        found = self._versions.get(key)
        if found is None:
            found = self._registry.get_version(model_id, version)
            if found.trial.state is not TrialState.UNTRIED:
                self._versions[key] = found
        return found


def model_route(
    model_id: str, route: ServingRoute | None, deployment: Deployment | None, target_of: TargetOf
) -> ModelRoute | None:
    """Return how a model's traffic is split; None if no version serves it.

    Args:
        model_id: the model.
        route: the version that serves; None before the first one.
        deployment: the deployment under way, or the one that is still judged, if there is one.
        target_of: returns what gateways need to know of a version, its app, and how it runs.
    """
    shown = deployment if deployment is not None and deployment.shown else None
    if route is None:
        return _first(model_id, shown, target_of)
    targets = {one.version: target_of(one.version, one.app, one.run) for one in route.standby}
    targets[route.version] = target_of(route.version, route.app, route.run)
    if shown is None or shown.target_version == route.version:
        all_to = Split.all_to(route.version)
        return ModelRoute(model_id, route.salt, all_to, targets, fallback=_warm(route, deployment))
    version, stable = shown.target_version, route.version
    targets[version] = target_of(version, shown.app, shown.run)
    # The target first: while its share grows, units move to it only, and come back to the stable version only.
    split = Split.by_shares([(version, shown.share), (stable, BASIS_POINTS - shown.share)])
    return ModelRoute(
        model_id,
        route.salt,
        split,
        targets,
        overrides=_overrides(shown),
        shadow=_shadow(shown),
        fallback=stable if shown.fallback_to_stable else "",
    )


def _shadow(shown: Deployment) -> Shadow | None:
    """Return what is copied to the target: in its preview what was asked for; later few, as it has traffic then."""
    if not shown.shadow or shown.share == BASIS_POINTS:
        return None
    limit = shown.copies_per_second if shown.share == 0 else shown.copies_per_second or COPIES_PER_SECOND
    return Shadow(shown.target_version, shown.shadow, limit)


def _warm(route: ServingRoute, deployment: Deployment | None) -> str:
    """Return the version that is kept warm and answers what a completed version fails while it is still judged.

    It goes on while the deployment is taken back: until each gateway knows, the version still gets requests.
    """
    if deployment is None or not (deployment.baking or deployment.back_to) or not deployment.fallback_to_stable:
        return ""
    before = deployment.previous_version
    return next((one.version for one in route.standby if one.version == before), "")


def _first(model_id: str, shown: Deployment | None, target_of: TargetOf) -> ModelRoute | None:
    """Return the route of a model that no version has served yet."""
    if shown is None or not shown.share:
        return None
    version = shown.target_version
    return ModelRoute(model_id, shown.salt, Split.all_to(version), {version: target_of(version, shown.app, shown.run)})


def _overrides(shown: Deployment) -> tuple[Override, ...]:
    return (Override(shown.target_version, users=frozenset(shown.users)),) if shown.users else ()
