"""A runtime in memory: apps start when the test says so."""

from __future__ import annotations

from streamb.rollouts import AppPhase, AppSpec, AppStatus


class FakeRuntime:
    def __init__(self) -> None:
        self.state: dict[str, AppStatus] = {}
        self.specs: dict[str, AppSpec] = {}
        self.stopped: list[str] = []
        self.acknowledged_epoch = 0
        self.busy: dict[str, int] = {}

    def start(self, spec: AppSpec) -> None:
        self.specs[spec.app] = spec
        self.state.setdefault(spec.app, AppStatus(AppPhase.STARTING))

    def stop(self, app: str) -> None:
        self.stopped.append(app)
        self.state.pop(app, None)

    def apps(self) -> dict[str, AppStatus]:
        return dict(self.state)

    def acknowledged(self, epoch: int) -> bool:
        return self.acknowledged_epoch >= epoch

    def in_flight(self, app: str) -> int:
        return self.busy.get(app, 0)

    def become(self, phase: AppPhase, reason: str = "") -> None:
        """Every app that is starting becomes this."""
        for app, status in self.state.items():
            if status.phase is AppPhase.STARTING:
                self.state[app] = AppStatus(phase, 1, reason)
