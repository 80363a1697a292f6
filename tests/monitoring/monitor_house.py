"""A Monitor on a state directory, with replicas and a gateway that push to it: all real but Ray and the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamb.clock import ManualClock
from streamb.config import load_settings
from streamb.metrics import VersionRecorder
from streamb.metrics.outcome import Outcome
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.collection.push import Member, Push, SourceOutcomes, pack_snapshots
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.opening import open_monitor
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.watches import TICK_S

MODEL, VERSION = "iris", "1.0.0"
COLUMNS = ("height", "width")


def rows_of(count: int, *, shift: float = 0.0, seed: int = 1) -> np.ndarray:
    """Rows of two columns that go together; `shift` moves the second one, in standard deviations."""
    chance = np.random.default_rng(seed)
    height = chance.normal(10, 2, count)
    return np.column_stack([height, height / 2 + chance.normal(0, 1, count) + shift * np.sqrt(2)])


def baseline_of(rows: np.ndarray, **more: Any) -> Baseline:
    return Baseline.learn(dict(zip(COLUMNS, rows.T, strict=True)), rows[:, 0] > 10, **more)


class MonitorHouse:
    """One replica of `iris 1.0.0`, one gateway, and the Monitor, which can be started again."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.settings = load_settings(state_dir=folder, drift_sensitivity="medium", **settings)
        self.core: MonitorCore = open_monitor(self.settings, self.clock)
        self.replica = Collector("replica", "i1", MODEL, VERSION, self.clock, columns=COLUMNS)
        self.recorder = VersionRecorder(MODEL, VERSION)
        self._sequence = 0
        self._seed = 10

    def restart(self, *, kill: bool = False) -> None:
        """A new Monitor on what the last one wrote; `kill`: it did not get to say goodbye."""
        if kill:
            self.core._aggregator.close()  # what was acknowledged is on the disk; the file must be let go of
            self.core._alerting.close()
        else:
            self.core.close()
        self.core = open_monitor(self.settings, self.clock)

    def close(self) -> None:
        self.core.close()

    def serve(self, count: int = 300, *, shift: float = 0.0, latency_s: float = 0.01, failed: int = 0) -> None:
        """So many rows are answered, and counted on both sides."""
        self._seed += 1
        rows = rows_of(count, shift=shift, seed=self._seed)
        self.replica.observe(rows, rows[:, 0] > 10)
        for _ in range(count):
            self.recorder.answered(latency_s, 1)
        for _ in range(failed):
            self.recorder.failed(Outcome.MODEL_ERROR, 500, latency_s)

    def label(self, labels: int, correct: int) -> None:
        self.recorder.learned("labels", labels)
        self.recorder.learned("correct", correct)

    def push(self, *, replica: bool = True, gateway: bool = True) -> None:
        if replica:
            self.replica.fold()
            push = self.replica.take()
            self.replica.acknowledged(push, self.core.receive(push))
        if gateway:
            self._sequence += 1
            told = SourceOutcomes("gateway", "g1", pack_snapshots([self.recorder.snapshot()]))
            self.core.receive(Push((Member("gateway", "g1", self._sequence),), outcomes=(told,)))

    def go_on(self, seconds: float = TICK_S, *, pushing: bool = True, **served: Any) -> None:
        """Time passes: requests, pushes, looks."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            if served:
                self.serve(**served)
            if pushing:
                self.push()
            self.core.tick()

    def baseline(self, rows: int = 5000, **more: Any) -> dict[str, Any]:
        data = baseline_of(rows_of(rows), **more).to_bytes()
        return self.core.set_baseline(MODEL, VERSION, data, author="ann", features=list(COLUMNS))

    def health(self) -> dict[str, Any]:
        return self.core.health(MODEL, VERSION)

    def firing(self) -> set[str]:
        return {one["labels"]["alertname"] for one in self.alerts() if one["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        return [one.to_json() for one in self.core._alerting.manager.list_alerts().items]
