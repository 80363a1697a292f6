"""Streams of right and wrong answers, and what a drift detector makes of them. Needs numpy only: peers run it too."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

USUAL: Final = 0.2
RISES: Final = (0.25, 0.3, 0.4)
BEFORE: Final = 5000
AFTER: Final = 5000
STREAM: Final = 100_000
STICKY: Final = 0.2
SWING: Final = 0.03
SEASON: Final = 5000

Step = Callable[[int], bool]
"""Takes 1 for an error, 0 for a right answer; answers whether the alarm is raised."""

Make = Callable[[np.random.Generator], Step]
"""Makes a new detector, which may draw a baseline of its own."""


Kind = Callable[[np.random.Generator, float, int], list[int]]
"""Draws a stream with an error rate and a length."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of one detector.

    Attributes:
        alarms: false alarms in each stationary stream of `STREAM` labels.
        delays: by rise, in labels from the change to the alarm; None where there was none within `AFTER`.
        sticky: false alarms in streams whose errors come in clusters.
        seasonal: false alarms in streams whose error rate swings about the usual one.
        micros: microseconds for a label.
    """

    name: str
    alarms: list[int]
    delays: dict[str, list[int | None]]
    sticky: list[int]
    seasonal: list[int]
    micros: float


def independent(random: np.random.Generator, rate: float, count: int) -> list[int]:
    """Errors that know nothing of each other."""
    return list((random.random(count) < rate).astype(int).tolist())


def sticky(random: np.random.Generator, rate: float, count: int) -> list[int]:
    """The same error rate, but each answer is that of the row before with the chance `STICKY` (the autocorrelation)."""
    fresh, copies = random.random(count) < rate, random.random(count) < STICKY
    copies[0] = False
    origin = np.maximum.accumulate(np.where(copies, 0, np.arange(count)))
    return list(fresh[origin].astype(int).tolist())


def seasonal(random: np.random.Generator, rate: float, count: int) -> list[int]:
    """The error rate swings by `SWING` to both sides, once in `SEASON` labels."""
    rates = rate + SWING * np.sin(2 * np.pi * np.arange(count) / SEASON)
    return list((random.random(count) < rates).astype(int).tolist())


def false_alarms(make: Make, random: np.random.Generator, stream: Sequence[int]) -> int:
    """How often a detector, made anew after each alarm, speaks up in a stream."""
    count, step = 0, make(random)
    for wrong in stream:
        if step(wrong):
            count += 1
            step = make(random)
    return count


def delay(make: Make, random: np.random.Generator, rise: float) -> int | None:
    """Labels from the change to the alarm; alarms before the change start the detector anew."""
    step = make(random)
    for wrong in independent(random, USUAL, BEFORE):
        if step(wrong):
            step = make(random)
    for taken, wrong in enumerate(independent(random, rise, AFTER), 1):
        if step(wrong):
            return taken
    return None


def measure(name: str, make: Make, *, streams: int, odd_streams: int, runs: int, seed: int) -> Measured:
    """All of it for one detector; the same seed gives every detector the same streams."""
    alarms: list[int] = []
    odd: dict[Kind, list[int]] = {sticky: [], seasonal: []}
    began = time.process_time()
    for one in range(streams):
        drawn = independent(np.random.default_rng([seed, 1, one]), USUAL, STREAM)
        alarms.append(false_alarms(make, np.random.default_rng([seed, 2, one]), drawn))
    micros = (time.process_time() - began) * 1e6 / max(1, streams * STREAM)
    for kind, found in odd.items():
        for one in range(odd_streams):
            drawn = kind(np.random.default_rng([seed, 3, one]), USUAL, STREAM)
            found.append(false_alarms(make, np.random.default_rng([seed, 4, one]), drawn))
    delays = {
        str(rise): [delay(make, np.random.default_rng([seed, 5, run]), rise) for run in range(runs)] for rise in RISES
    }
    return Measured(name, alarms, delays, odd[sticky], odd[seasonal], micros)
