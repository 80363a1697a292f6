import asyncio

import numpy as np
import pytest

from streamb.clock import SystemClock
from streamb.errors import DeadlineExceeded, ModelFailed, Overloaded, Unavailable
from streamb.serving import BatchReply, GatewayLimits
from streamb.serving.batcher import Batcher
from streamb.serving.lane import ClientGone
from tests.serving.asgi_client import Connection
from tests.serving.batcher_desk import Desk


async def test_two_calls_go_at_once_and_the_rest_waits_and_goes_together():
    desk = Desk()
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(6)]
    await desk.settle()
    assert [batch.counts for _, batch, _ in desk.calls] == [(1,), (1,)]
    await desk.answer()
    assert [batch.counts for _, batch, _ in desk.calls] == [(1,), (1, 1, 1, 1)]
    await desk.answer()
    await desk.answer()
    assert [(await future).predictions.tolist() for future in futures] == [[value * 10] for value in range(6)]
    assert desk.is_empty()


async def test_what_comes_in_one_turn_of_the_event_loop_goes_together():
    desk = Desk()
    lane = desk.lane()
    for value in range(3):
        rows = np.array([[float(value)]])
        desk.batcher.submit(lane, desk.batcher.admit(rows, probabilities=False))
    assert not desk.calls
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [batch.counts for _, batch, _ in desk.calls] == [(1, 1, 1)], "no timer: at the end of the turn"
    await desk.answer()
    assert desk.is_empty()


@pytest.mark.parametrize(("places", "most"), [(10, 2), (200, 5)])
async def test_several_replicas_share_what_waits(places, most):
    """The first call to return would otherwise take all that wait to one replica, beside which the others rest."""
    desk = Desk(GatewayLimits(max_concurrent_requests=places), replica_count=4)
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(40)]
    await desk.settle()
    sizes = []
    while desk.calls:
        sizes.append(len(desk.calls[0][1].counts))
        await desk.answer()
    assert max(sizes) == most
    assert [(await future).predictions.tolist() for future in futures] == [[value * 10] for value in range(40)]
    assert desk.is_empty()


async def test_each_request_gets_its_own_rows_back():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    first = desk.submit(lane, 0)
    some = desk.submit(lane, 1, 2, 3)
    more = desk.submit(lane, 4, 5, probabilities=True)
    await desk.settle()
    await desk.answer()
    await desk.answer()
    assert (await first).predictions.tolist() == [0]
    assert (await some).predictions.tolist() == [10, 20, 30]
    assert (await some).probabilities is None
    assert (await more).predictions.tolist() == [40, 50]
    assert (await more).probabilities.tolist() == [[4, 4], [5, 5]]


async def test_rows_per_batch_are_bounded_and_a_larger_request_goes_alone():
    desk = Desk(GatewayLimits(calls_per_replica=1, max_batch_rows=4))
    lane = desk.lane()
    for values in ([0], [1, 2], [3], [4, 5], [6] * 9, [7]):
        desk.submit(lane, *values)
    await desk.settle()
    sent = []
    while desk.calls:
        sent.append(desk.calls[0][1].counts)
        await desk.answer()
    assert sent == [(1,), (2, 1), (2,), (9,), (1,)]


async def test_rows_of_different_shapes_do_not_go_together():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    for rows in (np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 3)), [["a"]], [["b"], ["c"]]):
        waiting = desk.batcher.admit(rows, probabilities=False)
        desk.batcher.submit(lane, waiting)
        desk.end_turn()
    await desk.settle()
    sent = []
    while desk.calls:
        sent.append(desk.calls[0][1])
        await desk.fail(ModelFailed("x"))
    assert [batch.counts for batch in sent] == [(1,), (1,), (1,), (1, 2)]
    assert sent[-1].rows == [["a"], ["b"], ["c"]]
    assert desk.is_empty()


async def test_one_failed_request_does_not_fail_its_batch():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(4)]
    await desk.settle()
    await desk.answer()
    _, _, answer = desk.calls.pop()
    answer.set_result(BatchReply(np.array([10.0, 30.0]), None, {1: ModelFailed("row is bad")}))
    await desk.settle()
    assert (await futures[1]).predictions.tolist() == [10]
    with pytest.raises(ModelFailed, match="row is bad"):
        await futures[2]
    assert (await futures[3]).predictions.tolist() == [30]


