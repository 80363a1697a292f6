"""What the Monitor last said of each version's drift, for the judgement of deployments. In memory: it says it again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streamb.clock import Clock

FRESH_S: Final = 60.0
"""A score that is older says nothing: the Monitor may be dead, or have no data."""


class DriftScores:
    """The newest drift score of each model version. Safe to use from several threads.

    What monitoring does not name (too few rows, or none pushed for a while) has no score; nothing has one once
    monitoring is silent. A judgement without a score is inconclusive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at = -math.inf
        self._scores: dict[tuple[str, str], tuple[float, bool]] = {}

    def take(self, report: Iterable[Mapping[str, Any]]) -> None:
        """Take in the Monitor's report, which replaces the one before it.

        Args:
            report: for each version that has one, `model_id`, `version`, `score` (0 to 1), `proven`: it is no chance.
        """
        scores = {(one["model_id"], one["version"]): (float(one["score"]), bool(one["proven"])) for one in report}
        with self._lock:
            self._at = self._clock.monotonic()
            self._scores = scores

    def of(self, model_id: str, version: str) -> tuple[float, bool] | None:
        """The version's score, and whether it is more than chance; None where nothing was said for a minute."""
        with self._lock:
            if self._clock.monotonic() - self._at > FRESH_S:
                return None
            return self._scores.get((model_id, version))
