"""What this machine or the cluster has for a platform: memory, CPUs, cores."""

from __future__ import annotations

from typing import Any, Final

import psutil

from streamb.cluster.session import local_cpus
from streamb.control.sizing import Room

_MB: Final = 1_000_000


def local_room() -> Room:
    """Return what this machine has for a Ray that is started on it; a container's limits count."""
    from ray._private.utils import estimate_available_memory, get_num_cpus

    cores = min(psutil.cpu_count() or 1, get_num_cpus())
    memory: int = estimate_available_memory()  # type: ignore[no-untyped-call]
    return Room("this machine", memory / _MB, local_cpus(), cores)


def cluster_room() -> Room:
    """Return what the cluster has that this process is connected to: what its nodes had free when they were started."""
    nodes = alive_nodes()
    if not nodes:
        return Room("the cluster")
    memory = sum(_memory(node["Resources"]) for node in nodes)
    cpus = sum(float(node["Resources"].get("CPU", 0)) for node in nodes)
    gpus = sum(float(node["Resources"].get("GPU", 0)) for node in nodes)
    return Room(f"the cluster of {len(nodes)} node(s)", memory / _MB if memory else None, cpus, gpus=gpus)


def alive_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _memory(resources: dict[str, float]) -> float:
    return float(resources.get("memory", 0)) + float(resources.get("object_store_memory", 0))
