"""Memory growth over a soak."""

from __future__ import annotations

import pytest

from benchmarks.loadgen import LoadResult
from benchmarks.soak import MemorySample, SoakResult, growth, slope_bytes_per_s

GOOD = LoadResult(1000, 60.0, 0, 0, 0, 1.0, 2.0, 3.0)


def memory(after_settling: float, seconds: int = 60) -> tuple[MemorySample, ...]:
    """1,000 MB, doubling within the first 10 s, then growing linearly by a share until the end."""
    return tuple(
        MemorySample(t, round(1e9 * min(1 + t / 10, 2) * (1 + after_settling * max(t - 15, 0) / 45)))
        for t in range(seconds + 1)
    )


def test_growth_while_it_settles_does_not_count() -> None:
    assert growth(memory(0.0)) == 0.0
    assert slope_bytes_per_s(memory(0.0)) == pytest.approx(0.0)
    assert SoakResult(GOOD, memory(0.0)).passed


def test_growth_afterwards_does() -> None:
    grown = SoakResult(GOOD, memory(0.05))
    assert growth(grown.memory) == pytest.approx(0.05, abs=0.006)
    assert slope_bytes_per_s(grown.memory) == pytest.approx(2e9 * 0.05 / 45, rel=0.01)
    assert not grown.passed
    assert "FAIL  memory" in grown.describe()


def test_one_failed_request_fails_the_soak() -> None:
    failed = SoakResult(LoadResult(1000, 60.0, 2, 0, 1, 1.0, 2.0, 3.0, {200: 998, 503: 2}), memory(0.0))
    assert not failed.passed
    assert "FAIL  failed requests: 3 (503: 2, timeouts: 1)" in failed.describe()


def test_a_short_soak_is_judged_too() -> None:
    short = tuple(MemorySample(t, 1_000_000) for t in range(4))
    assert growth(short) == 0.0
