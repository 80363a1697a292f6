"""One thread asks the model, call after call, and runs the loop of the links itself while calls are quick."""

import asyncio
import threading
from collections import Counter

import numpy as np
import pytest

from streamb.errors import ModelFailed, Unavailable
from streamb.serving import predicting as module
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links import server as server_module
from streamb.serving.links.link import Link
from streamb.serving.replica import BatchPredictor
from tests.serving.linked import SECRET, batch, predicting, until
from tests.serving.raised import KINDS, PLACES, Model


class Gated:
    """A model that answers once it is let go; it notes what it was asked, by which thread, and how many at once."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.asked: list[float] = []
        self.threads: set[int] = set()
        self.inside = self.most = 0

    def __call__(self, asked: Batch) -> BatchReply:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.threads.add(threading.get_ident())
        self.asked.append(float(asked.rows[0, 0]))
        assert self.gate.acquire(timeout=60)
        self.inside -= 1
        return BatchReply(np.asarray(asked.rows)[:, 0])


def at_once(asked: Batch) -> BatchReply:
    return BatchReply(np.asarray(asked.rows)[:, 0])


class Watch:
    def __init__(self) -> None:
        self.present = self.answered = 0

    def arrived(self, requests):
        self.present += requests
        return 1.0

    def left(self, arrived_at, requests, *, answered):
        assert arrived_at == 1.0
        self.present -= requests
        self.answered += requests * answered


async def many(link, values):
    return [float(reply.predictions[0]) for reply in await asyncio.gather(*(link.call(batch(v)) for v in values))]


class TestCalls:
    async def test_of_eight_calls_whose_callers_left_only_the_one_that_runs_is_computed(self):
        model, watch = Gated(), Watch()
        async with predicting(model, watch=watch) as (_, server, link):
            calls = [link.call(batch(float(value))) for value in range(8)]
            await until(lambda: model.asked and server.calls == 8)
            for call in calls:
                call.cancel()
            await until(lambda: link.load == 1)  # the replica said that it is done with the others
            assert (link.pending, server.calls, watch.present) == (0, 1, 1)
            model.gate.release()
            await until(lambda: link.load == 0)
            model.gate.release()
            assert await many(link, [9.0]) == [9.0]
            assert model.asked == [0.0, 9.0]
            assert (watch.present, watch.answered, server.calls) == (0, 1, 0)

    async def test_a_connection_that_is_lost_leaves_its_calls(self):
        model, watch = Gated(), Watch()
        async with predicting(model, watch=watch) as (_, server, link):
            for value in range(8):
                link.call(batch(float(value))).add_done_callback(lambda call: call.exception())
            await until(lambda: model.asked and server.calls == 8)
            other = await Link.connect(link.address, SECRET, on_lost=lambda _: None)
            link.close()
            await until(lambda: watch.present == 1)
            model.gate.release(2)
            assert await many(other, [9.0]) == [9.0]
            assert model.asked == [0.0, 9.0]
            other.close()

    async def test_calls_that_others_wait_for_are_computed(self):
        model = Gated()
        async with predicting(model) as (_, server, link):
            calls = [link.call(batch(float(value))) for value in range(6)]
            await until(lambda: model.asked and server.calls == 6)
            for call in calls[::2]:
                call.cancel()
            await until(lambda: link.load == 4)
            model.gate.release(6)
            assert [float((await call).predictions[0]) for call in calls[1::2]] == [1.0, 3.0, 5.0]
            assert model.asked == [0.0, 1.0, 3.0, 5.0]

    async def test_answers_are_seen_after_they_were_sent_and_only_if_somebody_waited(self):
        seen, model = [], Gated()
        async with predicting(model, after=lambda _, reply: seen.append(reply.predictions[0])) as (_, server, link):
            left, kept = link.call(batch(1.0)), link.call(batch(2.0))
            await until(lambda: model.asked)
            left.cancel()
            await until(lambda: any(call.left for call in server._calls))
            model.gate.release(2)
            await kept
            await until(lambda: seen)
            assert seen == [2.0]

    async def test_a_caller_on_another_loop(self):
        model = Gated()
        async with predicting(model) as (thread, *_):
            first = asyncio.create_task(thread.answer(batch(1.0)))
            await until(lambda: model.asked)
            second = asyncio.create_task(thread.answer(batch(2.0)))
            third = asyncio.create_task(thread.answer(batch(3.0)))
            await until(lambda: len(thread._queue) == 2)
            second.cancel()
            await until(lambda: len(thread._queue) == 1)
            model.gate.release(3)
            assert (await first).predictions.tolist() == [1.0]
            assert (await third).predictions.tolist() == [3.0]
            assert model.asked == [1.0, 3.0]


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_is_raised_the_next_request_is_answered_at_once(kind):
    model = Model(KINDS[kind], "")
    async with predicting(BatchPredictor(model).run) as (*_, link):
        for place in PLACES:
            model.place, model.schema = place, Model(KINDS[kind], place).schema
            failed = link.call(batch(-1.0) if place != "predict_proba" else Batch(np.full((1, 2), -1.0), (1,), (True,)))
            after = link.call(batch(4.0))
            reply = await asyncio.wait_for(failed, 30)
            assert type(reply.errors[0]) is ModelFailed, place
            assert (await asyncio.wait_for(after, 30)).predictions.tolist() == [8.0], place


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_is_raised_outside_of_the_model_is_an_answer(kind):
    def run(asked):
        if asked.rows[0, 0] < 0:
            raise KINDS[kind]
        return at_once(asked)

    async with predicting(run) as (*_, link):
        with pytest.raises(ModelFailed, match=type(KINDS[kind]).__name__):
            await asyncio.wait_for(link.call(batch(-1.0)), 30)
        assert await asyncio.wait_for(many(link, [1.0]), 30) == [1.0]


class TestWhoseTheLoopIs:
    async def test_quick_calls_are_read_predicted_and_answered_by_one_thread(self):
        threads = Counter()

        def run(asked):
            threads[threading.current_thread().name] += 1
            return at_once(asked)

        async with predicting(run) as (thread, _, link):
            assert thread._lent  # nothing is known of the model yet
            for value in range(50):
                assert await many(link, [float(value)]) == [value]
            await until(lambda: not thread._lent)
            thread._usual_s = 0.0  # whatever this machine does meanwhile
            assert await many(link, map(float, range(50))) == list(range(50))
            assert threads == {"predict": 100}

    async def test_it_is_lent_while_calls_are_slow_and_taken_back(self):
        slow = threading.Event()

        def run(asked):
            if slow.is_set():
                threading.Event().wait(3 * module.SLOW_S)
            return at_once(asked)

        async with predicting(run) as (thread, _, link):
            for wanted in (False, True, False):
                (slow.set if wanted else slow.clear)()
                async with asyncio.timeout(60):
                    while thread._lent is not wanted:
                        assert await many(link, [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]

    async def test_one_call_of_a_quick_model_that_hangs_keeps_no_frame_from_being_read(self):
        model = Gated()
        model.gate.release(1000)
        async with predicting(model) as (thread, _, link):
            async with asyncio.timeout(60):
                while thread._lent:
                    await many(link, [1.0])
            while model.gate.acquire(blocking=False):
                pass
            calls = [link.call(batch(float(value))) for value in range(8)]
            await until(lambda: thread._lent)  # the other thread took the loop
            for call in calls:
                call.cancel()
            await until(lambda: link.load == 1)
            other = await Link.connect(link.address, SECRET, on_lost=lambda _: None)
            model.gate.release(2)
            assert await many(other, [9.0]) == [9.0]
            assert (model.asked[-2:], model.most, len(model.threads)) == ([0.0, 9.0], 1, 1)
            other.close()

    async def test_a_model_may_run_a_loop_of_its_own(self):
        async def answer(value):
            await asyncio.sleep(0)
            return value

        def run(asked):
            return BatchReply(np.array([asyncio.run(answer(asked.rows[0, 0]))]))

        async with predicting(run) as (thread, _, link):
            for lent in (True, False):
                thread._usual_s = 1.0 if lent else 0.0
                assert await many(link, [1.0, 2.0]) == [1.0, 2.0]
                assert thread._lent is lent or not lent


class TestStuck:
    async def test_a_call_that_nobody_waits_for_is_trouble_after_a_while(self, monkeypatch):
        monkeypatch.setattr(server_module, "_LOOK_S", 0.05)
        model = Gated()
        async with predicting(model, limit_s=0.2) as (thread, server, link):
            hangs, waits = link.call(batch(1.0)), link.call(batch(2.0))
            await until(lambda: model.asked)
            assert not thread.trouble()
            await asyncio.sleep(0.4)
            assert not thread.trouble()  # slow, but somebody waits
            hangs.cancel()
            with pytest.raises(
                Unavailable, match=r"a call has been running for .* s, and nobody waits for it any more"
            ):
                await asyncio.wait_for(waits, 30)
            await until(lambda: not link.usable)
            assert "nobody waits" in link.trouble
            with pytest.raises(Unavailable):
                await Link.connect(link.address, SECRET, on_lost=lambda _: None)
            model.gate.release(2)  # it came back after all
            await until(lambda: not server._trouble)
            again = await Link.connect(link.address, SECRET, on_lost=lambda _: None)
            assert await many(again, [3.0]) == [3.0]
            again.close()

    async def test_a_thread_that_has_ended_is_trouble(self):
        """Nothing is known that ends one; if something does, the replica must not stay as it is."""
        async with predicting(at_once) as (thread, *_):
            assert not thread.trouble()
            dead = threading.Thread(target=int)
            dead.start()
            dead.join()
            thread._threads.append(dead)
            assert thread.trouble() == "a thread of the replica has ended"

    async def test_a_call_that_was_left_and_returns_in_time_is_none(self, monkeypatch):
        monkeypatch.setattr(server_module, "_LOOK_S", 0.05)
        model = Gated()
        async with predicting(model, limit_s=30) as (thread, _, link):
            link.call(batch(1.0)).cancel()
            await asyncio.sleep(0.2)
            model.gate.release(2)
            assert await many(link, [2.0]) == [2.0]
            assert (thread.trouble(), link.usable) == ("", True)


async def test_both_threads_end():
    before = set(threading.enumerate())
    async with predicting(at_once) as (_, _, link):
        await many(link, [1.0])
    await until(lambda: set(threading.enumerate()) <= before)
