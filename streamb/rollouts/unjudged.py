"""The guard on effects: what would give a version much traffic before it was judged counts as immediate.

It looks at the steps that a deployment has, not at the name of its strategy. A step counts as a judgement only if a bad
version hardly passes it. Notation: a bad version fails each request with p = 1/2; the step needs n requests, and its
criteria accept an error rate of at most L (the highest that is set, or allowed above stable's). The bad version passes
with P(X <= L n), X binomial with n and p; that must be 1 % or less. With L = 5 % it is 0.1 % for n = 10, and with
L = 40 % it is 10 % for n = 50. An approval is no judgement: it says that somebody wants a version, not that it works.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from streamb.errors import Forbidden
from streamb.hashing import BASIS_POINTS
from streamb.rollouts.checks import DEFAULT_ERROR_RATE, FAST_ABORT_REQUESTS
from streamb.rollouts.deployment import Deployment
from streamb.rollouts.options import HealthCriteria
from streamb.rollouts.strategies import PREVIEW_SECONDS, Strategy
from streamb.stats.binomial import binomial_tail

_BAD: Final = 0.5
_CHANCE: Final = 0.01
"""How likely a version that fails with `_BAD` may at most pass a step that counts as a judgement."""


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
        f"(ML_UNJUDGED_SHARE) unjudged: {why}; let it begin with a smaller step that a bad version would not pass, on "
        f"{FAST_ABORT_REQUESTS} requests at least, or have an administrator force it"
    )


def _judges(deployment: Deployment, index: int) -> bool:
    """Return whether a bad version could not pass a step."""
    step = deployment.steps[index]
    if not step.analyse or _passes(deployment.criteria, step.min_samples) > _CHANCE:
        return False
    if not step.preview:
        return True
    # Only blue-green rests on its preview: it must then get copies, for some time.
    copies = deployment.strategy is Strategy.BLUE_GREEN and deployment.shadow > 0
    return copies and step.min_time_s >= PREVIEW_SECONDS


def _passes(criteria: HealthCriteria, count: int) -> float:
    """Return the probability that a version that fails every second request satisfies the criteria.

    Args:
        criteria: of these the ones about errors; the version may be as good as any in all else.
        count: how many requests are judged.
    """
    if count < FAST_ABORT_REQUESTS:
        return 1.0
    limit = DEFAULT_ERROR_RATE if criteria.max_error_rate is None else criteria.max_error_rate
    if criteria.compare_with_stable:
        limit = min(limit, criteria.max_error_increase)
    return binomial_tail(count - math.floor(limit * count), count, 1.0 - _BAD)
