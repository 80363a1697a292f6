"""What replicas and gateways have to push, and when; without a cluster."""

import asyncio
import threading

import numpy as np
import pytest
import ray

from streamb.cluster.actor_transport import ActorTransport
from streamb.cluster.collection import LONGEST_PAUSE_S, GatewayDesk, Pusher, ReplicaCollection
from streamb.config import load_settings
from streamb.errors import DeadlineExceeded, ModelFailed, Unavailable
from streamb.metrics import Snapshot
from streamb.models.outputs import predictions_of
from streamb.models.schema import Feature, FeatureSchema
from streamb.monitoring.collection.push import Ack, decode_counts, unpack_snapshots
from streamb.serving.batch import Batch, BatchReply


class TestReplica:
    @pytest.fixture
    def collection(self, tmp_path):
        return ReplicaCollection(
            load_settings(state_dir=tmp_path), "replica-1", "m", "1.0.0", FeatureSchema((Feature("a"),))
        )

    @pytest.mark.parametrize("as_list", [False, True])
    def test_only_rows_that_were_answered_are_collected(self, collection, as_list):
        rows = np.arange(6.0).reshape(6, 1)
        batch = Batch(rows.tolist() if as_list else rows, (1, 2, 3))
        failed = ModelFailed("it raised")
        collection.observe(batch, BatchReply(np.arange(6.0), None, {}))
        collection.observe(batch, BatchReply(np.array([0.0, 3.0, 4.0, 5.0]), None, {1: failed}))
        collection.observe(batch, BatchReply(np.empty(0), None, {0: failed, 1: failed, 2: failed}))
        collection._collector.fold()
        (pane,) = collection._collector.take().panes
        column = decode_counts(pane).columns[0]
        assert (pane.rows, pane.unreadable) == (10, 0)
        assert column.values(10) == [0, 0, 1, 2, 3, 3, 4, 4, 5, 5]

    @pytest.mark.parametrize(
        "predictions",
        [[{"label": "a"}] * 6, [[1, 2], [3]] * 3, np.zeros((6, 3, 2)), [None, "a"] * 3, [b"a"] * 6, np.zeros((6, 900))],
    )
    def test_the_features_of_structured_answers_are_counted_too(self, collection, predictions):
        reply = BatchReply(predictions_of(predictions, 6), np.zeros((2, 3, 2)))
        collection.observe(Batch(np.arange(6.0).reshape(6, 1), (2, 4), (True, False)), reply)
        collection.observe(Batch(np.arange(6.0).reshape(6, 1), (6,)), BatchReply(np.arange(6.0)))
        collection._collector.fold()
        (pane,) = collection._collector.take().panes
        assert (pane.rows, pane.unreadable) == (12, 0)


class TestGateway:
    def test_each_push_has_the_whole_standing_and_an_unchanged_one_is_not_repeated(self):
        standing = [Snapshot("m", "1.0.0", {"ok": 1})]
        desk = GatewayDesk("g", lambda: standing)
        first, second = desk.take(), desk.take()
        assert [push.members[0].sequence for push in (first, second)] == [1, 2]
        assert unpack_snapshots(second.outcomes[0].data) == tuple(standing), "the first may have got lost"
        desk.acknowledged(second, Ack())
        assert desk.take().empty
        standing[:] = [Snapshot("m", "1.0.0", {"ok": 2})]
        last = desk.take(leaving=True)
        assert unpack_snapshots(last.outcomes[0].data) == tuple(standing)
        assert last.members[0].leaving


class TestPusher:
    def test_pauses_are_spread_and_grow_while_nobody_answers(self):
        pusher = Pusher(GatewayDesk("g", list), 5.0)
        usual = {pusher.pause_s() for _ in range(100)}
        assert 3.75 <= min(usual) < 4.5 < 5.5 < max(usual) <= 6.25
        pusher._failures = 10
        assert all(LONGEST_PAUSE_S * 0.75 <= pusher.pause_s() <= LONGEST_PAUSE_S * 1.25 for _ in range(100))


class TestWithoutAHead:
    """The cluster's head does not answer: looking an actor up takes a minute. Nobody may wait for that."""

    @pytest.fixture
    async def looked_up(self, monkeypatch):
        """Asynchronous, so that it ends before the loop does, which waits for the threads that look up."""
        answer, asked = threading.Event(), []

        def get_actor(*name: str) -> None:
            asked.append(name)
            answer.wait(30)
            raise ValueError("no such actor")

        monkeypatch.setattr(ray, "get_actor", get_actor)
        yield asked
        answer.set()

    async def test_a_push_is_given_up_in_time_and_made_again(self, looked_up):
        pusher = Pusher(GatewayDesk("g", lambda: [Snapshot("m", "1.0.0", {"ok": 1})]), 5.0)
        assert not await asyncio.wait_for(pusher._push(leaving=False, timeout_s=0.05), 5)
        assert not await asyncio.wait_for(pusher._push(leaving=True, timeout_s=0.05), 5)
        assert len(looked_up) == 2

    async def test_calls_are_bounded_and_share_one_look_up(self, looked_up):
        transport = ActorTransport("monitor", "the monitor", 0.05, when_gone="it is being restarted", back_in_s=2)
        calls = [transport("MonitorCore.overview", (), {}) for _ in range(20)]
        found = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        assert {type(one) for one in found} == {DeadlineExceeded}
        assert len(looked_up) == 1

    async def test_an_actor_that_is_not_there_is_said_to_be(self, monkeypatch):
        def get_actor(*name: str) -> None:
            raise ValueError(f"no actor {name}")

        monkeypatch.setattr(ray, "get_actor", get_actor)
        transport = ActorTransport("monitor", "the monitor", 5, when_gone="it is being restarted", back_in_s=2)
        for _ in range(2):
            with pytest.raises(Unavailable, match="being restarted"):
                await transport("MonitorCore.overview", (), {})
