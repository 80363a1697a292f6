"""What replicas and gateways would tell the Monitor: rows and outcomes of a version, pushed as they push them."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamb.metrics import LatencyHistogram, Snapshot
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.collection.push import Member, Push, SourceOutcomes, pack_snapshots
from tests.api.fakes import InProcess

MODEL, VERSION = "churn", "1.0.0"
NAMES = ("x0", "x1", "x2")


def rows(count: int, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """Normal rows, the second feature moved by `shift` standard deviations."""
    found = np.random.default_rng(seed).normal(size=(count, len(NAMES)))
    found[:, 1] += shift
    return found


def answers(features: np.ndarray) -> np.ndarray:
    """What the sample model predicts."""
    return (features[:, 0] > 0).astype(int)


class Traffic:
    """A replica and a gateway of one version."""

    def __init__(self, backend: InProcess, model_id: str = MODEL, version: str = VERSION) -> None:
        self._backend = backend
        self._key = model_id, version
        self._replica = Collector("replica-1", "a", model_id, version, backend.clock, columns=NAMES)
        self._counted = 0
        self._pushed = 0

    def push(
        self,
        count: int,
        *,
        shift: float = 0.0,
        seed: int = 1,
        errors: int = 0,
        latency_s: float = 0.01,
        labels: int = 0,
    ) -> None:
        """Answer so many rows, one a request, and tell the Monitor; which then looks. Labels are all right ones."""
        core = self._backend.core
        self._heard()  # a new baseline comes with the answer to a push
        features = rows(count, shift=shift, seed=seed)
        self._replica.observe(features, answers(features))
        self._replica.fold()
        self._heard()
        self._counted += count
        self._pushed += 1
        outcomes = {"ok": self._counted - errors, "model_error": errors}
        latency = LatencyHistogram.of([latency_s] * self._counted)
        feedback = {"labels": labels, "correct": labels}
        snapshot = Snapshot(*self._key, counts=outcomes, latency=latency, feedback=feedback)
        told = SourceOutcomes("gateway-1", "a", pack_snapshots([snapshot]))
        core.receive(Push((Member("gateway-1", "a", self._pushed),), outcomes=(told,)))
        core.tick()

    def _heard(self) -> None:
        push = self._replica.take()
        self._replica.acknowledged(push, self._backend.core.receive(push))


def baseline_body(count: int = 2000, **more: Any) -> dict[str, Any]:
    """Rows as JSON."""
    features = rows(count, seed=9)
    return {"model_id": MODEL, "instances": features.tolist(), "predictions": answers(features).tolist(), **more}
