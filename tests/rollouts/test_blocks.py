from streamb.metrics import LatencyHistogram
from streamb.rollouts.blocks import BLOCK_S, LEAST, MOST, Blocks


def so_far(seconds: int, rate: int = 10) -> tuple[LatencyHistogram, LatencyHistogram]:
    """A target with `rate` requests per second and a stable version with twice as many."""
    return LatencyHistogram.of([0.02] * seconds * rate), LatencyHistogram.of([0.01] * seconds * rate * 2)


def test_looks_are_put_together_to_blocks_that_add_up():
    blocks = Blocks()
    seen = [blocks.add(second, *so_far(second)) for second in range(1, 13)]
    assert [len(closed) for closed in seen] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [(mine.count, theirs.count) for mine, theirs in seen[-1]] == [(40, 80)] * 3


def test_however_long_it_takes_they_are_few_and_grow():
    blocks = Blocks()
    for second in range(1, 1001):
        closed = blocks.add(second, *so_far(second))
        assert len(closed) < MOST
        assert second <= MOST * BLOCK_S or len(closed) >= MOST // 2
    assert {mine.count for mine, _ in closed} == {320}, "32 seconds each"


def test_with_little_traffic_they_wait_for_enough_requests():
    blocks = Blocks()
    closed = [blocks.add(second, *so_far(second, rate=1)) for second in range(1, 101)][-1]
    assert [mine.count for mine, _ in closed] == [LEAST] * 5


def test_a_look_that_comes_late_closes_one_longer_block():
    blocks = Blocks()
    blocks.add(4, *so_far(4))
    assert [mine.count for mine, _ in blocks.add(13, *so_far(13))] == [40, 90]
