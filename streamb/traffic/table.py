"""The routing table: all that a gateway knows, immutable, replaced whole by the Controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamb.traffic.split import Split


@dataclass(frozen=True, slots=True)
class VersionTarget:
    """One model version that runs and can be called.

    Attributes:
        version: the semantic version, "1.0.0".
        app: the name of the Serve application that answers for it; never reused.
        schema: the feature schema in its JSON form (`models.schema.FeatureSchema.to_json`).
        task: "classification", "regression" or "other"; what the predictions mean.
    """

    version: str
    app: str
    schema: Mapping[str, Any]
    task: str = "other"


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """How one model's traffic is shared out.

    Attributes:
        salt: makes this model's assignment independent of every other model's.
        split: weights over versions.
        targets: every version that can be called, by version, with or without weight.
    """

    model_id: str
    salt: str
    split: Split
    targets: Mapping[str, VersionTarget]


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """What the gateways enforce besides routing.

    Attributes:
        api_key_required: refuse requests without a valid key.
        key_digests: SHA-256 (hex) of every valid API key.
    """

    api_key_required: bool = False
    key_digests: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Everything a gateway needs to route, at one epoch. A lower epoch never replaces a higher one."""

    epoch: int = 0
    models: Mapping[str, ModelRoute] = field(default_factory=dict)
    policy: GatewayPolicy = field(default_factory=GatewayPolicy)
