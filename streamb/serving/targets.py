"""A routing table made ready for requests: schemas read, lanes and recorders at hand. Swapped whole, like the table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streamb.errors import NotFound, StreambError, Unavailable
from streamb.metrics import VersionRecorder
from streamb.models.schema import FeatureSchema
from streamb.serving.lane import Lane
from streamb.traffic import ModelRoute, RoutingTable, VersionTarget

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version that can be called.

    Attributes:
        schema: None where anything goes.
        broken: why it cannot be called, when its entry in the table cannot be understood.
        headers: the response headers that name it.
    """

    model_id: str
    target: VersionTarget
    schema: FeatureSchema | None
    lane: Lane
    recorder: VersionRecorder
    broken: StreambError | None
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model: its route, and its versions ready to be called."""

    route: ModelRoute
    versions: Mapping[str, ServedVersion]


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

    def pinned(self, model_id: str, version: str) -> ServedVersion:
        """The version a path names; `NotFound` when it does not run."""
        model = self.model(model_id)
        found = model.versions.get(version)
        if found is None:
            running = sorted(model.versions)
            raise NotFound(
                f"version {version!r} of model {model_id!r} does not run; running: {running}", running=running
            )
        return found

    def choose(self, model_id: str, unit: str) -> ServedVersion:
        """The version that the split gives to `unit`; `Unavailable` when none runs."""
        model = self.model(model_id)
        route = model.route
        version = route.split.choose(unit, salt=route.salt)
        found = model.versions.get(version)
        if found is None:
            raise Unavailable(
                f"no version of model {model_id!r} can answer now: {version} does not run", retry_after_s=1
            )
        return found


class TableBuilder:
    """Builds served tables and keeps what outlives them: the recorder of each version, the lane of each app."""

    def __init__(self) -> None:
        self.recorders: dict[tuple[str, str], VersionRecorder] = {}
        self._known: dict[str, ServedVersion] = {}

    def build(self, table: RoutingTable) -> ServedTable:
        """The table made ready; a version whose app is known already is taken over as it is."""
        return ServedTable(table, {model_id: self._model(route) for model_id, route in table.models.items()})

    def forget(self, app: str) -> None:
        """Let go of an app that has nothing left to answer."""
        self._known.pop(app, None)

    def known(self) -> list[ServedVersion]:
        """Every version of the present table, and older ones that were not forgotten yet."""
        return list(self._known.values())

    def _model(self, route: ModelRoute) -> ServedModel:
        versions = {version: self._version(route.model_id, target) for version, target in route.targets.items()}
        return ServedModel(route, versions)

    def _version(self, model_id: str, target: VersionTarget) -> ServedVersion:
        known = self._known.get(target.app)
        if known is not None and known.target == target and not known.lane.retired:
            return known
        recorder = self.recorders.setdefault((model_id, target.version), VersionRecorder(model_id, target.version))
        schema, broken = _read_schema(target)
        headers = ((b"x-model-version", target.version.encode()),)
        lane = known.lane if known is not None else Lane(target, recorder)
        lane.retired = False
        served = ServedVersion(model_id, target, schema, lane, recorder, broken, headers)
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
