"""What is needed before something is taken away: whether a model can be undeployed, and what still needs a version."""

from __future__ import annotations

from streamb.errors import Conflict
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.route import ServingRoute, Undeployment


def undeployment_of(
    model_id: str, route: ServingRoute | None, leaving: Undeployment | None, now: float, by: str, reason: str
) -> Undeployment:
    """Return the undeployment of the model's present route.

    Args:
        model_id: the model.
        route: its present route; None if no version serves.
        leaving: an earlier undeployment whose apps have not all stopped yet; the new one waits for them as well.
        now: seconds since the epoch.
        by, reason: who ordered it, and why.

    Raises:
        Conflict: no version serves.
    """
    if route is None:
        raise Conflict(f"model {model_id} is not deployed, so there is nothing to undeploy")
    apps = route.apps | frozenset(leaving.apps if leaving is not None else ())
    return Undeployment(model_id, route.version, tuple(sorted(apps)), now, by, reason)


def needed_for(
    version: str, route: ServingRoute | None, deployment: Deployment | None, leaving: Undeployment | None
) -> tuple[str, ...]:
    """Return what needs a version to run, each as a clause with a way out; empty if nothing does.

    Args:
        version: the number of the version.
        route: the model's present route.
        deployment: its deployment under way.
        leaving: its undeployment whose apps have not all stopped yet.
    """
    found: list[str] = []
    if route is not None and route.version == version:
        found.append("it serves the model's traffic (undeploy the model, or deploy another version)")
    if route is not None and any(one.version == version for one in route.standby):
        found.append("it is kept warm for a rollback (wait until its hold has ended)")
    if deployment is not None and version in (
        deployment.target_version,
        deployment.previous_version,
        deployment.back_to,
    ):
        found.append(f"deployment {deployment.id} has not ended and needs it (wait for it, or abort it)")
    if leaving is not None and leaving.version == version:
        found.append("it is being undeployed (wait until its app has stopped)")
    return tuple(found)
