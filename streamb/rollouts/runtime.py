"""The interface that rollouts use to run model versions. The cluster implements it with Ray Serve; tests in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from streamb.security.isolation import Isolation
from streamb.traffic import Batching


class AppPhase(StrEnum):
    """The state of an app (the replicas of one model version)."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPING = "stopping"


class Fault(StrEnum):
    """Who is to blame for an app that does not run."""

    UNKNOWN = "unknown"
    """Not known: it counts as the version's."""
    VERSION = "version"
    """The version's own behaviour: its code raised or exited, its artifact or a package is missing."""
    INFRASTRUCTURE = "infrastructure"
    """A lost node, no room on any node, a process killed from outside, Ray itself."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What Ray reserves for each replica of an app.

    Attributes:
        cpus: the number of CPUs, also fractions; None: `ML_REPLICA_CPUS`.
        memory_mb: memory in MB (millions of bytes); None: none is reserved.
        gpus: the number of GPUs, also fractions of one.
    """

    cpus: float | None = None
    memory_mb: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a version runs and is called, as its deployment says. It goes wherever the version goes.

    Attributes:
        join: whether rows of several requests go into one call; None: as its trial found.
        max_rows: the most rows of several requests in one call; 0: the limit of the gateway.
        max_wait_ms: how long a request may wait for company, in milliseconds.
        timeout_s: the longest time from a request's arrival to its answer, in seconds; None: the gateway's own limit.
        resources: what is reserved for each replica.
        isolation: where the version's own code runs.
    """

    join: bool | None = None
    max_rows: int = 0
    max_wait_ms: float = 0.0
    timeout_s: float | None = None
    resources: Resources = Resources()
    isolation: Isolation = Isolation.NONE

    def batching(self, *, may_join: bool) -> Batching:
        """Return how requests are joined, if the version's trial found that they may be."""
        join = may_join if self.join is None else self.join
        return Batching(join, self.max_rows, self.max_wait_ms)


DEFAULT_RUN: Final = RunOptions()
"""What holds for a deployment that says nothing of it, and for those of before there were such options."""


@dataclass(frozen=True, slots=True)
class AppSpec:
    """The app to run.

    Attributes:
        app: a new, unused name.
        blob: digest of the artifact's bytes in the artifact store.
        environment: what is installed for its replicas alone, as `ModelVersion.environment`.
        resources: what is reserved for each of its replicas.
        isolation: where its own code runs.
    """

    app: str
    model_id: str
    version: str
    blob: str
    environment: Mapping[str, list[str]] = field(default_factory=dict)
    resources: Resources = Resources()
    isolation: Isolation = Isolation.NONE


@dataclass(frozen=True, slots=True)
class AppStatus:
    """The state of one app.

    Attributes:
        phase: starting, running, failed or stopping.
        replicas: number of replicas that answer.
        reason: why it is not running, for people.
        fault: who is to blame if it failed, or if it does not get on with its start.
    """

    phase: AppPhase
    replicas: int = 0
    reason: str = ""
    fault: Fault = Fault.UNKNOWN


class Runtime(Protocol):
    """Starts, watches and stops apps. Every call returns soon; the work continues in the background."""

    def start(self, spec: AppSpec) -> None:
        """Begin to start an app. If it exists already, nothing changes."""
        ...

    def scale(self, app: str, replicas: int) -> None:
        """Begin to scale an app up to at least this number of replicas, or down to it if the app has more.

        Repeating the call with the same number changes nothing and costs nothing: the caller repeats it until `apps`
        shows the number. If the app does not exist, nothing happens.
        """
        ...

    def stop(self, app: str) -> None:
        """Begin to stop an app. If it does not exist, nothing happens."""
        ...

    def apps(self) -> Mapping[str, AppStatus]:
        """Return the state of every app, by name."""
        ...

    def acknowledged(self, epoch: int) -> bool:
        """Return True if every live gateway uses a routing table of this epoch or a later one."""
        ...

    def in_flight(self, app: str) -> int:
        """Return how many requests in the gateways wait for an answer from this app."""
        ...
