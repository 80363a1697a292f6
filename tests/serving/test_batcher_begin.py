"""Calls that a predictor can send at once: the same ends as those that need a task."""

import asyncio

import numpy as np
import pytest

from streamb.clock import SystemClock
from streamb.errors import InvalidInput, ModelFailed, Unavailable
from streamb.metrics import VersionRecorder
from streamb.serving.batch import BatchReply
from streamb.serving.batcher import Batcher
from streamb.serving.lane import Lane
from streamb.serving.limits import GatewayLimits
from streamb.traffic import VersionTarget


class Beginner:
    """Begins each call at once, unless `away`; a test ends them."""

    def __init__(self) -> None:
        self.begun, self.asked, self.away, self.raises = [], 0, False, None

    def replicas(self, target) -> int:
        return 1

    def begin(self, target, batch):
        if self.raises is not None:
            raise self.raises
        if self.away:
            return None
        self.begun.append(asyncio.get_running_loop().create_future())
        return self.begun[-1]

    async def predict(self, target, batch):
        self.asked += 1
        return BatchReply(np.asarray(batch.rows)[:, 0] + 100)


class Bench:
    def __init__(self, **limits) -> None:
        self.predictor = Beginner()
        self.batcher = Batcher(self.predictor, GatewayLimits(**limits), SystemClock())
        target = VersionTarget("1.0.0", "a", {})
        self.lane = Lane(target, VersionRecorder("m", "1.0.0"))

    def submit(self, value=1.0):
        waiting = self.batcher.admit(np.array([[value]]), probabilities=False)
        return self.batcher.submit(self.lane, waiting)

    async def begins(self):
        future = self.submit()
        await asyncio.sleep(0)
        return future, self.predictor.begun[-1]

    def at_rest(self) -> bool:
        return not (self.batcher.queued or self.batcher.in_flight or self.lane.calls)


async def test_a_reply_reaches_its_request_without_a_task():
    bench = Bench()
    future, begun = await bench.begins()
    before = asyncio.all_tasks()
    begun.set_result(BatchReply(np.array([7.0])))
    assert (await future).predictions.tolist() == [7.0]
    assert bench.at_rest()
    assert asyncio.all_tasks() == before
    assert bench.predictor.asked == 0


@pytest.mark.parametrize(
    ("error", "kind"), [(InvalidInput("wrong"), InvalidInput), (RuntimeError("ours"), ModelFailed)]
)
async def test_an_error_reaches_its_request(error, kind):
    bench = Bench()
    future, begun = await bench.begins()
    begun.set_exception(error)
    with pytest.raises(kind):
        await asyncio.wait_for(future, 30)
    assert bench.at_rest()


async def test_a_replica_that_died_is_made_up_for_once():
    bench = Bench()
    future, begun = await bench.begins()
    begun.set_exception(Unavailable("it died"))
    assert (await asyncio.wait_for(future, 30)).predictions.tolist() == [101.0]
    assert (bench.predictor.asked, bench.at_rest()) == (1, True)


async def test_what_cannot_begin_at_once_is_asked_for():
    bench = Bench()
    bench.predictor.away = True
    assert (await asyncio.wait_for(bench.submit(), 30)).predictions.tolist() == [101.0]
    assert bench.at_rest()


async def test_a_reply_of_the_wrong_size_is_an_error():
    bench = Bench()
    future, begun = await bench.begins()
    begun.set_result(BatchReply(np.array([7.0, 8.0])))
    with pytest.raises(ModelFailed, match="2 predictions for 1 rows"):
        await asyncio.wait_for(future, 30)
    assert bench.at_rest()


async def test_what_fails_to_begin_fails_alone_and_what_waits_goes_on():
    bench = Bench()
    bench.predictor.raises = MemoryError()
    futures = [bench.submit(float(value)) for value in range(5)]
    for future in futures:
        with pytest.raises(ModelFailed, match="failed unexpectedly"):
            await asyncio.wait_for(future, 30)
    assert bench.at_rest()


async def test_a_call_is_cancelled_when_its_time_is_over():
    bench = Bench(request_timeout_s=0.05)
    future, begun = await bench.begins()
    with pytest.raises(Exception, match="did not answer within"):
        await asyncio.wait_for(future, 30)
    await asyncio.sleep(0)
    assert begun.cancelled()
    assert bench.at_rest()


async def test_closing_cancels_calls_and_leaves_no_task():
    bench = Bench()
    future, begun = await bench.begins()
    await bench.batcher.close()
    assert begun.cancelled()
    with pytest.raises(Unavailable):
        await future
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bench.at_rest()