async def test_a_reply_of_the_wrong_length_is_an_error_of_the_version():
    desk = Desk()
    future = desk.submit(desk.lane(), 1, 2)
    await desk.settle()
    desk.calls.pop()[2].set_result(BatchReply(np.array([1.0])))
    with pytest.raises(ModelFailed, match="1 predictions for 2 rows"):
        await future
    assert desk.is_empty()


async def test_a_full_queue_refuses_with_a_time_to_come_back():
    desk = Desk(GatewayLimits(max_queued_requests=2))
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(4)]
    with pytest.raises(Overloaded) as refused:
        desk.submit(lane, 4)
    assert refused.value.details["retry_after_s"] > 0
    await desk.settle()
    while desk.calls:
        await desk.answer()
    assert len([await future for future in futures]) == 4


async def test_a_slow_version_cannot_take_the_whole_queue_from_others():
    desk = Desk(GatewayLimits(max_queued_requests=4, calls_per_replica=1))
    slow, quick = desk.lane("1.0.0"), desk.lane("2.0.0")
    slow_futures = [desk.submit(slow, value) for value in range(5)]
    quick_futures = [desk.submit(quick, value) for value in range(3)]
    await desk.settle()
    assert sum(future.done() and isinstance(future.exception(), Overloaded) for future in slow_futures) == 2
    assert not any(future.done() for future in quick_futures)
    assert desk.batcher.queued == 4


async def test_requests_inside_calls_are_bounded_over_all_versions():
    desk = Desk(GatewayLimits(max_concurrent_requests=3))
    one, other = desk.lane("1.0.0"), desk.lane("2.0.0")
    for value in range(10):
        desk.submit(one, value)
        desk.submit(other, value)
    await desk.settle()
    highest = 0
    while desk.calls:
        highest = max(highest, desk.batcher.in_flight)
        assert desk.batcher.in_flight <= 3
        await desk.answer()
    assert highest == 3
    assert desk.is_empty()


async def test_a_place_is_kept_for_a_version_that_has_nothing_in_flight():
    desk = Desk(GatewayLimits(max_concurrent_requests=6))
    hung, other = desk.lane("1.0.0"), desk.lane("2.0.0")
    quick = desk.submit(other, 1)
    await desk.settle()
    await desk.answer()
    assert (await quick).predictions.tolist() == [10]
    for value in range(20):
        desk.submit(hung, value)
    await desk.settle()
    while len(desk.calls[0][1].counts) == 1:  # its first calls return, then it takes what it may and hangs
        await desk.answer()
    assert desk.batcher.in_flight == 5
    second = desk.submit(other, 2)
    await desk.settle()
    assert desk.calls[-1][0] == other.target.app
    await desk.answer(-1)
    assert (await second).predictions.tolist() == [20]


async def test_versions_take_turns_when_places_are_short():
    desk = Desk(GatewayLimits(max_concurrent_requests=1))
    one, other = desk.lane("1.0.0"), desk.lane("2.0.0")
    for value in range(3):
        desk.submit(one, value)
    for value in range(3):
        desk.submit(other, value)
    await desk.settle()
    order = []
    while desk.calls:
        order.append(desk.calls[0][0][-5:])
        await desk.answer()
    assert order == ["1.0.0", "1.0.0", "2.0.0", "1.0.0", "2.0.0", "2.0.0"]


async def test_a_request_is_refused_when_its_time_is_up_in_the_queue_and_in_a_call():
    desk = Desk(GatewayLimits(calls_per_replica=1, request_timeout_s=5))
    lane = desk.lane()
    called = desk.submit(lane, 1)
    desk.sweep(2)
    queued = desk.submit(lane, 2)
    await desk.settle()
    desk.sweep(3.5)
    with pytest.raises(DeadlineExceeded, match="within 5 s"):
        await called
    assert not queued.done()
    await desk.settle()
    assert desk.calls[0][2].cancelled()  # nobody waited for it any more, so its place went to the other
    desk.calls.pop(0)
    desk.sweep(3)
    with pytest.raises(DeadlineExceeded):
        await queued
    await desk.settle()
    assert desk.is_empty()


async def test_a_shorter_limit_is_named():
    desk = Desk()
    waiting = desk.batcher.admit(np.zeros((1, 1)), probabilities=False, timeout_s=2)
    future = desk.batcher.submit(desk.lane(), waiting)
    desk.sweep(2)
    with pytest.raises(DeadlineExceeded, match="within 2 s") as late:
        await future
    assert late.value.details == {"limit_s": 2}


