"""Latencies of two versions in blocks of seconds: a machine that is busy for some seconds is one event, not many.

Requests that arrive within seconds of each other share the state of the machine, so they are no independent evidence;
blocks that are longer than such a state lasts nearly are. How long it lasts is not known: therefore the blocks grow
with the time of observation. Once there are `MOST` blocks, neighbours are merged and all later blocks last twice as
long. So memory and work stay small, and a longer observation rests on blocks that are more independent.
"""

from __future__ import annotations

from typing import Final

from streamb.metrics.histogram import LatencyHistogram

BLOCK_S: Final = 4.0
"""The length of the first blocks in seconds."""
LEAST: Final = 20
"""A block lasts until both versions have so many latencies in it: fewer show nothing of a 95th percentile."""
MOST: Final = 32
"""At so many blocks, neighbours are merged; so there are 16 at least once there were 32."""

Block = tuple[LatencyHistogram, LatencyHistogram]
"""The latencies of the target and of the stable version in the same seconds."""


class Blocks:
    """The blocks of one observation."""

    def __init__(self) -> None:
        self._closed: list[Block] = []
        self._length = BLOCK_S
        self._began = 0.0
        self._before: Block = (LatencyHistogram(), LatencyHistogram())

    def add(self, seconds: float, target: LatencyHistogram, stable: LatencyHistogram) -> tuple[Block, ...]:
        """Return the closed blocks, after a look at both versions' latencies since the observation began.

        Args:
            seconds: the time of the look, in seconds since the observation began.
            target: all latencies of the target so far.
            stable: all latencies of the stable version so far.
        """
        if seconds - self._began >= self._length:
            self._close(seconds, target, stable)
        if len(self._closed) >= MOST:
            self._closed = list(map(_merged, self._closed[::2], self._closed[1::2]))
            self._length *= 2.0
        return tuple(self._closed)

    def _close(self, seconds: float, target: LatencyHistogram, stable: LatencyHistogram) -> None:
        block = target.minus(self._before[0]), stable.minus(self._before[1])
        if min(block[0].count, block[1].count) >= LEAST:
            self._closed.append(block)
            self._began, self._before = seconds, (target, stable)


def _merged(one: Block, other: Block) -> Block:
    return LatencyHistogram.merge((one[0], other[0])), LatencyHistogram.merge((one[1], other[1]))
