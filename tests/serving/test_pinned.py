"""Requests whose version is named or overridden are no evidence: by every way of naming it, alone and beside others."""

import asyncio
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from streamb.clock import ManualClock, SystemClock
from streamb.errors import ModelFailed
from streamb.metrics import Snapshot
from streamb.serving import Batch, GatewayApp, GatewayLimits
from streamb.serving.breaker import BreakerState
from streamb.serving.links.frames import Kind, frame_header
from streamb.serving.links.wire import decode_batch, encode_batch
from streamb.traffic import BreakerPolicy, GatewayPolicy, Override, Shadow, Split
from tests.serving.asgi_client import AsgiClient
from tests.serving.gateways import counts
from tests.serving.predictors import SumPredictor, VersionsPredictor, table, target

PREDICT = {"instances": [[1, 2]]}
INFER = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
POLICY = GatewayPolicy(breaker=BreakerPolicy(failure_threshold=3), token_key=b"k" * 32)
VERSIONS = ("1.0.0", "2.0.0")
ALIASES = {"champion": "1.0.0", "challenger": "2.0.0"}
NO_EVIDENCE = (
    "aside",
    "codes",
    "batch_sizes",
    "batch_rows",
    "in_flight",
    "queued",
    "waited_ns",
    "fallbacks",
    "retries",
)
"""What such requests do change: counters that no rollout, breaker or drift detector reads."""


def routing(new=5000, **options):
    split = Split.by_shares([("2.0.0", new), ("1.0.0", 10_000 - new)])
    overrides = (Override("1.0.0", frozenset({"old-friend"})), Override("2.0.0", frozenset({"new-friend"})))
    options = {"policy": POLICY, "shadow": Shadow("2.0.0", 10_000), "aliases": ALIASES, **options}
    return table(*map(target, VERSIONS), split=split, overrides=overrides, **options)


def alias(version):
    return {number: name for name, number in ALIASES.items()}[version]


WAYS = {
    "number in the path": lambda v, verb: (f"/v2/models/m/versions/{v}/{verb}", {}, {}),
    "alias in the path": lambda v, verb: (f"/v2/models/m/versions/{alias(v)}/{verb}", {}, {}),
    "number in the header": lambda v, verb: (f"/v2/models/m/{verb}", {"x_model_version": v}, {}),
    "alias in the header": lambda v, verb: (f"/v2/models/m/{verb}", {"x_model_version": alias(v)}, {}),
    "both": lambda v, verb: (f"/v2/models/m/versions/{v}/{verb}", {"x_model_version": alias(v)}, {}),
    "overridden user": lambda v, verb: (f"/v2/models/m/{verb}", {"x_user_id": friend(v)}, {}),
    "overridden user in the body": lambda v, verb: (f"/v2/models/m/{verb}", {}, user_in_body(friend(v), verb)),
}


def friend(version):
    return "old-friend" if version == "1.0.0" else "new-friend"


def user_in_body(user, verb):
    return {"user_id": user} if verb == "predict" else {"parameters": {"user_id": user}}


async def send(client, way, version, verb="predict", **more):
    path, headers, fields = WAYS[way](version, verb)
    body = {**(PREDICT if verb == "predict" else INFER), **fields, **more}
    return await client.post(path, body, **headers)


def evidence(app):
    """Everything that was counted for each version, but what is no evidence."""
    plain = {name: getattr(Snapshot("", ""), name) for name in NO_EVIDENCE}
    return [replace(one, **plain) for one in app.snapshot() if one.model_id]


async def settled(app):
    for _ in range(1000):
        if not app.in_flight("m-1.0.0") and not app.in_flight("m-2.0.0"):
            return
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("way", "verb"), list(product(WAYS, ("predict", "infer"))))
async def test_they_change_no_count_that_is_evidence_and_open_no_breaker(way, verb):
    predictor = VersionsPredictor()
    client = AsgiClient(GatewayApp(predictor, GatewayLimits(), ManualClock(1e9)))
    client.app.apply(routing())
    for number in range(20):
        await client.post("/v2/models/m/predict", PREDICT, x_user_id=f"u{number}")
    await settled(client.app)
    before = evidence(client.app)
    for version in VERSIONS:
        good = await send(client, way, version, verb)
        assert (good.status, good.headers["x-model-version"]) == (200, version)
        token = good.headers["x-request-id"]
        told = (await client.post("/v2/models/m/feedback", {"request_id": token, "label": 99, "success": False})).json()
        assert told["not_joined"] == {"label": "pinned", "success": "pinned"}
        predictor.errors[version] = ModelFailed("the model raised")
        for _ in range(10):
            assert (await send(client, way, version, verb)).status == 500
        predictor.errors.clear()
        bad = {"instances": [["a", "b"]]} if verb == "predict" else {"inputs": [{**INFER["inputs"][0], "data": ["a"]}]}
        assert (await send(client, way, version, verb, **bad)).status >= 400
        await settled(client.app)
    client.app.snapshot()
    after = [
        replace(one, feedback={k: n for k, n in one.feedback.items() if k != "pinned"}) for one in evidence(client.app)
    ]
    assert after == before
    assert [counts(client.app, version).aside["model_error"] for version in VERSIONS] == [10, 10]
    assert {known.breaker.state for known in client.app._builder.known()} == {BreakerState.CLOSED}


