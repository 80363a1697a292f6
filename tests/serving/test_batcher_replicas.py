"""How many calls a version may have in flight, and deadlines that differ within one queue."""

import numpy as np
import pytest

from streamb.errors import DeadlineExceeded
from streamb.serving import GatewayLimits
from tests.serving.batcher_desk import Desk


async def test_every_replica_has_its_own_two_calls():
    desk = Desk(replica_count=3)
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(8)]
    await desk.settle()
    assert [batch.counts for _, batch, _ in desk.calls] == [(1,)] * 6, "two for each of three replicas, the rest waits"
    await desk.answer()
    assert desk.calls[-1][1].counts == (1, 1)
    while desk.calls:
        await desk.answer()
    assert all(future.done() for future in futures)
    assert desk.is_empty()


async def test_while_no_replica_is_known_calls_begin_as_for_one():
    desk = Desk(replica_count=0)
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(3)]
    await desk.settle()
    assert len(desk.calls) == 2
    while desk.calls:
        await desk.answer()
    assert all(future.done() for future in futures)


async def test_a_request_with_less_time_fails_on_time_behind_one_with_more():
    desk = Desk(GatewayLimits(calls_per_replica=1, request_timeout_s=30))
    lane = desk.lane()
    running = desk.submit(lane, 0)
    await desk.settle()
    patient = desk.submit(lane, 1)
    hurried = desk.batcher.admit(np.array([[2.0]]), probabilities=False, timeout_s=5)
    future = desk.batcher.submit(lane, hurried)
    desk.sweep(6)
    with pytest.raises(DeadlineExceeded):
        await future
    assert not patient.done()
    await desk.answer()
    await desk.answer()
    assert (await running).predictions.tolist() == [0]
    assert (await patient).predictions.tolist() == [10]
    assert desk.is_empty()
