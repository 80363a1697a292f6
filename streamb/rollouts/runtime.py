"""What rollouts ask of whatever runs model versions. The cluster implements it over Ray Serve; tests in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class AppPhase(StrEnum):
    """What an app (one model version's set of replicas) is doing."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class AppSpec:
    """What to run.

    Attributes:
        app: a name that was never used before.
        blob: digest of the artifact's bytes in the artifact store.
    """

    app: str
    model_id: str
    version: str
    blob: str


@dataclass(frozen=True, slots=True)
class AppStatus:
    """What runs.

    Attributes:
        replicas: how many replicas answer.
        reason: in words, when it is not running.
    """

    phase: AppPhase
    replicas: int = 0
    reason: str = ""


class Runtime(Protocol):
    """Starts, watches and stops apps. Every call returns soon; the work goes on in the background."""

    def start(self, spec: AppSpec) -> None:
        """Begin to start an app. Starting one that exists already changes nothing."""
        ...

    def scale(self, app: str, replicas: int) -> None:
        """Begin to bring an app to at least so many replicas, or down to them where it has more.

        Asked again for the same number, it changes nothing and costs nothing: the caller repeats itself until `apps`
        shows the number. An app that does not exist stays that way.
        """
        ...

    def stop(self, app: str) -> None:
        """Begin to stop an app. Stopping one that does not exist changes nothing."""
        ...

    def apps(self) -> Mapping[str, AppStatus]:
        """Every app that exists, by name."""
        ...

    def acknowledged(self, epoch: int) -> bool:
        """True when every live gateway routes by a table of this epoch or a later one."""
        ...

    def in_flight(self, app: str) -> int:
        """How many requests the gateways have waiting for an answer from this app."""
        ...