@pytest.mark.parametrize("way", WAYS)
async def test_beside_ordinary_ones_they_never_share_a_call(way):
    """While a call is under way all others wait, and go together: but those that name their version by themselves."""
    predictor = SumPredictor()
    app = GatewayApp(predictor, GatewayLimits(calls_per_replica=1), SystemClock())
    app.apply(routing(0, shadow=None))
    client = AsgiClient(app)
    predictor.hold()
    first = asyncio.create_task(client.post("/v2/models/m/predict", PREDICT))
    await asyncio.sleep(0.01)
    others = []
    for number in range(20):
        one = client.post("/v2/models/m/predict", PREDICT) if number % 2 else send(client, way, "1.0.0")
        others.append(asyncio.create_task(one))
    await asyncio.sleep(0.01)
    predictor.let_go()
    assert {response.status for response in await asyncio.gather(first, *others)} == {200}
    assert sorted((len(batch.counts), batch.aside) for _, batch in predictor.batches) == [
        (1, False),
        (10, False),
        (10, True),
    ]
    counted = counts(app, "1.0.0")
    assert (counted.ok, counted.aside, sum(counted.predictions.values())) == (11, {"ok": 10}, 11)


async def test_a_fallback_of_theirs_takes_nothing_from_the_budget_of_others_and_is_no_evidence():
    predictor = VersionsPredictor()
    app = GatewayApp(predictor, GatewayLimits(), SystemClock())
    app.apply(routing(10_000, fallback="1.0.0", policy=GatewayPolicy(), shadow=None))
    client = AsgiClient(app)
    predictor.errors["2.0.0"] = ModelFailed("the model raised")
    answers = [await send(client, "number in the header", "2.0.0") for _ in range(50)]
    assert {answer.status for answer in answers} == {200, 500}, "as many as a budget allows are answered by stable"
    assert [one.total for one in evidence(app)] == [0, 0]
    assert [(await client.post("/v2/models/m/predict", PREDICT)).status for _ in range(10)] == [200] * 10


async def test_without_an_answer_they_are_not_overdue():
    predictor, clock = VersionsPredictor(), ManualClock(1000.0)
    app = GatewayApp(predictor, GatewayLimits(), clock)
    app.apply(routing())
    client = AsgiClient(app)
    predictor.hold("2.0.0")
    waiting = [asyncio.create_task(send(client, way, "2.0.0")) for way in WAYS]
    await asyncio.sleep(0.02)
    clock.advance(20)
    assert counts(app, "2.0.0").overdue == 0
    predictor.let_go("2.0.0")
    await asyncio.gather(*waiting)


async def test_an_open_breaker_keeps_them_away_and_they_are_no_trial_calls():
    predictor, clock = VersionsPredictor(), ManualClock(1000.0)
    app = GatewayApp(predictor, GatewayLimits(), clock)
    app.apply(routing())
    client = AsgiClient(app)
    breaker = app._builder.known()[1].breaker
    for _ in range(3):
        breaker.failed(breaker.generation, clock.monotonic())
    assert (await send(client, "number in the path", "2.0.0")).status == 503
    clock.advance(30)
    assert (await send(client, "number in the path", "2.0.0")).status == 200
    assert breaker.state is BreakerState.OPEN, "only an ordinary request tries whether it may close"


def test_the_flag_reaches_the_replica():
    for aside in (False, True):
        assert _sent(Batch([["a"]], (1,), (), aside)).aside is aside
        assert _sent(Batch(np.eye(2), (1, 1), (), aside)).aside is aside


def _sent(batch):
    frame = encode_batch(7, batch)
    return decode_batch(bytearray(frame[len(frame_header(7, Kind.CALL, 0)) :]))
