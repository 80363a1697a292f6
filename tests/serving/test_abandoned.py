"""Requests whose client leaves: their work ends in the queue and inside calls, and nobody is blamed for them."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from streamb.clock import SystemClock
from streamb.metrics import Outcome
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.lane import ClientGone
from streamb.traffic import BreakerPolicy, GatewayPolicy
from tests.serving.asgi_client import AsgiClient, Connection
from tests.serving.batcher_desk import Desk
from tests.serving.gateways import ONE_ROW, PREDICT, counts
from tests.serving.linked import until
from tests.serving.predictors import SumPredictor, VersionsPredictor, table, target
from tests.serving.sockets import listening, post, raw
from tests.serving.test_gateway_fallback import canary


async def test_in_the_queue_a_request_ends_at_once():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    desk.submit(lane, 0)
    await desk.settle()
    gone, stays = desk.submit(lane, 1), desk.submit(lane, 2)
    desk.leave(gone)
    desk.leave(gone)
    assert desk.batcher.queued == 1
    with pytest.raises(ClientGone):
        await gone
    await desk.answer()
    assert desk.calls[0][1].rows.tolist() == [[2]]
    await desk.answer()
    assert (await stays).predictions.tolist() == [20]
    assert desk.is_empty()


async def test_a_call_goes_on_while_somebody_waits_for_it_and_is_stopped_when_nobody_does():
    desk = Desk(GatewayLimits(calls_per_replica=1))
    lane = desk.lane()
    desk.submit(lane, 0)
    await desk.settle()
    both = [desk.submit(lane, value) for value in (1, 2)]
    await desk.answer()
    assert desk.calls[0][1].counts == (1, 1)
    waits = desk.submit(lane, 3)
    desk.leave(both[0])
    await desk.settle()
    assert not desk.calls[0][2].cancelled()
    desk.leave(both[1])
    await desk.settle()
    assert desk.calls.pop(0)[2].cancelled()
    assert desk.calls[0][1].rows.tolist() == [[3]], "its place is free at once"
    await desk.answer()
    assert (await waits).predictions.tolist() == [30]
    for future in both:
        with pytest.raises(ClientGone):
            await future
    assert desk.is_empty()


async def test_where_nobody_tells_it_is_noticed_within_a_second():
    desk = Desk()
    lane = desk.lane()
    connection = Connection()
    await connection.receive()
    future = desk.submit(lane, 1, connection=connection)
    await desk.settle()
    connection.disconnect()
    desk.sweep(1)
    await desk.settle()
    assert desk.calls.pop()[2].cancelled()
    with pytest.raises(ClientGone):
        await future
    assert desk.is_empty()


class Told:
    """A connection of the platform's own listener, as `receive.when_gone` finds it in a scope."""

    is_lost = False
    on_lost = None

    def __init__(self) -> None:
        self.flow = self

    def resume_reading(self) -> None:
        pass


async def opened(client, told, count, path=PREDICT):
    """Requests in progress, each with a connection of its own that can be lost."""

    async def app(scope, receive, send):
        connection = Told()
        told.append(connection)
        await client.app({**scope, "streamb.connection": connection}, receive, send)

    tasks = [asyncio.create_task(AsgiClient(app).post(path, ONE_ROW)) for _ in range(count)]
    await asyncio.sleep(0.05)
    return tasks


@pytest.mark.parametrize("policy", [GatewayPolicy(), GatewayPolicy(breaker=BreakerPolicy(failure_threshold=1))])
async def test_a_hundred_leavers_make_nobody_late_and_are_nobodys_failure(make, predictor, policy):
    client = make(table(policy=policy), request_timeout_s=5)
    predictor.hold()
    told = []
    leavers = await opened(client, told, 100)
    assert client.app.in_flight("m-1.0.0") == 100
    for connection in told:
        connection.on_lost()
    await asyncio.sleep(0.01)
    assert client.app.in_flight("m-1.0.0") == 0
    predictor.let_go()
    assert (await client.post(PREDICT, ONE_ROW)).status == 200
    await asyncio.gather(*leavers, return_exceptions=True)
    found = counts(client.app)
    assert (found.counts, found.codes) == ({"ok": 1, "abandoned": 100}, {200: 1, 499: 100})
    assert (found.blamed, found.client_errors, found.judged, found.error_rate) == (0, 0, 1, 0.0)
    assert found.latency.count == 1


