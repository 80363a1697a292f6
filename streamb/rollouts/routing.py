"""A model's part of the routing table: it follows from what answers and from the deployment that is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamb.hashing import BASIS_POINTS
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.route import ServingRoute
from streamb.traffic import ModelRoute, Override, Shadow, Split, VersionTarget

VERSION_HEADER: Final = "x-model-version"
"""A request that names a version in this header gets it, while it is being deployed: a preview at any weight."""

TargetOf = Callable[[str, str], VersionTarget]
"""From a version and its app to what gateways know of it."""


def model_route(
    model_id: str, route: ServingRoute | None, deployment: Deployment | None, target_of: TargetOf
) -> ModelRoute | None:
    """How a model's traffic is shared out; None when nothing answers for it."""
    shown = deployment if deployment is not None and deployment.shown else None
    if route is None:
        return _first(model_id, shown, target_of)
    targets = {one.version: target_of(one.version, one.app) for one in route.standby}
    targets[route.version] = target_of(route.version, route.app)
    if shown is None or shown.target_version == route.version:
        return ModelRoute(model_id, route.salt, Split.all_to(route.version), targets)
    version, stable = shown.target_version, route.version
    targets[version] = target_of(version, shown.app)
    # The target first: while its share grows, units move to it only, and come back to the stable version only.
    split = Split.by_weights([(version, shown.share), (stable, BASIS_POINTS - shown.share)])
    return ModelRoute(
        model_id,
        route.salt,
        split,
        targets,
        overrides=_overrides(shown),
        shadow=Shadow(version, shown.shadow) if shown.shadow and shown.share == 0 else None,
        fallback=stable if shown.fallback_to_stable else "",
    )


def _first(model_id: str, shown: Deployment | None, target_of: TargetOf) -> ModelRoute | None:
    """A model that nothing answered for yet."""
    if shown is None or not shown.share:
        return None
    version = shown.target_version
    return ModelRoute(model_id, shown.salt, Split.all_to(version), {version: target_of(version, shown.app)})


def _overrides(shown: Deployment) -> tuple[Override, ...]:
    preview = Override(shown.target_version, header=(VERSION_HEADER, shown.target_version))
    if not shown.users:
        return (preview,)
    return (preview, Override(shown.target_version, users=frozenset(shown.users)))
