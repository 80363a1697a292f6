"""River's drift detectors, with their default settings, on the streams of `benchmarks.concept_streams`.

    python -m benchmarks.peers.river_detectors STREAMS ODD_STREAMS RUNS SEED

Runs in an interpreter that has River; writes one JSON document.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import river
from river import drift
from river.drift import binary

from benchmarks.concept_streams import Make, Step, measure

DETECTORS: dict[str, Callable[[], Any]] = {
    "ADWIN": drift.ADWIN,
    "DDM": binary.DDM,
    "HDDM_A": binary.HDDMA,
    "HDDM_W": binary.HDDMW,
    "PageHinkley": drift.PageHinkley,
}


def adapt(new: Callable[[], Any]) -> Make:
    """A River detector as the streams want it."""

    def make(_: np.random.Generator) -> Step:
        detector = new()

        def step(wrong: int) -> bool:
            detector.update(wrong)
            return bool(detector.drift_detected)

        return step

    return make


def main() -> None:
    """Measure every detector."""
    streams, odd_streams, runs, seed = map(int, sys.argv[1:])
    found = [
        dataclasses.asdict(measure(name, adapt(new), streams=streams, odd_streams=odd_streams, runs=runs, seed=seed))
        for name, new in DETECTORS.items()
    ]
    json.dump({"version": river.__version__, "detectors": found}, sys.stdout)


if __name__ == "__main__":
    main()
