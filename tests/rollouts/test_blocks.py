from streamb.metrics import LatencyHistogram
from streamb.rollouts.blocks import BLOCK_S, MOST, Blocks


def so_far(seconds: int) -> tuple[LatencyHistogram, LatencyHistogram]:
    """A target with one request per second and a stable version with two."""
    return LatencyHistogram.of([0.02] * seconds), LatencyHistogram.of([0.01] * seconds * 2)


def test_looks_are_put_together_to_blocks_that_add_up():
    blocks = Blocks()
    seen = [blocks.add(second, *so_far(second)) for second in range(1, 8)]
    assert [len(closed) for closed in seen] == [0, 1, 1, 2, 2, 3, 3]
    assert [(mine.count, theirs.count) for mine, theirs in seen[-1]] == [(2, 4)] * 3


def test_however_long_it_takes_they_are_few_and_grow():
    blocks = Blocks()
    for second in range(1, 1001):
        closed = blocks.add(second, *so_far(second))
        assert len(closed) < MOST
        assert second <= MOST * BLOCK_S or len(closed) >= MOST // 2
    assert {mine.count for mine, _ in closed} == {32}, "seconds each"


def test_a_look_that_comes_late_closes_one_longer_block():
    blocks = Blocks()
    blocks.add(2, *so_far(2))
    assert [mine.count for mine, _ in blocks.add(9, *so_far(9))] == [2, 7]
