"""The routing table prepared for requests: schemas read, lanes and recorders assigned. Replaced as a whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from secrets import randbelow
from typing import Final

from streamb.errors import InvalidInput, NotFound, StreambError, Unavailable
from streamb.hashing import BASIS_POINTS
from streamb.metrics import Snapshot, VersionRecorder
from streamb.models.schema import FeatureSchema
from streamb.serving.breaker import Breaker, BreakerState
from streamb.serving.fallback import FallbackBudget
from streamb.serving.forms import value_typed
from streamb.serving.lane import Lane
from streamb.serving.outputs import VersionOutputs
from streamb.traffic import BreakerPolicy, ModelRoute, RoutingTable, VersionTarget

_log = logging.getLogger(__name__)

VERSION_HEADER: Final = b"x-model-version"
"""In a request: the version, or alias, that must answer. In an answer: the version that did."""

_MOST_SHOWN: Final = 100

_ENOUGH: Final = BASIS_POINTS // 2
"""The share of the weight that healthy versions must have for another one to be taken out."""

QUIET_S: Final = 3600.0
"""Seconds without a change after which the counts of a stopped version are dropped: they were reported often enough."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version that can be called.

    Attributes:
        schema: the schema of its rows; None if any rows are accepted.
        broken: why it cannot be called, if its entry in the table is invalid; else None.
        headers: the response headers that name it.
        outputs: its outputs by name.
        breaker: its circuit breaker; None if the policy has none.
    """

    model_id: str
    target: VersionTarget
    schema: FeatureSchema | None
    lane: Lane
    recorder: VersionRecorder
    broken: StreambError | None
    headers: tuple[tuple[bytes, bytes], ...]
    outputs: VersionOutputs
    breaker: Breaker | None = None

    @property
    def healthy(self) -> bool:
        """Whether its entry is valid and its breaker, if it has one, is closed."""
        return self.broken is None and (self.breaker is None or self.breaker.state is BreakerState.CLOSED)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model: its route, and its versions ready to be called.

    Attributes:
        budget: bounds the second calls of requests whose first version failed.
        aside_budget: the same for requests whose version is named or overridden, so that they use up nobody else's.
        fallback: the version that answers for another one; None if there is none.
        shadow: the version that gets copies of requests; None if there is none.
        shadow_shares: whether that version also has a share of the traffic.
        by_user: overrides by user.
        turns: numbers the requests without a unit.
    """

    route: ModelRoute
    versions: Mapping[str, ServedVersion]
    budget: FallbackBudget = field(default_factory=FallbackBudget)
    aside_budget: FallbackBudget = field(default_factory=FallbackBudget)
    fallback: ServedVersion | None = None
    shadow: ServedVersion | None = None
    shadow_shares: bool = False
    by_user: Mapping[str, ServedVersion] = field(default_factory=dict)
    turns: Iterator[int] = field(default_factory=count)

    def pinned(self, name: str) -> ServedVersion:
        """Return the version that a path or header names, by its number or an alias; `NotFound` if it does not run."""
        found = self.versions.get(name)
        if found is None:
            found = self.versions.get(self.route.aliases.get(name, ""))
        if found is None:
            raise self._not_running(name)
        return found

    def asked_for(self, named: str, headers: Mapping[bytes, bytes]) -> ServedVersion | None:
        """Return the version that a request asks for; None if it leaves the choice to the route.

        Args:
            named: the version or alias in its path; "" if there is none.
            headers: its headers; `VERSION_HEADER` names a version or an alias as well, an empty one names none.

        Raises:
            NotFound: the version does not run, or there is no such alias.
            InvalidInput: path and header ask for two different versions.
        """
        header = headers.get(VERSION_HEADER)
        if not header:
            return self.pinned(named) if named else None
        found = self.pinned(header.decode("latin-1"))
        if named and self.pinned(named) is not found:
            raise InvalidInput(
                f"the path asks for version {named!r} and the header X-Model-Version for {header.decode('latin-1')!r}: "
                "leave one of them out"
            )
        return found

    def choose(self, named: str, headers: Mapping[bytes, bytes], user: str, own_id: str) -> ServedVersion:
        """Return the version for a request: the one it asks for, else by an override, else by the split and its unit.

        The unit is the user, or else the request's own id, so that a repeated request gets the same version. Requests
        with neither take turns.

        Args:
            named, headers: see `asked_for`, which also says what is refused.
            user: the user; "" if none is named.
            own_id: the request id that the client sent; "" if it sent none.

        Raises:
            Unavailable: the version that the split assigns is not running.
        """
        if named or VERSION_HEADER in headers:
            asked = self.asked_for(named, headers)
            if asked is not None:
                return asked
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

    def is_aside(self, named: str, headers: Mapping[bytes, bytes], user: str) -> bool:
        """Return whether a request, or an override, names the version: then the answer is no evidence.

        Args:
            named: the version or alias in its path; "" if there is none.
            headers: its headers.
            user: the user; "" if none is named.
        """
        return bool(named or headers.get(VERSION_HEADER) or (user and user in self.by_user))

    def budget_of(self, *, aside: bool) -> FallbackBudget:
        """Return what bounds the second calls of such requests."""
        return self.aside_budget if aside else self.budget

    def takes_requests(self, version: ServedVersion) -> bool:
        """Return whether requests that name no version may be sent to this one."""
        return version is self.fallback or _has_share(self.route, version.target.version)

    def is_callable(self, version: ServedVersion) -> bool:
        """Return whether a request for this version would be sent to it."""
        is_open = version.breaker is not None and version.breaker.state is BreakerState.OPEN
        return version.broken is None and not (is_open and self.can_spare(version))

    def can_spare(self, version: ServedVersion) -> bool:
        """Return whether enough healthy versions remain without this one: its fallback, or half of all the weight.

        So the last healthy version is never taken out of service, nor is the stable one because a small canary is
        healthy: failing sometimes is better than refusing everybody.
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

    def _not_running(self, name: str) -> NotFound:
        running, number = sorted(self.versions), self.route.aliases.get(name)
        what = f"version {name[:_MOST_SHOWN]!r}" if name[:1].isdigit() else f"version or alias {name[:_MOST_SHOWN]!r}"
        if number is not None:
            what = f"version {number}, which the alias {name!r} names,"
        return NotFound(
            f"{what} of model {self.route.model_id!r} does not run; running: {running}",
            running=running,
            aliases={alias: of for alias, of in sorted(self.route.aliases.items()) if of in self.versions},
        )


class ServedTable:
    """Everything that requests look up in the routing table."""

    def __init__(self, table: RoutingTable, models: Mapping[str, ServedModel]) -> None:
        self.table = table
        self.models = models

    def versions(self) -> Iterator[ServedVersion]:
        """Return every version of every model."""
        for model in self.models.values():
            yield from model.versions.values()

    def model(self, model_id: str) -> ServedModel:
        """Return one model; raises `NotFound` if it is not deployed, `Unavailable` before the first table arrived."""
        found = self.models.get(model_id)
        if found is not None:
            return found
        self.check_known()
        raise NotFound(f"no model {model_id!r} is deployed here", model_id=model_id)

    def check_known(self) -> None:
        """Raise `Unavailable` before the first table arrived: then nobody knows which models there are."""
        if self.table.epoch == 0:
            raise Unavailable("this gateway has no routing table yet; try again in a moment", retry_after_s=1)


class TableBuilder:
    """Builds served tables, and keeps the objects that outlive one table.

    These are the recorder of each version, the lane and the breaker of each app, and each model's turns and budget.
    """

    def __init__(self) -> None:
        self.recorders: dict[tuple[str, str], VersionRecorder] = {}
        self._models: Mapping[str, ServedModel] = {}
        self._known: dict[str, ServedVersion] = {}
        self._quiet: dict[tuple[str, str], tuple[Snapshot, float]] = {}

    def build(self, table: RoutingTable, now: float = 0.0) -> ServedTable:
        """Prepare a table; a version whose app is already known is reused.

        Args:
            now: the present time on the monotonic clock, in seconds.
        """
        policy = table.policy.breaker
        models = {model_id: self._model(route, policy, now) for model_id, route in table.models.items()}
        self._models = models
        return ServedTable(table, models)

    def forget(self, app: str) -> None:
        """Release an app that has no requests left to answer."""
        self._known.pop(app, None)

    def known(self) -> list[ServedVersion]:
        """Return every version of the present table, and older ones that are not released yet."""
        return list(self._known.values())

    def snapshots(self, now: float, overdue: Mapping[Lane, int] | None = None) -> list[Snapshot]:
        """Return the counts of each version, then drop versions that have ended (see `QUIET_S`).

        Otherwise every version ever served would cost each report a tenth of a millisecond of the event loop. Where a
        model has several versions, this is also when their usual times are learnt.

        Args:
            now: the present time on the monotonic clock, in seconds.
            overdue: how many requests of each lane are overdue.
        """
        lanes: dict[VersionRecorder, list[Lane]] = {}
        for known in self._known.values():
            lanes.setdefault(known.recorder, []).append(known.lane)
        snapshots = []
        for key, recorder in list(self.recorders.items()):
            mine = lanes.get(recorder, ())
            queued = sum(len(lane.queue) for lane in mine)
            late = sum(overdue.get(lane, 0) for lane in mine) if overdue else 0
            snapshot = recorder.snapshot(in_flight=sum(lane.size for lane in mine), queued=queued, overdue=late)
            snapshots.append(snapshot)
            for lane in mine:
                if lane.other is not None:
                    lane.usual.look(snapshot, now)
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
        _compare(versions, versions.get(route.fallback))
        return ServedModel(
            route,
            versions,
            budget=before.budget if before is not None else FallbackBudget(),
            aside_budget=before.aside_budget if before is not None else FallbackBudget(),
            turns=before.turns if before is not None else count(randbelow(BASIS_POINTS)),
            fallback=versions.get(route.fallback),
            shadow=versions.get(route.shadow.version) if route.shadow is not None and route.shadow.share else None,
            shadow_shares=route.shadow is not None and _has_share(route, route.shadow.version),
            by_user={user: version for override, version in reversed(in_force) for user in override.users},
        )

    def _version(self, model_id: str, target: VersionTarget, policy: BreakerPolicy | None, now: float) -> ServedVersion:
        known = self._known.get(target.app)
        breaker = known.breaker if known is not None else None
        same_policy = policy == (breaker.policy if breaker is not None else None)
        if known is not None and known.target == target and not known.lane.retired and same_policy:
            return known
        recorder = self.recorders.get((model_id, target.version))
        if recorder is None:
            recorder = VersionRecorder(model_id, target.version, target.classes)
            self.recorders[model_id, target.version] = recorder
        schema, broken = _read_schema(target)
        headers = ((VERSION_HEADER, target.version.encode()),)
        outputs = VersionOutputs(target.outputs, target.classes)
        lane = known.lane if known is not None else Lane(target, recorder)
        lane.target, lane.retired, lane.value_typed = target, False, value_typed(schema)
        if not same_policy:
            breaker = Breaker(model_id, target.version, policy, now) if policy is not None else None
        served = ServedVersion(model_id, target, schema, lane, recorder, broken, headers, outputs, breaker)
        self._known[target.app] = served
        return served


def _has_share(route: ModelRoute, version: str) -> bool:
    """Return whether the split gives a version any traffic."""
    start = 0
    for number, end in zip(route.split.versions, route.split.bounds, strict=True):
        if number == version:
            return end > start
        start = end
    return False


def _compare(versions: Mapping[str, ServedVersion], fallback: ServedVersion | None) -> None:
    """Let each version be compared with the fallback; where there is none, with the first of the other versions."""
    for version in versions.values():
        others = [other for other in versions.values() if other is not version]
        version.lane.other = (fallback or others[0]).lane if others else None


def _read_schema(target: VersionTarget) -> tuple[FeatureSchema | None, StreambError | None]:
    """Read a version's schema; an unreadable one disables this version, never the gateway."""
    if not target.schema:
        return None, None
    try:
        schema = FeatureSchema.from_json(target.schema)
    except StreambError as error:
        _log.warning("version %s cannot be served: %s", target.app, error)
        return None, Unavailable(f"version {target.version} has a feature schema that cannot be read: {error}")
    return (None if schema.is_open else schema), None
