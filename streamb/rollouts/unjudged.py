"""The guard on effects: what would give a version much traffic before it was judged counts as immediate.

It looks at the steps that a deployment has, not at the name of its strategy. A step counts as a judgement only if a bad
version could not pass it: it must be judged to pass, on enough requests, by criteria that not even a version that fails
every second request satisfies. An approval is no judgement: it says that somebody wants it, not that it works.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from streamb.errors import Forbidden
from streamb.hashing import BASIS_POINTS
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import HealthCriteria
from streamb.rollouts.strategies import PREVIEW_SECONDS, SMALL_SAMPLES, Strategy

_BAD: Final = 0.5
"""The error rate of a version that no judgement lets pass."""


def demand_judgement(deployment: Deployment, most: int, served: Collection[str]) -> None:
    """Refuse a new deployment that gives its version too much traffic before it is judged.

    A version that has served all traffic before is known. The very first version of a model takes traffic from no
    other; after an undeployment, it would.

    Args:
        deployment: the new deployment.
        most: the largest share, in ten-thousandths, that a version may get before it is judged.
        served: the versions of the model that have served all its traffic.

    Raises:
        Forbidden: it counts as immediate; the message names the step.
    """
    version, serving = deployment.target_version, deployment.previous_version
    if most >= BASIS_POINTS or version == serving or (serving is None and (not served or version in served)):
        return
    if deployment.users:
        raise _refused(version, "its overrides name users who get it before it was judged, whatever their share", most)
    for index, step in enumerate(deployment.steps):
        if step.share > most:
            raise _refused(version, f"its step at {step.weight:g} % comes before it was judged", most)
        if _judges(deployment, index):
            return


def demand_judged(deployment: Deployment, most: int) -> None:
    """Refuse to promote a deployment, which gives its version all traffic, before a step has judged it.

    Raises:
        Forbidden: it counts as immediate.
    """
    if most < BASIS_POINTS and not any(_judges(deployment, index) for index in range(deployment.step)):
        here = f"it is promoted in the step at {deployment.current.weight:g} %, before one was passed that judges it"
        raise _refused(deployment.target_version, here, most)


def demand_known(version: str, most: int, served: Collection[str]) -> None:
    """Refuse to roll back to a version that has never served all traffic.

    Raises:
        Forbidden: it counts as immediate.
    """
    if most < BASIS_POINTS and version not in served:
        raise _refused(version, "the rollback to it is its first deployment, so it was never judged", most)


def _refused(version: str, why: str, most: int) -> Forbidden:
    return Forbidden(
        f"this counts as immediate, because version {version} would get more than {most / 100:g} % of the traffic "
        f"(ML_UNJUDGED_SHARE) unjudged: {why}; let it begin with a smaller step, one that is judged on {SMALL_SAMPLES} "
        "requests at least, or have an administrator force it"
    )


def _judges(deployment: Deployment, index: int) -> bool:
    """Return whether a bad version could not pass a step."""
    step = deployment.steps[index]
    if not step.analyse or step.min_samples < SMALL_SAMPLES or _tolerant(deployment.criteria):
        return False
    if not step.preview:
        return True
    # Only blue-green rests on its preview: it must then get copies, for some time.
    copies = deployment.strategy is Strategy.BLUE_GREEN and deployment.shadow > 0
    return copies and step.min_time_s >= PREVIEW_SECONDS


def _tolerant(criteria: HealthCriteria) -> bool:
    """Return whether a version that fails every second request could satisfy the criteria."""
    limited = criteria.max_error_rate is None or criteria.max_error_rate < _BAD
    compared = criteria.compare_with_stable and criteria.max_error_increase < _BAD
    return not limited and not compared
