import asyncio
import struct

import numpy as np
import pytest
import uvloop

from streamb.errors import InvalidFeatures, InvalidInput, ModelFailed, Unavailable
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links import link as client
from streamb.serving.links.frames import Kind
from streamb.serving.links.link import Link
from tests.serving.linked import SECRET, Desk, batch, linked, no_loss, until


class TestCalls:
    async def test_a_call_is_answered(self):
        async with linked() as (server, link, lost):
            reply = await link.call(batch(3.0, rows=2))
            assert reply.predictions.tolist() == [3.0, 3.0]
            assert (link.pending, link.usable, server.calls, lost) == (0, True, 0, [])

    async def test_answers_out_of_order_reach_their_callers(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, _):
            futures = [link.call(batch(float(value))) for value in range(50)]
            await until(lambda: len(desk.calls) == 50)
            assert (link.pending, server.calls) == (50, 50)
            for index in reversed(range(50)):
                desk.answer(index)
            replies = await asyncio.gather(*futures)
            assert [reply.predictions[0] for reply in replies] == list(range(50))

    async def test_a_large_batch_among_small_ones(self):
        async with linked() as (_, link, _):
            large = link.call(Batch(np.arange(2_000_000.0).reshape(-1, 2), (1_000_000,)))
            small = [link.call(batch(float(value))) for value in range(20)]
            assert np.array_equal((await large).predictions, np.arange(0.0, 2_000_000.0, 2))
            assert [(await one).predictions[0] for one in small] == list(range(20))

    @pytest.mark.parametrize(
        ("raised", "expected", "words"),
        [
            (InvalidFeatures("wrong", problems=[{"row": 1}]), InvalidFeatures, "wrong"),
            (KeyError("x"), ModelFailed, "the model raised KeyError: 'x'"),
            (asyncio.CancelledError(), ModelFailed, "the model raised CancelledError"),
        ],
    )
    async def test_errors_of_the_model(self, raised, expected, words):
        async def fails(_):
            raise raised

        async with linked(fails) as (_, link, _):
            with pytest.raises(expected, match=words) as caught:
                await link.call(batch())
            assert caught.value.details == getattr(raised, "details", caught.value.details)
            assert link.usable

    async def test_an_answer_that_cannot_be_sent(self):
        async def odd(_):
            return BatchReply(np.zeros(1, dtype="M8[s]"))

        async with linked(odd) as (_, link, _):
            with pytest.raises(ModelFailed):
                await link.call(batch())

    async def test_rows_that_cannot_be_sent_leave_nothing_behind(self):
        async with linked() as (_, link, _):
            with pytest.raises(InvalidInput):
                link.call(Batch([[object()]], (1,)))
            assert link.pending == 0

    async def test_a_cancelled_call_is_forgotten(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, _):
            future = link.call(batch())
            await until(lambda: desk.calls)
            future.cancel()
            await until(lambda: link.pending == 0)
            assert link.load == 1  # the replica goes on with it
            desk.answer(0)
            await until(lambda: (server.calls, link.load) == (0, 0))
            other = link.call(batch(2.0))
            await until(lambda: len(desk.calls) == 2)
            desk.answer(1)
            assert (await other).predictions.tolist() == [2.0]


class TestLoss:
    async def test_pending_calls_fail_at_once(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, lost):
            futures = [link.call(batch()) for _ in range(5)]
            await until(lambda: len(desk.calls) == 5)
            for side in list(server._sides):
                side._socket.abort()
            async with asyncio.timeout(30):
                errors = await asyncio.gather(*futures, return_exceptions=True)
            assert all(type(error) is Unavailable for error in errors)
            assert (lost, link.usable, link.pending) == ([link], False, 0)
            with pytest.raises(Unavailable):
                link.call(batch())

    async def test_closing_fails_what_is_pending_and_is_no_loss(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, lost):
            future = link.call(batch())
            await until(lambda: desk.calls)
            link.close()
            with pytest.raises(Unavailable):
                await future
            await until(lambda: not server._sides)
            assert lost == []

    async def test_a_stream_that_makes_no_sense_is_cut(self):
        async with linked() as (server, link, lost):
            next(iter(server._sides)).send(struct.pack("!QBI", 1, 77, 0))
            await until(lambda: lost)
            assert not link.usable

    async def test_a_gateway_that_makes_no_sense_is_cut(self):
        async with linked() as (server, link, lost):
            link._side.send(struct.pack("!QBI", 1, Kind.REPLY, 0))
            await until(lambda: lost and not server._sides)

    async def test_a_batch_that_makes_no_sense_is_refused(self):
        async with linked() as (_, link, lost):
            future = link.call(batch())
            link._side.send(struct.pack("!QBI", 9, Kind.CALL, 3) + b"abc")
            assert (await future).predictions.tolist() == [0.0]
            assert (await link.call(batch(1.0))).predictions.tolist() == [1.0]
            assert not lost

    async def test_an_answer_that_makes_no_sense(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, _):
            future = link.call(batch())
            await until(lambda: desk.calls)
            next(iter(server._sides)).send(struct.pack("!QBI", 1, Kind.REPLY, 3) + b"abc")
            with pytest.raises(Unavailable, match="unreadable answer"):
                await future


