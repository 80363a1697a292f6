"""The routing table: everything a gateway needs to route, immutable; the Controller replaces it as a whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamb.errors import InvalidInput
from streamb.hashing import BASIS_POINTS
from streamb.traffic.policy import GatewayPolicy
from streamb.traffic.split import Split


@dataclass(frozen=True, slots=True)
class Batching:
    """How the requests of one version are joined into calls.

    Attributes:
        join: whether rows of several requests may go into one call; only if a row's answer depends on that row alone.
        max_rows: the most rows of several requests in one call; 0: the limit of the gateway. A larger single request
            goes alone.
        max_wait_ms: how long a request may wait for others to join it, in milliseconds; 0: it never waits for company.
    """

    join: bool = True
    max_rows: int = 0
    max_wait_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class VersionTarget:
    """One running model version that can be called.

    Attributes:
        version: the semantic version, "1.0.0".
        app: the name of the Serve application that runs it; never reused.
        schema: the feature schema in its JSON form (`models.schema.FeatureSchema.to_json`).
        task: "classification", "regression" or "other"; what the predictions mean.
        outputs: its outputs, each the JSON form of `models.signature.Output`; empty if unknown.
        classes: the class labels in the order of the columns of the probabilities; None if unknown.
        batching: how its requests are joined into calls.
        timeout_s: the longest time from a request's arrival to its answer, in seconds; None: the gateway's own limit.
    """

    version: str
    app: str
    schema: Mapping[str, Any]
    task: str = "other"
    outputs: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[Any] | None = None
    batching: Batching = Batching()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """Selects one version for certain users, instead of the split.

    Attributes:
        version: the version; without effect while it is not among the route's targets.
        users: the users whose requests get it.
    """

    version: str
    users: frozenset[str]

    def __post_init__(self) -> None:
        if not self.users:
            raise InvalidInput(f"an override to version {self.version} needs users")


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets copies of a share of the requests; its answers are discarded.

    Attributes:
        version: the version that gets the copies.
        share: the share of the requests, in ten-thousandths.
        per_second: the most copies that one gateway makes in a second; 0 for no limit.
    """

    version: str
    share: int
    per_second: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= BASIS_POINTS:
            raise InvalidInput(f"the share of a shadow must be 0 to {BASIS_POINTS} ten-thousandths, not {self.share}")


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """How one model's traffic is split over its versions.

    A version that the request names, in its path or in the header X-Model-Version, wins over an override, and that over
    the split.

    Attributes:
        salt: makes this model's assignment of units independent of other models.
        split: the shares of the versions.
        targets: every version that can be called, by version, with or without a share.
        overrides: exceptions from the split; if several match, the first one counts.
        shadow: the version that gets copies of requests; None if there is none.
        fallback: the version that answers, in the same request, for another that failed; "" if there is none.
        aliases: the model's aliases ("champion", and "latest") and the versions that they name, running or not.
    """

    model_id: str
    salt: str
    split: Split
    targets: Mapping[str, VersionTarget]
    overrides: tuple[Override, ...] = ()
    shadow: Shadow | None = None
    fallback: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything a gateway needs to route, at one epoch. A lower epoch never replaces a higher one."""

    epoch: int = 0
    models: Mapping[str, ModelRoute] = field(default_factory=dict)
    policy: GatewayPolicy = field(default_factory=GatewayPolicy)

    def held_back(self, present: RoutingTable, apps: Collection[str]) -> RoutingTable:
        """Return this table with the epoch of `present`, and with its routes for models whose route needs `apps`."""
        waiting = {
            model_id
            for model_id, route in self.models.items()
            if any(target.app in apps for target in route.targets.values())
        }
        models = {model_id: route for model_id, route in self.models.items() if model_id not in waiting}
        kept = {model_id: present.models[model_id] for model_id in waiting if model_id in present.models}
        return RoutingTable(present.epoch, {**models, **kept}, self.policy)
