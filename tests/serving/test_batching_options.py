"""What a version's `batching` says: whether its requests are joined, how many rows go together, and who may wait."""

from dataclasses import replace

import pytest

from streamb.serving import GatewayLimits
from streamb.traffic import Batching
from tests.serving.batcher_desk import Desk
from tests.serving.linked import until


def laid(batching, **limits):
    desk = Desk(GatewayLimits(calls_per_replica=1, **limits))
    lane = desk.lane()
    lane.target = replace(lane.target, batching=batching)
    return desk, lane


async def sizes(desk):
    found = []
    while desk.calls:
        found.append(desk.calls[0][1].counts)
        await desk.answer()
    return found


async def test_without_join_each_request_goes_alone():
    desk, lane = laid(Batching(join=False, max_wait_ms=1000.0))
    for value in range(3):
        desk.submit(lane, value)
    await desk.settle()
    assert await sizes(desk) == [(1,)] * 3
    assert desk.is_empty()


@pytest.mark.parametrize(("most", "found"), [(2, [(1,), (1, 1), (1, 1), (3,)]), (0, [(1,), (1, 1, 1, 1), (3,)])])
async def test_rows_of_several_requests_are_bounded_by_the_version_too(most, found):
    desk, lane = laid(Batching(max_rows=most), max_batch_rows=6)
    for value in range(5):
        desk.submit(lane, value)
    desk.submit(lane, 1, 2, 3)
    await desk.settle()
    assert await sizes(desk) == found


async def test_a_request_waits_for_company_as_long_as_it_may():
    desk, lane = laid(Batching(max_wait_ms=20.0))
    first = desk.submit(lane, 0)
    desk.clock.advance(0.015)
    second = desk.submit(lane, 1)
    await desk.settle()
    assert not desk.calls
    desk.clock.advance(0.006)
    await until(lambda: desk.calls)  # the timer is of the event loop
    assert await sizes(desk) == [(1, 1)]
    assert (await first).predictions.tolist() == [0]
    assert (await second).predictions.tolist() == [10]
    assert desk.is_empty()


async def test_a_full_call_does_not_wait_and_nobody_waits_past_half_of_its_time():
    desk, lane = laid(Batching(max_rows=3, max_wait_ms=10_000.0), request_timeout_s=4)
    desk.submit(lane, 0, 1)
    await desk.settle()
    assert not desk.calls
    desk.submit(lane, 2)
    await desk.settle()
    assert await sizes(desk) == [(2, 1)]
    desk.submit(lane, 4)
    desk.clock.advance(2.0)
    desk.end_turn()
    await desk.settle()
    assert await sizes(desk) == [(1,)]
    assert desk.is_empty()


async def test_closing_ends_the_wait_for_company():
    desk, lane = laid(Batching(max_wait_ms=10_000.0))
    future = desk.submit(lane, 0)
    await desk.batcher.close()
    assert future.exception() is not None
    assert desk.is_empty()
