"""How much memory and CPU a platform needs, and whether there is as much. Pure arithmetic on measured sizes.

Sizes that are not known are counted as what every process needs at least, and named; what is not known of the machine
is no reason to refuse anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from streamb.config import Settings
from streamb.rollouts.runtime import DEFAULT_RUN, Resources

PROCESS_MB: Final = 185.0
"""Memory of one replica, gateway or console with a small model, in MB (measured: docs/log.md)."""
PLATFORM_MB: Final = 1_350.0
"""Memory of a platform at rest without models: Ray, Controller, Monitor, edge, one gateway, one console (measured)."""
PLATFORM_CORES: Final = 0.2
"""Share of a core that a platform without models uses at rest (measured)."""
PROCESS_CORES: Final = 0.021
"""Share of a core that a replica or gateway adds at rest (measured: with 30 replicas it was 84 % of a core)."""
_REST_SHARE: Final = 0.5
"""A platform that takes more than this share of the cores at rest does not fit."""
_GB: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Room:
    """What a machine or a cluster has; None where it is not known.

    Attributes:
        where: "this machine", or "the cluster of 3 nodes".
        memory_mb: memory that the platform may use, in MB.
        cpus: CPUs that Ray hands out; every replica reserves a share of them.
        cores: real cores.
        gpus: GPUs that Ray hands out.
    """

    where: str
    memory_mb: float | None = None
    cpus: float | None = None
    cores: float | None = None
    gpus: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """The replicas of one version.

    Attributes:
        version: for people: "iris 1.0.0".
        replicas: their number.
        memory_mb: what one needs, as the trial of the version measured it; None: not known.
        resources: what its deployment reserves for each of them.
    """

    version: str
    replicas: int
    memory_mb: float | None = None
    resources: Resources = DEFAULT_RUN.resources

    @property
    def total_mb(self) -> float:
        """Memory of all replicas, in MB: what is reserved for them, and at least what they are known to need."""
        return self.replicas * max(self.memory_mb or 0.0, self.resources.memory_mb or 0.0, PROCESS_MB)


@dataclass(frozen=True, slots=True)
class Need:
    """What a platform needs.

    Attributes:
        shares: the versions that run.
        gateways, consoles: numbers of these processes.
        replica_cpus: share of a CPU that each replica reserves whose deployment does not say another.
        each: replicas of a further version, for people who will deploy one.
    """

    shares: tuple[Share, ...]
    gateways: int
    consoles: int
    replica_cpus: float
    each: int

    @classmethod
    def of(cls, settings: Settings, shares: Iterable[Share]) -> Need:
        """Return the need of a platform with these settings and versions."""
        found = (settings.gateway_replicas, settings.console_replicas, settings.replica_cpus, settings.min_instances)
        return cls(tuple(shares), *found)

    @property
    def replicas(self) -> int:
        """Number of replicas of all versions."""
        return sum(share.replicas for share in self.shares)

    @property
    def memory_mb(self) -> float:
        """About how much memory all processes of the platform need, in MB."""
        more = self.gateways - 1 + self.consoles - 1
        return PLATFORM_MB + more * PROCESS_MB + sum(share.total_mb for share in self.shares)

    @property
    def cpus(self) -> float:
        """CPUs that the replicas reserve."""
        each = ((share, share.resources.cpus) for share in self.shares)
        return round(sum(one.replicas * (self.replica_cpus if cpus is None else cpus) for one, cpus in each), 3)

    @property
    def gpus(self) -> float:
        """GPUs that the replicas reserve."""
        return round(sum(share.replicas * share.resources.gpus for share in self.shares), 3)

    @property
    def cores_at_rest(self) -> float:
        """Cores in use when nobody asks anything."""
        return PLATFORM_CORES + (self.replicas + self.gateways) * PROCESS_CORES

    @property
    def unknown(self) -> list[str]:
        """The versions whose size is not known."""
        return [one.version for one in self.shares if one.memory_mb is None and one.resources.memory_mb is None]

    def words(self) -> str:
        """Return the need in one sentence."""
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        text = (
            f"{self.replicas} replica(s) of {len(self.shares)} version(s), {self.gateways} gateway(s): about "
            f"{self.memory_mb / _GB:.1f} GB of memory, {self.cpus:g} CPUs{gpus} reserved, {self.cores_at_rest:.1f} "
            f"cores at rest; each further version takes {self.each} replica(s), {self.each * PROCESS_MB / _GB:.1f} GB "
            "or more"
        )
        if unknown := self.unknown:
            text += f" (the size of {', '.join(unknown)} is unknown and counted as {PROCESS_MB:g} MB a replica)"
        return text

    def facts(self, room: Room) -> dict[str, Any]:
        """Return the need and what the cluster has, as the details of an error."""
        return {
            "replicas": self.replicas,
            "memory_mb": round(self.memory_mb),
            "cpus": self.cpus,
            "gpus": self.gpus,
            "cores_at_rest": round(self.cores_at_rest, 2),
            "unknown": self.unknown,
            "room": {"memory_mb": room.memory_mb, "cpus": room.cpus, "cores": room.cores, "gpus": room.gpus},
        }


def shortages(need: Need, room: Room) -> list[str]:
    """Return in words what is not enough; empty if all fits, or if it is not known what there is."""
    found = []
    if room.memory_mb is not None and need.memory_mb > room.memory_mb:
        found.append(f"memory: {need.memory_mb / _GB:.1f} GB are needed and {room.memory_mb / _GB:.1f} GB are there")
    if room.cpus is not None and need.cpus > room.cpus:
        found.append(f"CPUs: {need.cpus:g} are reserved and {room.cpus:g} are there")
    if room.gpus is not None and need.gpus > room.gpus:
        found.append(f"GPUs: {need.gpus:g} are reserved and {room.gpus:g} are there")
    if room.cores is not None and need.cores_at_rest > _REST_SHARE * room.cores:
        found.append(f"at rest {need.cores_at_rest:.1f} of {room.cores:g} cores would be busy")
    return found


def refusal(need: Need, room: Room, how: str) -> str:
    """Return why the platform does not fit and what to change, in one sentence; empty if it fits.

    Args:
        need: what is needed.
        room: what there is.
        how: how to go on all the same: "--yes".
    """
    found = shortages(need, room)
    if not found:
        return ""
    return (
        f"it does not fit on {room.where}: {'; '.join(found)}. Needed: {need.words()}. Lower ML_MIN_INSTANCES "
        f"({need.each}), ML_GATEWAY_REPLICAS ({need.gateways}) or ML_REPLICA_CPUS ({need.replica_cpus:g}), reserve "
        f"less (resources of the deployment), or undeploy a model; {how} goes on all the same"
    )