async def test_a_request_that_no_replica_could_take_says_so():
    desk = Desk(GatewayLimits(request_timeout_s=5), replica_count=0)
    future = desk.submit(desk.lane(), 1)
    desk.sweep(5)
    with pytest.raises(Unavailable, match=r"no replica of version 1\.0\.0 could be reached within 5 s"):
        await future
    waiting = desk.batcher.admit(np.zeros((1, 1)), probabilities=False)
    with pytest.raises(Unavailable, match="at present"):
        desk.batcher.spare(desk.lane(), waiting, 5)


async def test_the_time_in_the_queue_is_counted():
    desk = Desk(GatewayLimits(calls_per_replica=1, request_timeout_s=5))
    lane = desk.lane()
    desk.submit(lane, 1)
    for value in (2, 3):
        desk.submit(lane, value)
    await desk.settle()
    desk.sweep(2)
    assert lane.recorder.snapshot().waited_ns == 0
    await desk.answer()
    assert lane.recorder.snapshot().waited_ns == 4_000_000_000
    desk.submit(lane, 4)
    desk.sweep(5)  # the call before it never returns, and is given up after three more seconds
    assert lane.recorder.snapshot().waited_ns == 7_000_000_000


async def test_a_gateway_that_stood_still_gives_the_time_back():
    desk = Desk(GatewayLimits(calls_per_replica=1, request_timeout_s=5))
    lane = desk.lane()
    called, queued = desk.submit(lane, 1), desk.submit(lane, 2)
    await desk.settle()
    desk.sweep(4)
    desk.clock.advance(10)  # a SIGSTOP
    desk.batcher._deadlines.sweep()
    assert not called.done()
    assert lane.troubled == desk.clock.monotonic()
    desk.sweep(0.5)
    assert not queued.done()
    await desk.answer()
    assert (await called).predictions.tolist() == [10]
    desk.sweep(3)
    with pytest.raises(DeadlineExceeded):
        await queued


async def test_a_busy_event_loop_is_no_stop():
    desk = Desk(GatewayLimits(request_timeout_s=5))
    lane = desk.lane()
    future = desk.submit(lane, 1)
    while not future.done():
        desk.clock.advance(desk.batcher._deadlines._sweep_at - desk.clock.monotonic() + 0.1)
        desk.batcher._deadlines.sweep()
    assert desk.clock.monotonic() < 6
    assert lane.troubled < 0


def quick(desk, version):
    """The lane of a version that usually answers within 10 ms."""
    lane = desk.lane(version)
    for _ in range(50):
        lane.recorder.answered(0.01, 1)
    lane.usual.look(lane.recorder.snapshot(), 0.0)
    return lane


def spared(desk, lane, timeout_s=1):
    waiting = desk.batcher.admit(np.ones((1, 1)), probabilities=False, timeout_s=timeout_s)
    desk.batcher.spare(lane, waiting, 30)
    future = desk.batcher.submit(lane, waiting)
    desk.end_turn()
    return future


async def test_while_the_other_version_answers_a_late_one_is_late():
    desk = Desk()
    lane, other = desk.lane("2.0.0"), quick(desk, "1.0.0")
    lane.other = other
    late, stuck = spared(desk, lane), desk.submit(other, 1)
    await desk.settle()
    desk.sweep(0.9)
    quickly = desk.submit(other, 2)
    await desk.settle()
    await desk.answer(2)
    assert (await quickly).predictions.tolist() == [20]
    desk.sweep(0.2)
    with pytest.raises(DeadlineExceeded, match="within 1 s"):
        await late
    assert not stuck.done(), "that one of its requests takes long says nothing"


async def test_when_the_other_version_is_late_as_well_nobody_is_to_blame_for_a_while():
    desk = Desk()
    lane, other = desk.lane("2.0.0"), quick(desk, "1.0.0")
    lane.other = other
    first, second = spared(desk, lane), spared(desk, lane)
    desk.submit(other, 1)
    await desk.settle()
    desk.sweep(5)
    assert not first.done()
    await desk.answer()
    assert (await first).predictions.tolist() == [10]
    desk.sweep(10.5)
    with pytest.raises(DeadlineExceeded, match="within 15 s"):
        await second


