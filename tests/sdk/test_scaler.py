"""`ModelScaler` and its pools over instances that are threads of this process: no Ray, no processes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from streamb import ModelScaler
from streamb.clock import ManualClock
from streamb.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotFound,
    Overloaded,
    StartFailed,
    Unavailable,
)
from streamb.sdk.instance_pool import InstancePool
from streamb.serving.scaling_policy import ScalingPolicy


class FakeInstance:
    """One thread with one model; its process can die, and its numbers are whatever the test says."""

    def __init__(self, model) -> None:
        self.started: Future[None] = Future()
        self.load = {"busy": 0.0, "cpu": 0.0, "memory": 1.0}
        self.stopped = self.dead = False
        self.asked = 0
        self._model = model
        self._thread = ThreadPoolExecutor(1)

    def begin(self) -> FakeInstance:
        self.started.set_result(None)
        return self

    def predict(self, rows):
        answer: Future = Future()
        self.asked += 1
        self._thread.submit(self._run, rows, answer)
        return answer

    def _run(self, rows, answer):
        try:
            found = [self._model(row) for row in rows]
            if self.dead or self.stopped:
                raise Unavailable("the process died")
            answer.set_result(found)
        except Exception as error:
            answer.set_exception(error)

    def numbers(self):
        answer: Future = Future()
        if self.dead:
            answer.set_exception(Unavailable("the process died"))
        else:
            answer.set_result(dict(self.load))
        return answer

    def stop(self):
        self.stopped = True
        self._thread.shutdown(wait=False)


class Fleet:
    """Starts fake instances and remembers them."""

    def __init__(self, model=sum, *, begin: bool = True) -> None:
        self.model, self.begin = model, begin
        self.all: list[FakeInstance] = []

    def __call__(self) -> FakeInstance:
        self.all.append(FakeInstance(self.model))
        return self.all[-1].begin() if self.begin else self.all[-1]

    @property
    def alive(self) -> list[FakeInstance]:
        return [one for one in self.all if not one.stopped]


class Host:
    """Where `ModelScaler` starts fake instances."""

    def __init__(self) -> None:
        self.fleets: list[Fleet] = []
        self.closed = False

    def launcher(self, factory):
        self.fleets.append(Fleet(factory()))
        return self.fleets[-1]

    def close(self):
        self.closed = True


@pytest.fixture
def pools():
    made = []

    def make(fleet, *, max_queued=100, clock=None, **policy):
        pool = InstancePool(
            "m",
            fleet,
            ScalingPolicy(**policy),
            wake=lambda: None,
            clock=clock or ManualClock(100.0),
            max_queued=max_queued,
            percentile=95,
        )
        made.append(pool)
        pool.tick()
        pool.tick()
        return pool

    yield make
    for pool in made:
        pool.close()


def in_background(function, *args):
    answer: Future = Future()

    def run():
        try:
            answer.set_result(function(*args))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def until(check, timeout_s: float = 30.0):
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, check
        time.sleep(0.005)


class TestDispatch:
    def test_the_freest_instance_answers(self, pools):
        gate = threading.Event()
        fleet = Fleet(lambda row: gate.wait(60) and sum(row))
        pool = pools(fleet, min_instances=2)
        answers = [in_background(pool.predict, [[1, i]], 30) for i in range(4)]
        until(lambda: [one.asked for one in fleet.all] == [2, 2])
        gate.set()
        assert [answer.result(30) for answer in answers] == [[1], [2], [3], [4]]

    def test_a_full_queue_refuses(self, pools):
        gate = threading.Event()
        fleet = Fleet(lambda row: gate.wait(60))
        pool = pools(fleet, max_queued=1)
        waiting = [in_background(pool.predict, [[1]], 30) for _ in range(3)]
        until(lambda: pool.status().queue == 1)
        with pytest.raises(Overloaded) as refusal:
            pool.predict([[1]], 30)
        assert refusal.value.details["retry_after_s"] == 1
        gate.set()
        assert [answer.result(30) for answer in waiting] == [[True]] * 3

    def test_a_request_that_takes_too_long_keeps_its_place_until_the_instance_is_free(self, pools):
        gate = threading.Event()
        fleet = Fleet(lambda row: gate.wait(60))
        pool = pools(fleet)
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match="did not answer"):
                pool.predict([[1]], 0.3)
        with pytest.raises(DeadlineExceeded, match="was free"):
            pool.predict([[1]], 0.01)
        assert pool.status().queue == 0
        gate.set()
        assert pool.predict([[1]], 30) == [True]

    def test_errors_of_the_model_are_not_tried_again(self, pools):
        def fail(row):
            raise ModelFailed("no")

        fleet = Fleet(fail)
        with pytest.raises(ModelFailed):
            pools(fleet).predict([[1]], 5)
        assert fleet.all[0].asked == 1


class TestDeath:
    def test_the_request_goes_to_another_one_and_the_dead_one_is_replaced(self, pools):
        fleet = Fleet()
        pool = pools(fleet, min_instances=2)
        fleet.all[0].dead = fleet.all[1].dead = False
        fleet.all[0].dead = True
        assert pool.predict([[1, 2]], 30) == [3]
        assert [one.asked for one in fleet.all] == [1, 1]
        pool.tick()
        pool.tick()
        assert fleet.all[0].stopped
        assert len(fleet.alive) == 2
        assert pool.status().instances == 2

    def test_only_once(self, pools):
        fleet = Fleet()
        pool = pools(fleet, min_instances=3)
        for one in fleet.all:
            one.dead = True
        with pytest.raises(Unavailable, match="2 instances"):
            pool.predict([[1]], 30)

    def test_an_idle_one_is_noticed_too(self, pools):
        fleet = Fleet()
        pool = pools(fleet)
        fleet.all[0].dead = True
        pool.tick()
        pool.tick()
        pool.tick()
        assert fleet.all[0].stopped
        assert pool.predict([[1]], 30) == [1]

    def test_what_dies_again_and_again_is_started_less_and_less(self, pools):
        clock, fleet = ManualClock(0.0), Fleet()
        pool = pools(fleet, clock=clock)
        for _ in range(300):
            for one in fleet.all:
                one.dead = True
            clock.advance(1.0)
            pool.tick()
        assert 8 <= len(fleet.all) <= 16

    def test_a_factory_that_fails_is_told_to_who_waits(self, pools):
        fleet = Fleet(begin=False)
        pool = pools(fleet)
        waiting = in_background(pool.predict, [[1]], 30)
        until(lambda: pool.status().queue == 1)
        fleet.all[0].started.set_exception(StartFailed("the factory raised"))
        pool.tick()
        with pytest.raises(StartFailed):
            waiting.result(30)
        fleet.all[1].started.set_exception(StartFailed("again"))
        pool.tick()
        with pytest.raises(StartFailed, match="again"):
            pool.predict([[1]], 30)


class TestScaling:
    def test_up_with_the_load_and_down_after_it(self, pools):
        clock, fleet = ManualClock(0.0), Fleet()
        pool = pools(fleet, clock=clock, max_instances=3, cooldown_down_s=30)

        def seconds(count, busy):
            for _ in range(count):
                for one in fleet.alive:
                    one.load = {"busy": busy, "cpu": 100 * busy, "memory": 1.0}
                clock.advance(1.0)
                pool.tick()

        seconds(15, 1.0)
        assert pool.status().instances == 3
        assert pool.status().cpu == 100
        seconds(25, 0.05)
        assert pool.status().instances == 3
        seconds(50, 0.05)
        assert (pool.status().instances, len(fleet.alive)) == (1, 1)
        assert pool.predict([[2]], 30) == [2]

    def test_the_queue_and_the_latency_are_seen(self, pools):
        clock = ManualClock(0.0)
        gate = threading.Event()
        fleet = Fleet(lambda row: gate.wait(60))
        pool = pools(fleet, clock=clock, target_queue=2)
        answers = [in_background(pool.predict, [[1]], 60) for _ in range(12)]
        until(lambda: pool.status().queue == 10)
        reasons = []
        for _ in range(10):
            clock.advance(1.0)
            pool.tick()
            reasons.append(pool.status().reason)
        assert pool.status().target >= 3
        assert any("12 requests wait per instance" in reason for reason in reasons), reasons
        gate.set()
        assert all(answer.result(30) for answer in answers)
        pool.tick()
        assert pool.status().latency_ms > 0

    def test_an_instance_that_leaves_finishes_its_work(self, pools):
        clock, gate = ManualClock(0.0), threading.Event()
        fleet = Fleet(lambda row: gate.wait(60))
        pool = pools(fleet, clock=clock, max_instances=2, cooldown_down_s=0, cooldown_up_s=0)
        fleet.all[0].load["busy"] = 1.0
        for _ in range(3):
            clock.advance(1.0)
            pool.tick()
        assert pool.status().instances == 2
        answers = [in_background(pool.predict, [[1]], 30) for _ in range(2)]
        until(lambda: [one.asked for one in fleet.all] == [1, 1])
        fleet.all[0].load["busy"] = 0.0
        for _ in range(3):
            clock.advance(1.0)
            pool.tick()
        assert pool.status().instances == 1
        assert len(fleet.alive) == 2
        gate.set()
        assert [answer.result(30) for answer in answers] == [[True], [True]]
        until(lambda: len(fleet.alive) == 1)

    def test_from_zero_and_back(self, pools):
        clock, fleet = ManualClock(0.0), Fleet()
        pool = pools(fleet, clock=clock, min_instances=0, idle_s=20)
        assert fleet.all == []
        waiting = in_background(pool.predict, [[4]], 30)
        until(lambda: pool.status().queue == 1)
        pool.tick()
        pool.tick()
        assert waiting.result(30) == [4]
        for _ in range(30):
            clock.advance(1.0)
            pool.tick()
        assert (pool.status().target, fleet.alive) == (0, [])


class TestModelScaler:
    @pytest.fixture
    def host(self):
        return Host()

    @pytest.fixture
    def scaler(self, host):
        with ModelScaler(max_instances=2, host=host) as scaler:
            scaler.register_model("total", lambda: sum)
            yield scaler

    def test_the_guides_way(self, scaler):
        assert scaler.predict("total", [[1, 2], [3, 4]]) == [3, 7]
        assert scaler.predict("total", np.ones((2, 3))) == [3.0, 3.0]
        assert scaler.predict("total", pd.DataFrame({"a": [1]}).to_numpy()) == [1]
        status = scaler.status("total")
        assert (status.instances, status.target) == (1, 1)

    def test_names(self, scaler, host):
        with pytest.raises(Conflict):
            scaler.register_model("total", lambda: sum)
        with pytest.raises(NotFound, match="models: total"):
            scaler.predict("other", [[1]])
        scaler.unregister_model("total")
        assert host.fleets[0].alive == []
        with pytest.raises(NotFound, match="none"):
            scaler.status("total")
        scaler.register_model("total", lambda: max)
        assert scaler.predict("total", [[1, 5]]) == [5]

    def test_close_ends_everything_it_started(self, scaler, host):
        scaler.close()
        scaler.close()
        assert host.closed
        assert host.fleets[0].alive == []
        with pytest.raises(Unavailable, match="closed"):
            scaler.register_model("late", lambda: sum)
        assert not [one for one in threading.enumerate() if one.name == "scaler"]

    def test_what_is_no_factory_is_refused(self, scaler):
        class Model:
            def predict(self, rows):
                return rows

            def __call__(self):
                return self

        for wrong in (Model(), 5):
            with pytest.raises(InvalidInput, match="lambda: model"):
                scaler.register_model("wrong", wrong)
        scaler.register_model("class", Model)

    @pytest.mark.parametrize(
        "wrong", [{"min_instances": 5}, {"latency_percentile": 0}, {"timeout_s": 0}, {"target_cpu": 0.7}]
    )
    def test_values_that_are_not_possible(self, wrong):
        with pytest.raises(InvalidInput):
            ModelScaler(**wrong)

    def test_many_threads_at_once(self, scaler):
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda i: scaler.predict("total", [[i, 1]]), range(300)))
        assert found == [[i + 1] for i in range(300)]