async def test_through_sockets_the_calls_of_those_who_hang_up_are_stopped():
    predictor = SumPredictor()
    async with listening(predictor) as (app, port):
        predictor.hold()
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in streams:
            writer.write(raw())
        await until(lambda: app.in_flight("m-1.0.0") == 100)
        for number, (_, writer) in enumerate(streams):
            if number % 2:
                writer.close()
            else:
                writer.transport.abort()
        await until(lambda: app.in_flight("m-1.0.0") == 0)
        predictor.let_go()
        assert (await post(port))[0] == 200
        assert counts(app).counts == {"ok": 1, "abandoned": 100}


async def test_an_abandoned_request_is_not_answered_by_a_fallback(make, predictor):
    client = make(canary(), request_timeout_s=5)
    predictor.hold()
    told = []
    (leaver,) = await opened(client, told, 1)
    told[0].on_lost()
    await asyncio.gather(leaver, return_exceptions=True)
    assert counts(client.app, "2.0.0").counts == {Outcome.ABANDONED: 1}
    assert not counts(client.app, "1.0.0").counts


# --- time limits that requests set themselves ---------------------------------------------------------------------


async def limited(client, ms, path=PREDICT):
    return await client.post(path, ONE_ROW, x_request_timeout_ms=str(ms))


async def test_a_request_may_set_a_shorter_limit(make, predictor):
    client = make(request_timeout_s=5)
    predictor.hold()
    late = await limited(client, 30)
    document = late.json()
    assert (late.status, document["code"], document["limit_s"], document["limit_of"]) == (
        504,
        "timeout",
        0.03,
        "request",
    )
    assert "X-Request-Timeout-Ms" in document["error"]
    assert client.app.in_flight("m-1.0.0") == 0
    predictor.let_go()
    assert (await limited(client, 5000)).status == (await limited(client, 10**12)).status == 200
    found = counts(client.app)
    assert (found.counts, found.codes) == ({"ok": 2, "abandoned": 1}, {200: 2, 504: 1})
    assert found.error_rate == 0.0


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "soon", "1e3", "+5", "1" * 19])
async def test_what_is_no_limit_is_refused(make, value):
    response = await limited(make(), value)
    assert (response.status, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("own", "limit_s", "whose"), [(0.05, 0.05, "model"), (60.0, 0.3, "gateway"), (None, 0.3, "gateway")]
)
async def test_whose_limit_it_was_is_told(make, predictor, own, limit_s, whose):
    client = make(table(replace(target(), timeout_s=own)), request_timeout_s=0.3)
    predictor.hold()
    late = await limited(client, 10_000)
    document = late.json()
    assert (late.status, document["limit_s"], document["limit_of"]) == (504, limit_s, whose)
    assert counts(client.app).counts == {"timeout": 1}, "a longer limit changes nothing, the version was late"


@pytest.mark.parametrize("replicas", [0, 1])
async def test_limits_of_a_millisecond_do_not_harm_a_version(make, predictor, replicas):
    routing = canary(policy=GatewayPolicy(breaker=BreakerPolicy(failure_threshold=1))) if replicas else table()
    client = make(routing, request_timeout_s=5)
    predictor.hold()
    predictor.replicas = lambda version: replicas
    for _ in range(5):
        assert (await limited(client, 1)).status == 504
    assert all(one.blamed == 0 for one in client.app.snapshot())


async def test_a_fallback_has_the_rest_of_the_requests_time():
    predictor = VersionsPredictor()
    app = GatewayApp(predictor, GatewayLimits(), SystemClock())
    app.apply(canary())
    client = AsgiClient(app)
    predictor.hold("2.0.0")
    response = await limited(client, 400)
    assert (response.status, response.json()["version"]) == (200, "1.0.0")
    predictor.hold("1.0.0")
    began = asyncio.get_running_loop().time()
    assert (await limited(client, 400)).status == 504
    assert 0.35 < asyncio.get_running_loop().time() - began < 2.0
    assert counts(app, "2.0.0").blamed == counts(app, "1.0.0").blamed == 0
    await app.close()


async def test_a_version_that_misses_what_another_usually_needs_has_failed():
    desk = Desk()
    lane, other = desk.lane("2.0.0"), desk.lane("1.0.0")
    for _ in range(50):
        other.recorder.answered(0.01, 1)
    other.usual.look(other.recorder.snapshot(), 0.0)
    lane.other = other
    for limit_s, kind in ((0.9, "OwnDeadlineExceeded"), (1.5, "DeadlineExceeded")):
        waiting = desk.batcher.admit(np.zeros((1, 1)), probabilities=False, timeout_s=limit_s, own_limit=True)
        future = desk.batcher.submit(lane, waiting)
        desk.end_turn()
        desk.sweep(limit_s)
        assert type(future.exception()).__name__ == kind
