"""The latest drift score of each version from the Monitor, for judging deployments; in memory, it is sent again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streamb.clock import Clock

FRESH_S: Final = 60.0
"""The age in seconds up to which a score is used: with an older one the Monitor may be dead or have no data."""


class DriftScores:
    """The newest drift score of each model version. Safe to use from several threads.

    A version that the latest report does not name (too few rows, or no recent ones) has no score. There are no scores
    once the Monitor stops reporting. A judgement without a score is inconclusive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at = -math.inf
        self._scores: dict[tuple[str, str], tuple[float, bool]] = {}

    def take(self, report: Iterable[Mapping[str, Any]]) -> None:
        """Store the Monitor's report in place of the previous one.

        Args:
            report: for each version with a score: `model_id`, `version`, `score` (0 to 1), and `proven` (True if chance
                is ruled out as its reason).
        """
        scores = {(one["model_id"], one["version"]): (float(one["score"]), bool(one["proven"])) for one in report}
        with self._lock:
            self._at = self._clock.monotonic()
            self._scores = scores

    def of(self, model_id: str, version: str) -> tuple[float, bool] | None:
        """Return the version's score and whether chance is ruled out; None if there is no score of the last minute."""
        with self._lock:
            if self._clock.monotonic() - self._at > FRESH_S:
                return None
            return self._scores.get((model_id, version))
