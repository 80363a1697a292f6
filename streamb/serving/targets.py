"""A routing table made ready for requests: schemas read, lanes and recorders at hand. Swapped whole, like the table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from secrets import randbelow
from typing import Final

from streamb.errors import NotFound, StreambError, Unavailable
from streamb.hashing import BASIS_POINTS
from streamb.metrics import Snapshot, VersionRecorder
from streamb.models.schema import FeatureSchema
from streamb.serving.breaker import Breaker, BreakerState
from streamb.serving.fallback import FallbackBudget
from streamb.serving.lane import Lane
from streamb.traffic import BreakerPolicy, ModelRoute, RoutingTable, VersionTarget

_log = logging.getLogger(__name__)

_ENOUGH: Final = BASIS_POINTS // 2
"""Versions with so much weight are enough to go on without another one."""

QUIET_S: Final = 3600.0
"""A version that runs no more keeps its counts here until nothing has changed them for so long: told often enough."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version that can be called.

    Attributes:
        schema: None where anything goes.
        broken: why it cannot be called, when its entry in the table cannot be understood.
        headers: the response headers that name it.
        breaker: None where the policy has none.
    """

    model_id: str
    target: VersionTarget
    schema: FeatureSchema | None
    lane: Lane
    recorder: VersionRecorder
    broken: StreambError | None
    headers: tuple[tuple[bytes, bytes], ...]
    breaker: Breaker | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing speaks against calling it."""
        return self.broken is None and (self.breaker is None or self.breaker.state is BreakerState.CLOSED)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model: its route, and its versions ready to be called.

    Attributes:
        budget: bounds the second calls of requests whose first version failed.
        fallback: the version that answers for another one; None where there is none.
        shadow: the version that gets copies of requests.
        by_header: overrides as header name, value and version, in order.
        by_user: overrides by user.
        turns: numbers the requests that name no unit.
    """

    route: ModelRoute
    versions: Mapping[str, ServedVersion]
    budget: FallbackBudget = field(default_factory=FallbackBudget)
    fallback: ServedVersion | None = None
    shadow: ServedVersion | None = None
    by_header: tuple[tuple[bytes, bytes, ServedVersion], ...] = ()
    by_user: Mapping[str, ServedVersion] = field(default_factory=dict)
    turns: Iterator[int] = field(default_factory=count)

    def pinned(self, version: str) -> ServedVersion:
        """The version a path names; `NotFound` when it does not run."""
        found = self.versions.get(version)
        if found is None:
            running = sorted(self.versions)
            raise NotFound(
                f"version {version!r} of model {self.route.model_id!r} does not run; running: {running}",
                running=running,
            )
        return found

    def choose(self, headers: Mapping[bytes, bytes], user: str, own_id: str) -> ServedVersion:
        """The version for a request: by an override, else what the split gives to its unit.

        The unit is the user, else the request's own id: sent again, it meets the same version. Where there is neither,
        nothing could come back to stick to, and requests take turns.

        Args:
            user: who asks; "" when nobody is named.
            own_id: the request id that the client brought; "" when it brought none.

        Raises:
            Unavailable: the version that the split gives does not run.
        """
        for name, value, version in self.by_header:
            if headers.get(name) == value:
                return version
        if user and user in self.by_user:
            return self.by_user[user]
        route = self.route
        unit = user or own_id
        number = route.split.choose(unit, salt=route.salt) if unit else route.split.deal(next(self.turns))
        found = self.versions.get(number)
        if found is None:
            raise Unavailable(
                f"no version of model {route.model_id!r} can answer now: {number} does not run", retry_after_s=1
            )
        return found

    def is_callable(self, version: ServedVersion) -> bool:
        """Whether a request for this version would be sent to it."""
        is_open = version.breaker is not None and version.breaker.state is BreakerState.OPEN
        return version.broken is None and not (is_open and self.can_spare(version))

    def can_spare(self, version: ServedVersion) -> bool:
        """Whether enough healthy versions remain without this one: its fallback, or half of all the weight.

        So the last healthy version is never taken out of service, and neither is the stable one because a small canary
        is well: failing sometimes is better than refusing everybody.
        """
        fallback = self.fallback
        if fallback is not None and fallback is not version and fallback.healthy:
            return True
        start, remaining = 0, 0
        for number, end in zip(self.route.split.versions, self.route.split.bounds, strict=True):
            other = self.versions.get(number)
            if other is not None and other is not version and other.healthy:
                remaining += end - start
            start = end
        return remaining >= _ENOUGH


class ServedTable:
    """Everything that requests look up."""

    def __init__(self, table: RoutingTable, models: Mapping[str, ServedModel]) -> None:
        self.table = table
        self.models = models

    def versions(self) -> Iterator[ServedVersion]:
        """Every version of every model."""
        for model in self.models.values():
            yield from model.versions.values()

    def model(self, model_id: str) -> ServedModel:
        """One model; `NotFound` when it is not deployed, `Unavailable` before the first table came."""
        found = self.models.get(model_id)
        if found is not None:
            return found
        if self.table.epoch == 0:
            raise Unavailable("this gateway has no routing table yet; try again in a moment", retry_after_s=1)
        raise NotFound(f"no model {model_id!r} is deployed here", model_id=model_id)


class TableBuilder:
    """Builds served tables and keeps what outlives them.

    That is the recorder of each version, the lane and the breaker of each app, each model's turns and its budget.
    """

    def __init__(self) -> None:
        self.recorders: dict[tuple[str, str], VersionRecorder] = {}
        self._models: Mapping[str, ServedModel] = {}
        self._known: dict[str, ServedVersion] = {}
        self._quiet: dict[tuple[str, str], tuple[Snapshot, float]] = {}

    def build(self, table: RoutingTable, now: float = 0.0) -> ServedTable:
        """The table made ready; a version whose app is known already is taken over as it is.

        Args:
            now: on the monotonic clock.
        """
        policy = table.policy.breaker
        models = {model_id: self._model(route, policy, now) for model_id, route in table.models.items()}
        self._models = models
        return ServedTable(table, models)

    def forget(self, app: str) -> None:
        """Let go of an app that has nothing left to answer."""
        self._known.pop(app, None)

    def known(self) -> list[ServedVersion]:
        """Every version of the present table, and older ones that were not forgotten yet."""
        return list(self._known.values())

    def snapshots(self, now: float) -> list[Snapshot]:
        """What each version counted. After this, those that are over and done with are dropped (see `QUIET_S`).

        Without that, every version ever served would cost each report a tenth of a millisecond of the event loop.
        """
        lanes: dict[VersionRecorder, list[Lane]] = {}
        for known in self._known.values():
            lanes.setdefault(known.recorder, []).append(known.lane)
        snapshots = []
        for key, recorder in list(self.recorders.items()):
            mine = lanes.get(recorder, ())
            queued = sum(len(lane.queue) for lane in mine)
            snapshot = recorder.snapshot(in_flight=sum(lane.size for lane in mine), queued=queued)
            snapshots.append(snapshot)
            before, since = self._quiet.get(key, (None, now))
            if mine or snapshot != before:
                self._quiet[key] = snapshot, now
            elif now - since >= QUIET_S:
                del self.recorders[key], self._quiet[key]
        return snapshots

    def _model(self, route: ModelRoute, policy: BreakerPolicy | None, now: float) -> ServedModel:
        versions = {
            version: self._version(route.model_id, target, policy, now) for version, target in route.targets.items()
        }
        in_force = [
            (override, versions[override.version]) for override in route.overrides if override.version in versions
        ]
        before = self._models.get(route.model_id)
        return ServedModel(
            route,
            versions,
            budget=before.budget if before is not None else FallbackBudget(),
            turns=before.turns if before is not None else count(randbelow(BASIS_POINTS)),
            fallback=versions.get(route.fallback),
            shadow=versions.get(route.shadow.version) if route.shadow is not None and route.shadow.share else None,
            by_header=tuple(
                (override.header[0].encode(), override.header[1].encode(), version)
                for override, version in in_force
                if override.header is not None
            ),
            by_user={user: version for override, version in reversed(in_force) for user in override.users},
        )

    def _version(self, model_id: str, target: VersionTarget, policy: BreakerPolicy | None, now: float) -> ServedVersion:
        known = self._known.get(target.app)
        breaker = known.breaker if known is not None else None
        same_policy = policy == (breaker.policy if breaker is not None else None)
        if known is not None and known.target == target and not known.lane.retired and same_policy:
            return known
        recorder = self.recorders.setdefault((model_id, target.version), VersionRecorder(model_id, target.version))
        schema, broken = _read_schema(target)
        headers = ((b"x-model-version", target.version.encode()),)
        lane = known.lane if known is not None else Lane(target, recorder)
        lane.retired = False
        if not same_policy:
            breaker = Breaker(model_id, target.version, policy, now) if policy is not None else None
        served = ServedVersion(model_id, target, schema, lane, recorder, broken, headers, breaker)
        self._known[target.app] = served
        return served


def _read_schema(target: VersionTarget) -> tuple[FeatureSchema | None, StreambError | None]:
    """A schema that cannot be read puts one version out of order, never the gateway."""
    if not target.schema:
        return None, None
    try:
        schema = FeatureSchema.from_json(target.schema)
    except StreambError as error:
        _log.warning("version %s cannot be served: %s", target.app, error)
        return None, Unavailable(f"version {target.version} has a feature schema that cannot be read: {error}")
    return (None if schema.is_open else schema), None
