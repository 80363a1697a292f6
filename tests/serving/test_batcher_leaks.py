"""Whatever happens to requests and calls, nothing is left behind."""

import asyncio
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import ModelFailed, Overloaded, StreambError, Unavailable
from streamb.serving import BatchReply, GatewayLimits
from streamb.serving.lane import ClientGone
from tests.serving.asgi_client import Connection
from tests.serving.batcher_desk import Desk

STEPS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 2), st.integers(1, 5)),
    st.tuples(st.just("answer"), st.integers(0, 9)),
    st.tuples(st.sampled_from(["dies", "model fails", "crashes", "wrong length"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["cancel", "disconnect", "leave"]), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.02, 1.0, 3.0])),
)
LIMITS = st.builds(
    GatewayLimits,
    max_concurrent_requests=st.integers(1, 8),
    max_queued_requests=st.integers(0, 6),
    max_batch_rows=st.integers(1, 8),
    calls_per_replica=st.integers(1, 2),
    request_timeout_s=st.just(5.0),
)
FAILURES = {"dies": Unavailable("died"), "model fails": ModelFailed("bad"), "crashes": RuntimeError("bug")}


@settings(max_examples=60, deadline=None)
@given(LIMITS, st.lists(STEPS, max_size=40))
def test_nothing_leaks_whatever_happens(limits, steps):
    asyncio.run(_live_through(limits, steps))


async def _live_through(limits, steps) -> None:
    desk = Desk(limits)
    lanes = [desk.lane(f"{number}.0.0") for number in range(3)]
    taken = []
    for number, (kind, *what) in enumerate(steps):
        if kind == "submit":
            await _submit(desk, lanes[what[0]], [number * 100 + row for row in range(what[1])], taken)
        elif kind == "wait":
            desk.sweep(what[0])
        elif kind in ("cancel", "disconnect", "leave"):
            _leave(desk, kind, taken, what[0])
        elif desk.calls:
            await _end_call(desk, kind, what[0] % len(desk.calls))
        await desk.settle()
        _check_counts(desk, limits, lanes)
    while desk.calls:
        await _end_call(desk, "answer", 0)
    _check_answers(taken)
    assert desk.is_empty()
    assert all(lane.size == 0 and lane.calls == 0 for lane in lanes)
    await desk.batcher.close()


async def _submit(desk, lane, values, taken) -> None:
    connection = Connection()
    await connection.receive()
    try:
        taken.append((values, desk.submit(lane, *values, connection=connection), connection))
    except Overloaded:
        assert desk.batcher.queued == desk.limits.max_queued_requests


def _leave(desk, kind, taken, index) -> None:
    if taken:
        _, future, connection = taken[index % len(taken)]
        if kind == "cancel":
            future.cancel()
        elif kind == "leave":
            desk.leave(future)
        else:
            connection.disconnect()


def _check_answers(taken) -> None:
    for values, future, _ in taken:
        assert future.done()
        if future.cancelled():
            continue
        error = future.exception()
        assert error is None or isinstance(error, (StreambError, ClientGone))
        if error is None:
            assert future.result().predictions.tolist() == [value * 10 for value in values]


async def _end_call(desk, kind, index) -> None:
    if desk.calls[index][2].done():  # cancelled by the sweep
        desk.calls.pop(index)
    elif kind == "answer":
        await desk.answer(index)
    elif kind == "wrong length":
        desk.calls.pop(index)[2].set_result(BatchReply(np.zeros(0)))
    else:
        await desk.fail(FAILURES[kind], index)


def _check_counts(desk, limits, lanes) -> None:
    batcher = desk.batcher
    assert 0 <= batcher.queued <= limits.max_queued_requests
    assert 0 <= batcher.in_flight <= limits.max_concurrent_requests
    assert batcher.queued == sum(len(lane.queue) for lane in lanes)
    assert batcher.in_flight == sum(lane.in_flight for lane in lanes)
    assert all(lane.calls <= limits.calls_per_replica for lane in lanes)
    assert Counter(batcher._queues.lanes) == Counter(lane for lane in lanes if lane.queue)
    for _, batch, _ in desk.calls:
        assert len(batch.counts) == 1 or sum(batch.counts) <= limits.max_batch_rows
    free = limits.max_concurrent_requests - batcher.in_flight
    starving = [lane for lane in lanes if lane.queue and not lane.in_flight]
    assert not (starving and free), "a version with nothing in flight waits although there is a place"
