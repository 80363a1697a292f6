"""The number of calls at once follows what is measured: a simulated replica, clients that send again when answered."""

import heapq
import statistics

import pytest

from streamb.serving import GatewayLimits
from streamb.serving.depth import Depth
from tests.serving.batcher_desk import Desk


def serve(depth, *, call_s, row_s, hop_s=0.0005, clients=16, replicas=1, seconds=60.0, fixed=0, begin_s=0.0):
    """Return how many requests were answered a second; a replica computes one call after the other."""
    now, waiting, calls, answered, free = begin_s, 0, 0, 0, [begin_s] * replicas
    events = [(begin_s + 0.0001 * number, 0) for number in range(clients)]  # when, and how many were answered
    while now < begin_s + seconds:
        now, size = heapq.heappop(events)
        if size:
            calls -= 1
            answered += size
            depth.returned(now, size, waiting + calls > 0, replicas)
            for number in range(size):  # the gateway writes one answer after the other, and its client sends again
                heapq.heappush(events, (now + 0.0003 + 0.00005 * number, 0))
        else:
            waiting += 1
        while waiting and calls < (fixed or depth.calls) * replicas:
            size = waiting if replicas == 1 else min(waiting, -(-clients // (replicas * (fixed or depth.calls))))
            waiting -= size
            calls += 1
            first = min(range(replicas), key=free.__getitem__)
            free[first] = max(now + hop_s / 2, free[first]) + call_s + row_s * size
            heapq.heappush(events, (free[first] + hop_s / 2, size))
    return answered / seconds


@pytest.mark.parametrize(("clients", "replicas"), [(1, 1), (2, 1), (3, 1), (16, 1), (64, 1), (16, 3)])
@pytest.mark.parametrize(("call_s", "row_s"), [(0.0001, 0.001), (0.005, 0), (0.005, 0.001), (0.03, 0), (0.03, 0.001)])
def test_no_fixed_depth_is_better_by_much(call_s, row_s, clients, replicas):
    case = {"call_s": call_s, "row_s": row_s, "clients": clients, "replicas": replicas, "seconds": 10.0}
    best = max(serve(Depth(), fixed=fixed, **case) for fixed in (1, 2))
    depth = Depth()
    serve(depth, **case)
    assert serve(depth, begin_s=40.0, **case) >= 0.97 * best


def test_where_calls_cost_little_there_are_two_and_where_they_cost_much_one():
    cheap, dear = Depth(), Depth()
    serve(cheap, call_s=0.00005, row_s=0.0, seconds=3.0)
    serve(dear, call_s=0.03, row_s=0.0, seconds=6.0)
    assert (cheap.calls, dear.calls) == (2, 1)


def test_what_changes_is_noticed():
    depth = Depth()
    serve(depth, call_s=0.03, row_s=0.0, seconds=20.0)
    assert depth.calls == 1
    serve(depth, call_s=0.00005, row_s=0.0, seconds=20.0, begin_s=30.0)
    assert depth.calls == 2
    serve(depth, call_s=0.03, row_s=0.0, seconds=20.0, begin_s=100.0)
    assert depth.calls == 1


def test_alone_nothing_is_tried():
    depth = Depth()
    for number in range(1000):
        depth.returned(number * 0.1, 1, busy=False, replicas=1)
    assert depth.calls == 2


def test_a_stopped_call_is_not_counted():
    depth = Depth()
    for number in range(1000):
        depth.returned(number * 30.0, 1, busy=True, replicas=1)
        depth.interrupted()
    assert depth.calls == 2


@pytest.mark.parametrize(("call_s", "row_s", "fewest"), [(0.03, 0.0, 1), (0.0, 0.0003, 2)])
async def test_the_batcher_follows(call_s, row_s, fewest):
    """Sixteen clients, a replica that needs so long for a call, and another millisecond for its way if it is alone."""
    desk = Desk(GatewayLimits(max_queued_requests=100))
    lane = desk.lane()
    depths = []
    for _ in range(400):
        while lane.size < 16:
            desk.submit(lane, 1)
        await desk.settle()
        alone = len(desk.calls) == 1
        desk.clock.advance(call_s + row_s * len(desk.calls[0][1].counts) + alone * 0.001)
        await desk.answer()
        depths.append(lane.depth.calls)
    assert statistics.mode(depths[100:]) == fewest
    while desk.calls:
        await desk.answer()
    assert desk.is_empty()
