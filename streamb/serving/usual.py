"""How long a version usually takes, as this gateway measures it: the yardstick for when another version is late."""

from __future__ import annotations

import math
from typing import Final

from streamb.metrics import LatencyHistogram, Snapshot

TIMES_P99: Final = 3.0
"""An answer is late after this many times the 99th percentile of the usual latency."""

SHORTEST_S: Final = 1.0
"""No version gets less time than this (seconds), however fast the other one is."""

MIN_SAMPLES: Final = 50
_WINDOW_S: Final = 30.0


class Usual:
    """The usual time of a version's answers, from its latencies of the last 30 to 60 seconds, or of all time if these
    are fewer than 50. Fed with the snapshots that a gateway makes once a second, so requests pay nothing for it.
    """

    __slots__ = ("_late_s", "_older", "_rows", "_since", "_start")

    def __init__(self) -> None:
        self._late_s = math.inf
        self._rows = 1.0
        self._older = LatencyHistogram()
        self._start = LatencyHistogram()
        self._since = -math.inf

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Take over the version's counts.

        Args:
            snapshot: all counts since the gateway started.
            now: the present time on the monotonic clock, in seconds.
        """
        try:
            recent = snapshot.latency.minus(self._older)
        except ValueError:  # the counts began anew
            self._older = self._start = LatencyHistogram()
            recent = snapshot.latency
        if recent.count < MIN_SAMPLES:
            recent = snapshot.latency
        slowest = recent.quantile(0.99) if recent.count >= MIN_SAMPLES else None
        self._late_s = math.inf if slowest is None else TIMES_P99 * slowest
        self._rows = max(1.0, snapshot.rows / snapshot.ok) if snapshot.ok else 1.0
        if now - self._since >= _WINDOW_S:
            self._older, self._start, self._since = self._start, snapshot.latency, now

    @property
    def quick_s(self) -> float:
        """Half of the time after which an answer is late, in seconds; infinite if that is unknown."""
        return max(SHORTEST_S, self._late_s) / 2

    def allows_s(self, rows: int) -> float:
        """Return after how many seconds an answer to a request of so many rows is late; infinite if that is unknown.

        A request with more rows than usual may take longer in proportion.
        """
        return max(SHORTEST_S, self._late_s * max(1.0, rows / self._rows))