class TestGoodbye:
    async def test_running_calls_are_answered(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, lost):
            future = link.call(batch(5.0))
            await until(lambda: desk.calls)
            closing = asyncio.create_task(server.close(120.0))
            await until(lambda: not link.usable)
            with pytest.raises(Unavailable):
                link.call(batch())
            with pytest.raises(Unavailable):
                await Link.connect(link.address, SECRET, on_lost=no_loss)
            desk.answer(0)
            assert (await future).predictions.tolist() == [5.0]
            async with asyncio.timeout(30):
                await closing
            await until(lambda: lost == [link])

    async def test_calls_that_are_late_fail(self):
        desk = Desk()
        async with linked(desk.predict) as (server, link, lost):
            future = link.call(batch())
            await until(lambda: desk.calls)
            async with asyncio.timeout(30):
                await server.close(0.05)
            with pytest.raises(Unavailable):
                await future
            assert server.calls == 0
            assert lost == [link]

    async def test_an_idle_link_goes_at_once(self):
        async with linked() as (server, link, lost):
            async with asyncio.timeout(30):
                await server.close(120)
            await until(lambda: lost == [link])
            await server.close(120)  # again does nothing


class TestBounds:
    async def test_the_server_runs_so_many_calls(self):
        desk = Desk()
        async with linked(desk.predict, max_calls=2) as (_, link, _):
            futures = [link.call(batch(float(value))) for value in range(3)]
            with pytest.raises(Unavailable, match="runs 2 calls already") as caught:
                await futures[2]
            assert caught.value.details["retry_after_s"] == 1
            for index in range(2):
                desk.answer(index)
            assert [(await one).predictions[0] for one in futures[:2]] == [0.0, 1.0]

    async def test_the_link_has_so_many_pending(self, monkeypatch):
        monkeypatch.setattr(client, "_MAX_PENDING", 3)
        async with linked(Desk().predict) as (_, link, _):
            futures = [link.call(batch()) for _ in range(3)]
            with pytest.raises(Unavailable, match="has 3 calls"):
                link.call(batch())
            assert len(futures) == link.pending == 3
            for one in futures:
                one.cancel()

    async def test_a_replica_that_does_not_read(self, monkeypatch):
        monkeypatch.setattr(client, "_MAX_UNSENT", 4 * 2**20)
        async with linked() as (server, link, _):
            next(iter(server._sides)).listen(on=False)
            for _ in range(200):
                if link._side.unsent > 4 * 2**20:
                    break
                link.call(batch(rows=2**16)).cancel()
            with pytest.raises(Unavailable, match="behind in reading"):
                link.call(batch())
            assert 4 * 2**20 < link._side.unsent < 6 * 2**20

    async def test_a_gateway_that_does_not_read_is_not_read(self):
        answered = 0

        async def much(_):
            nonlocal answered
            answered += 1
            return BatchReply(np.zeros(2**17))

        async with linked(much) as (_, link, _):
            link._side.listen(on=False)
            futures = []
            for _ in range(200):
                futures.append(link.call(batch()))
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert answered < 150  # the rest of the calls waits in the sockets or is refused
            link._side.listen(on=True)
            async with asyncio.timeout(20):
                replies = await asyncio.gather(*futures, return_exceptions=True)
            assert all(isinstance(one, BatchReply | Unavailable) for one in replies)
            assert (await link.call(batch())).predictions.shape == (2**17,)


@pytest.mark.parametrize(
    "scenario",
    [
        TestCalls().test_answers_out_of_order_reach_their_callers,
        TestCalls().test_a_large_batch_among_small_ones,
        TestLoss().test_pending_calls_fail_at_once,
        TestGoodbye().test_running_calls_are_answered,
        TestGoodbye().test_calls_that_are_late_fail,
        TestBounds().test_a_gateway_that_does_not_read_is_not_read,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_the_same_on_uvloop(scenario):
    """Gateways run on uvloop, whose transports are none of asyncio's."""
    uvloop.run(scenario())