async def test_requests_that_wait_too_long_are_overdue():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    for value in (1, 2, 3):
        desk.submit(lane, value)
    await desk.settle()
    desk.sweep(14.5)
    assert desk.batcher.overdue() == {}, "nothing is known of what is usual: half of the time of a request"
    desk.sweep(1)
    assert desk.batcher.overdue() == {lane: 3}
    lane.other = quick(desk, "0.0.0")
    desk.submit(lane, 4)
    desk.sweep(1.5)
    assert desk.batcher.overdue() == {lane: 3}
    desk.sweep(1)
    assert desk.batcher.overdue() == {lane: 4}


async def test_a_late_answer_is_discarded_for_those_whose_time_is_up():
    desk = Desk(GatewayLimits(calls_per_replica=1, request_timeout_s=5))
    lane = desk.lane()
    desk.submit(lane, 0)
    early = desk.submit(lane, 1)
    desk.sweep(3)
    late = desk.submit(lane, 2)
    await desk.settle()
    await desk.answer()
    desk.sweep(2.5)
    with pytest.raises(DeadlineExceeded):
        await early
    await desk.answer()
    assert (await late).predictions.tolist() == [20]
    assert desk.is_empty()


async def test_the_timer_finds_deadlines_by_itself():
    desk = Desk(GatewayLimits(request_timeout_s=0.05))
    desk.batcher = Batcher(desk, desk.limits, SystemClock())
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(desk.submit(desk.lane(), 1), 2)
    await desk.settle()
    assert desk.is_empty()
    assert desk.batcher._deadlines._timer is None


async def test_rows_of_a_client_that_left_are_dropped_before_the_call():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    connection = Connection()
    await connection.receive()
    desk.submit(lane, 0)
    gone = desk.submit(lane, 1, connection=connection)
    stays = desk.submit(lane, 2)
    await desk.settle()
    connection.disconnect()
    desk.clock.advance(1)
    await desk.answer()
    with pytest.raises(ClientGone):
        await gone
    assert desk.calls[0][1].rows.tolist() == [[2]]
    await desk.answer()
    await stays


async def test_clients_that_left_make_place_in_a_full_queue():
    desk = Desk(GatewayLimits(calls_per_replica=1, max_queued_requests=2))
    lane = desk.lane()
    connection = Connection()
    await connection.receive()
    desk.submit(lane, 0)
    gone = desk.submit(lane, 1, connection=connection)
    desk.submit(lane, 2)
    connection.disconnect()
    desk.clock.advance(1)
    desk.submit(lane, 3)
    with pytest.raises(ClientGone):
        await gone


async def test_a_call_is_repeated_once_when_its_replica_died():
    desk = Desk()
    lane = desk.lane()
    future = desk.submit(lane, 4)
    await desk.settle()
    await desk.fail(Unavailable("the replica died"))
    assert len(desk.calls) == 1
    await desk.answer()
    assert (await future).predictions.tolist() == [40]
    assert lane.recorder.snapshot().retries == 1


async def test_a_second_death_is_told():
    desk = Desk()
    future = desk.submit(desk.lane(), 4)
    await desk.settle()
    await desk.fail(Unavailable("the replica died"))
    await desk.fail(Unavailable("and again"))
    with pytest.raises(Unavailable, match="again"):
        await future
    assert desk.is_empty()


@pytest.mark.parametrize("error", [Overloaded("full"), ModelFailed("bad model")])
async def test_other_errors_are_not_repeated(error):
    desk = Desk()
    future = desk.submit(desk.lane(), 4)
    await desk.settle()
    await desk.fail(error)
    with pytest.raises(type(error)):
        await future
    assert not desk.calls


async def test_an_unexpected_error_is_an_error_of_the_version_and_logged(caplog):
    desk = Desk()
    future = desk.submit(desk.lane(), 4)
    await desk.settle()
    await desk.fail(ZeroDivisionError("oops"))
    with pytest.raises(ModelFailed, match="unexpectedly"):
        await future
    assert "oops" in caplog.text
    assert desk.is_empty()


async def test_a_cancelled_request_is_not_sent():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    desk.submit(lane, 0)
    desk.submit(lane, 1).cancel()
    await desk.settle()
    await desk.answer()
    assert not desk.calls
    assert desk.is_empty()


async def test_closing_tells_everybody():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    futures = [desk.submit(lane, value) for value in range(3)]
    await desk.settle()
    await desk.batcher.close()
    for future in futures:
        with pytest.raises(Unavailable, match="stopping"):
            await future
    with pytest.raises(Unavailable, match="stopping"):
        desk.submit(lane, 1)
    assert desk.is_empty()
