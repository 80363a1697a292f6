"""Checks on every node of a cluster, before anything is started: the state directory, the database, the artifacts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streamb.cluster.room import alive_nodes
from streamb.config import Settings
from streamb.control.storage import LIMIT_S, check_node
from streamb.errors import StartFailed
from streamb.security.platform_key import PlatformKey

_ANSWER_S: Final = 3 * LIMIT_S
"""How long a node may take to answer, in seconds: a worker has to start there, and each store may take its limit."""


def check_nodes(settings: Settings, timeout_s: float = _ANSWER_S) -> list[str]:
    """Return what is wrong on nodes of the cluster, a sentence for each; empty if it has one node, or all are well.

    Args:
        settings: the settings of the platform.
        timeout_s: how long the nodes may take to answer, in seconds.

    Raises:
        StorageFailed: the platform key cannot be created in the state directory.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = alive_nodes()
    if len(nodes) < 2:
        return []
    sealed = PlatformKey.create(settings.state_dir).seal(settings.resolved_database_url.encode())
    task = ray.remote(check_node)
    asked = {}
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": here}
        asked[task.options(**options).remote(settings.without_secrets(), sealed)] = _name(node)
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    for reference in late:
        ray.cancel(reference, force=True)
    problems = [f"node {asked[reference]}: did not answer within {timeout_s:g} s" for reference in late]
    for reference in answered:
        try:
            problems += [f"node {asked[reference]}: {problem}" for problem in ray.get(reference)]
        except ray.exceptions.RayError as error:
            problems.append(f"node {asked[reference]}: the check failed there: {_last_line(error)}")
    return sorted(problems)


def refuse_nodes(problems: Iterable[str]) -> None:
    """Raise StartFailed if nodes have problems; the message names each."""
    if found := list(problems):
        raise StartFailed(
            f"the platform cannot run on every node of the cluster: {'; '.join(found)}; see docs/cluster.md, "
            "What every node needs",
            nodes=found,
        )


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
