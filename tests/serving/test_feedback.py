"""Feedback, from the answer that it is about to the counts that it moves."""

import json
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.hashing import sha256_hex
from streamb.metrics import OutcomeWindows, VersionRecorder
from streamb.models.outputs import Answer
from streamb.serving import BatchReply, GatewayApp, GatewayLimits
from streamb.serving.feedback import LATE_S, FeedbackDesk, Known, OwnIds
from streamb.serving.labels import Feedback
from streamb.serving.targets import TableBuilder
from streamb.serving.tokens import MARK, Record
from streamb.traffic import GatewayPolicy, KeyGrant, RoutingTable
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import SumPredictor, table, target

PREDICT, FEEDBACK = "/v2/models/m/predict", "/v2/models/m/feedback"
KEY = b"k" * 32
SIGNED = GatewayPolicy(token_key=KEY)
DAY_S = 86_400.0


def gateway(clock=None, policy=SIGNED, predictor=None, routing=None):
    app = GatewayApp(predictor or SumPredictor(), GatewayLimits(), clock or ManualClock(1e9))
    assert app.apply(routing or table(policy=policy))
    return AsgiClient(app)


def learned(client, version="1.0.0", model="m"):
    (found,) = [one for one in client.app.snapshot() if (one.model_id, one.version) == (model, version)]
    return dict(found.feedback)


def orphans(client):
    return learned(client, "", "").get("orphans", 0)


async def ask(client, *rows, **headers):
    response = await client.post(PREDICT, {"instances": list(rows) or [[1, 2]]}, **headers)
    assert response.status == 200
    assert response.json()["request_id"] == response.headers["x-request-id"]
    return response.headers["x-request-id"]


async def tell(client, request_id, path=FEEDBACK, **said):
    response = await client.post(path, {"request_id": request_id, **said})
    assert response.status == 202, response.json()
    return response.json()


# --- request ids --------------------------------------------------------------------------------------------------


async def test_the_id_of_an_answer_is_a_token_and_that_of_an_error_is_plain():
    client = gateway()
    assert (await ask(client)).startswith(MARK)
    refused = await client.post(PREDICT, {"instances": [["a", "b"]]})
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert not refused.headers["x-request-id"].startswith(MARK)


async def test_ids_of_tensor_replies_are_tokens_too():
    client = gateway()
    tensor = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
    response = await client.post("/v2/models/m/infer", {"inputs": [tensor]})
    assert response.json()["id"] == response.headers["x-request-id"]
    assert (await tell(client, response.json()["id"], label=3.0))["joined"] == ["label"]


async def test_without_a_key_ids_are_plain_and_join_nothing():
    client = gateway(policy=GatewayPolicy())
    request_id = await ask(client)
    assert not request_id.startswith(MARK)
    assert await tell(client, request_id, success=True) == {
        "model": "m",
        "version": None,
        "joined": [],
        "not_joined": {"success": "orphan"},
    }
    assert orphans(client) == 1


async def test_an_answer_that_cannot_be_written_keeps_its_plain_id():
    class Strange:
        async def predict(self, target, batch):
            return BatchReply(np.array([object()] * len(batch.rows), dtype=object))

    client = gateway(predictor=Strange())
    response = await client.post(PREDICT, {"instances": [[1, 2]]})
    assert response.status == 500
    assert not response.headers["x-request-id"].startswith(MARK)
    await client.post(PREDICT, {"instances": [[1, 2]]}, x_request_id="mine")
    assert (await tell(client, "mine", success=True))["not_joined"] == {"success": "orphan"}


# --- joining ------------------------------------------------------------------------------------------------------


async def test_everything_at_once():
    client = gateway()
    answer = await tell(client, await ask(client), label=2.5, success=True, value=-1.25)
    assert answer == {"model": "m", "version": "1.0.0", "joined": ["label", "success", "value"], "not_joined": {}}
    assert learned(client) == {
        "labels": 1,
        "error_micro": 500_000,
        "squared_error_micro": 250_000,
        "successes": 1,
        "values": 1,
        "value_micro": -1_250_000,
    }


async def test_any_gateway_joins_a_token_weeks_later():
    clock = ManualClock(1e9)
    request_id = await ask(gateway(clock), [1, 2], [3, 4])
    clock.advance(20 * DAY_S)
    other = gateway(clock)
    assert (await tell(other, request_id, label=[None, 8], success=False))["version"] == "1.0.0"
    assert learned(other) == {"labels": 1, "error_micro": 1_000_000, "squared_error_micro": 1_000_000, "failures": 1}


async def test_a_version_that_is_gone_is_still_counted():
    request_id = await ask(gateway())
    other = gateway(routing=table(target("2.0.0"), policy=SIGNED))
    assert (await tell(other, request_id, label=3.0))["version"] == "1.0.0"
    assert learned(other)["labels"] == 1


async def test_a_new_table_keeps_what_was_told_and_a_new_key_forgets_the_tokens():
    client = gateway()
    request_id = await ask(client)
    await tell(client, request_id, success=True)
    client.app.apply(table(epoch=2, policy=GatewayPolicy(token_key=bytes(KEY))))
    assert (await tell(client, request_id, success=True))["not_joined"] == {"success": "duplicate"}
    client.app.apply(table(epoch=3, policy=GatewayPolicy(token_key=b"other")))
    assert (await tell(client, request_id, success=True))["not_joined"] == {"success": "orphan"}


async def test_the_clients_own_id_is_echoed_and_remembered_for_an_hour():
    clock = ManualClock(1e9)
    client = gateway(clock)
    assert await ask(client, x_request_id="order-17") == "order-17"
    assert (await tell(client, "order-17", label=3))["joined"] == ["label"]
    assert (await tell(client, "order-17", label=3))["not_joined"] == {"label": "duplicate"}
    clock.advance(3601)
    assert (await tell(client, "order-17", success=True))["not_joined"] == {"success": "orphan"}


async def test_an_own_id_that_is_used_again_names_nothing_any_more():
    client = gateway()
    await ask(client, [1, 2], x_request_id="r")
    assert (await tell(client, "r", label=3))["joined"] == ["label"]
    for _ in range(80):
        await ask(client, [10, 20], x_request_id="r")
        assert (await tell(client, "r", label=0, success=False))["not_joined"] == {
            "label": "ambiguous",
            "success": "ambiguous",
        }
    assert learned(client) == {"labels": 1}


def infer(**more):
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}], **more}


async def test_the_id_of_a_tensor_request_finds_its_prediction_too():
    client = gateway()
    answer = await client.post("/v2/models/m/infer", infer(id="order 17"))
    assert answer.json()["id"] == "order 17", "it is repeated, but cannot be an id for feedback"
    assert (await tell(client, "order 17", label=3))["not_joined"] == {"label": "orphan"}
    answer = await client.post("/v2/models/m/infer", infer(id="order-17"))
    token = answer.headers["x-request-id"]
    assert (answer.json()["id"], token.startswith(MARK)) == ("order-17", True)
    assert (await tell(client, "order-17", label=3))["joined"] == ["label"]
    assert (await tell(client, token, label=3, success=True))["not_joined"] == {"label": "duplicate"}
    assert (await tell(client, "order-17", success=True))["not_joined"] == {"success": "duplicate"}


async def test_with_both_ids_either_finds_the_prediction_and_one_that_is_used_again_is_ambiguous():
    client = gateway()
    answer = await client.post("/v2/models/m/infer", infer(id="a"), x_request_id="x")
    assert (answer.json()["id"], answer.headers["x-request-id"]) == ("a", "x")
    assert (await tell(client, "a", label=3))["joined"] == ["label"]
    assert (await tell(client, "x", label=3))["not_joined"] == {"label": "duplicate"}
    await client.post("/v2/models/m/infer", infer(id="b"), x_request_id="x")
    assert (await tell(client, "a", label=3))["not_joined"] == {"label": "duplicate"}, "the first one's"
    assert (await tell(client, "x", label=3))["not_joined"] == {"label": "ambiguous"}
    assert (await tell(client, "b", label=3))["joined"] == ["label"], "the second one's"


@pytest.mark.parametrize("body_id", ["", "x" * 129, "é", "two words", "nul\x00", "\ud800"])
async def test_what_cannot_be_an_id_is_repeated_and_not_remembered(body_id):
    client = gateway()
    body = json.dumps(infer(id=body_id)).encode()
    if body_id == "\ud800":  # half of a surrogate pair is no JSON text
        assert (await client.post("/v2/models/m/infer", body)).status == 400
        return
    answer = await client.post("/v2/models/m/infer", body)
    assert answer.json()["id"] == (body_id or answer.headers["x-request-id"])
    if body_id:
        assert (await tell(client, body_id, success=True))["not_joined"] == {"success": "orphan"}


async def test_a_token_that_is_sent_as_a_request_id_names_no_second_prediction():
    client = gateway()
    first = await ask(client, [1, 2])
    second = await ask(client, [10, 20], x_request_id=first)
    assert second != first
    await tell(client, second, label=30)
    await tell(client, first, label=3)
    assert learned(client) == {"labels": 2}


async def test_another_models_token_is_an_orphan():
    client = gateway()
    both = RoutingTable(2, {**table().models, **table(model="n").models}, SIGNED)
    client.app.apply(both)
    answer = await tell(client, await ask(client), "/v2/models/n/feedback", success=True)
    assert answer["not_joined"] == {"success": "orphan"}


async def test_late_is_later_than_thirty_days():
    clock = ManualClock(1e9)
    client = gateway(clock)
    request_id = await ask(client)
    clock.advance(LATE_S)
    assert (await tell(client, request_id, success=True))["joined"] == ["success"]
    clock.advance(1)
    assert (await tell(client, request_id, label=3, success=True))["not_joined"] == {"label": "late", "success": "late"}
    assert learned(client) == {"successes": 1, "late": 2}


async def test_predictions_that_an_id_has_no_room_for():
    client = gateway()
    request_id = await ask(client, *([1, 2] for _ in range(17)))
    answer = await tell(client, request_id, label=[3] * 16, success=True)
    assert (answer["joined"], answer["not_joined"]) == (["success"], {"label": "unjoinable"})
    assert learned(client) == {"unjoinable": 1, "successes": 1}


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v2/models/nobody/feedback", {"request_id": "r", "success": True}, 404, "not_found"),
        (FEEDBACK, {"request_id": "r"}, 422, "invalid_input"),
        (FEEDBACK, {"success": True}, 422, "invalid_input"),
        (FEEDBACK, {"request_id": "r", "value": "much"}, 422, "invalid_input"),
        (FEEDBACK, b"not json", 400, "bad_request"),
        (FEEDBACK, b" " * 70_000, 413, "body_too_large"),
    ],
)
async def test_what_is_refused(path, body, status, code):
    client = gateway()
    response = await client.post(path, body)
    assert (response.status, response.json()["code"]) == (status, code)
    assert not any(one.feedback or one.blamed for one in client.app.snapshot())


@pytest.mark.parametrize("label", ["three", True, [3, 3]])
async def test_a_label_that_does_not_fit_counts_nothing(label):
    client = gateway()
    request_id = await ask(client)
    response = await client.post(FEEDBACK, {"request_id": request_id, "label": label, "success": True})
    assert (response.status, response.json()["code"]) == (422, "invalid_input")
    assert learned(client) == {}
    assert (await tell(client, request_id, label=3, success=True))["joined"] == ["label", "success"]


async def test_a_key_is_needed_where_keys_are():
    policy = GatewayPolicy(
        api_key_required=True, keys={sha256_hex(b"right"): KeyGrant("k1", "ada", frozenset())}, token_key=KEY
    )
    client = gateway(policy=policy)
    request_id = await ask(client, x_api_key="right")
    body = {"request_id": request_id, "success": True}
    assert (await client.post(FEEDBACK, body)).status == 401
    assert (await client.post(FEEDBACK, body, x_api_key="right")).status == 202


def keyed(*names, permissions=("predict",), check=True):
    """A policy with a key for each principal, named as it."""
    keys = {sha256_hex(name.encode()): KeyGrant(f"k-{name}", name, frozenset(permissions)) for name in names}
    keys[sha256_hex(b"judge")] = KeyGrant("k-judge", "judge", frozenset({"feedback"}))
    return GatewayPolicy(keys=keys, check_permissions=check, token_key=KEY)


@pytest.mark.parametrize("own", [{}, {"x_request_id": "mine"}])
async def test_only_who_asked_tells_what_became_of_it_or_one_who_may_tell_of_all(own):
    client = gateway(policy=keyed("ada", "eve", permissions=("predict",), check=False))
    client.app.apply(replace(client.app.table, epoch=2, policy=keyed("ada", "eve")))
    desk, answers = client.app._feedback, []
    request_id = await ask(client, x_api_key="ada", **own)
    said = Feedback(request_id, label=(3.0,), success=True)
    for caller, of_all in (("eve", False), ("", False), ("ada", False), ("judge", True)):
        answers.append(desk.take("m", said, caller, of_all=of_all)["not_joined"])
    fate = "orphan" if own else "foreign"  # nobody else has such an id
    nothing, again = {"label": fate, "success": fate}, {"label": "duplicate", "success": "duplicate"}
    assert answers == [nothing, nothing, {}, again]


async def test_what_two_gateways_are_told_of_one_answer_counts_once():
    clock = ManualClock(1e9)
    one, other = gateway(clock), gateway(clock)
    request_id = await ask(one)
    windows = OutcomeWindows()
    for second in range(5):
        for name, client in (("one", one), ("other", other)):
            if second == 1:
                assert (await tell(client, request_id, label=3, success=True))["joined"] == ["label", "success"]
            windows.feed(name, float(second), client.app.snapshot())
    assert windows.total("m", "1.0.0").feedback == {"labels": 1, "successes": 1}
    assert sum(tally.get("labels", 0) for tally in windows.total("m", "1.0.0").callers.values()) == 1
    other_id = await ask(one)
    await tell(other, other_id, label=3)
    for name, client in (("one", one), ("other", other)):
        windows.feed(name, 6.0, client.app.snapshot())
    assert windows.total("m", "1.0.0").feedback == {"labels": 2, "successes": 1}


async def test_an_anonymous_caller_tells_of_anonymous_predictions_only():
    client = gateway(policy=keyed("ada", check=False))
    anonymous, named = await ask(client), await ask(client, x_api_key="ada")
    assert (await tell(client, anonymous, label=3))["joined"] == ["label"]
    assert (await tell(client, named, label=3))["not_joined"] == {"label": "foreign"}


async def test_nobody_makes_the_ids_of_others_ambiguous():
    client = gateway(policy=keyed("ada", "eve", check=False))
    await ask(client, [1, 2], x_api_key="ada", x_request_id="order-1")
    await ask(client, [10, 20], x_api_key="eve", x_request_id="order-1")
    desk = client.app._feedback
    assert desk.take("m", Feedback("order-1", label=(3.0,)), "ada")["joined"] == ["label"]
    assert desk.take("m", Feedback("order-1", label=(3.0,)), "judge", of_all=True)["not_joined"] == {
        "label": "ambiguous"
    }
    assert learned(client) == {"labels": 1, "ambiguous": 0} or learned(client) == {"labels": 1}


async def test_before_the_first_table():
    client = AsgiClient(GatewayApp(SumPredictor(), GatewayLimits(), ManualClock()))
    assert (await client.post(FEEDBACK, {"request_id": "r", "success": True})).status == 503


# --- memory -------------------------------------------------------------------------------------------------------


def test_own_ids_are_bounded_in_number_and_time():
    ids, record = OwnIds(limit=3, lifetime_s=10), Known(Record("1.0.0", "other", 0, 0, b""), ("m", "r", 1))
    for number in range(5):
        ids.put(("m", str(number)), record, float(number))
    assert [number for number in range(5) if ids.get(("m", str(number)), 4.0)] == [2, 3, 4]
    ids.put(("m", "2"), record, 5.0)
    ids.put(("m", "5"), record, 5.0)
    assert ids.get(("m", "2"), 5.0) == record
    assert ids.get(("m", "3"), 5.0) is None
    ids.put(("m", "6"), record, 15.5)
    assert len(ids) == 1


def test_ids_with_feedback_are_bounded(monkeypatch):
    monkeypatch.setattr("streamb.serving.feedback.REMEMBERED", 2)
    desk, served, _ = make_desk(ManualClock())
    ids = [desk.sign("plain", served, "", Answer(np.array([1.0]))) for _ in range(3)]
    fates = [desk.take("m", Feedback(one, success=True))["not_joined"] for one in (*ids, ids[2], ids[0])]
    assert fates == [{}, {}, {}, {"success": "duplicate"}, {}]


# --- the whole, against a plain account ---------------------------------------------------------------------------


def make_desk(clock):
    builder, unrouted = TableBuilder(), VersionRecorder("", "")
    desk = FeedbackDesk(builder.recorders, unrouted, clock)
    desk.use(KEY)
    return desk, builder.build(table()).models["m"].versions["1.0.0"], unrouted


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask own", "ask body", "ask both", "tell", "tell", "tell", "tell nobody", "wait"]),
        st.integers(0, 5),
        st.sets(st.sampled_from(["label", "success", "value"]), min_size=1),
    ),
    max_size=60,
)


class Asked(NamedTuple):
    """A request, with every id that finds it, and its number."""

    ids: tuple[str, ...]
    at: float
    large: bool
    number: int


class Account:
    """Keeps everything forever, and says what must come out."""

    def __init__(self):
        self.clock = ManualClock(1e9)
        self.desk, self.served, self.unrouted = make_desk(self.clock)
        self.asked: list[Asked] = []
        self.told: set[tuple[Asked, str]] = set()
        self.expected: Counter[str] = Counter()

    def ask(self, which, *, own, body):
        answer = Answer(np.zeros(17 if which == 0 else 1))
        own_id, body_id = f"own-{which % 2}" if own else "", f"own-{which % 3}" if body else ""
        request_id = own_id or self.desk.sign("plain", self.served, "", answer)
        self.desk.remember(own_id, body_id, request_id, self.served, answer)
        ids = tuple(one for one in (request_id, body_id) if one)
        self.asked.append(Asked(ids, self.clock.now(), which == 0, len(self.asked)))

    def tell(self, request_id, fields):
        meant = [one for one in self.asked if request_id in one.ids]
        # Each use of an id within an hour of the one before makes it ambiguous for another hour.
        times = [one.at for one in meant] + [self.clock.now()]
        reused = len(meant) > 1 and request_id.startswith("own")
        if reused and times[-2] - times[-3] <= 3600 and times[-1] - times[-2] <= 3600:
            self.expected.update(["ambiguous"] * len(fields))
        else:
            self.expected.update([self.fate(meant[-1] if meant else None, field, request_id) for field in fields])
        label = (1.0,) if "label" in fields else ()
        success, value = True if "success" in fields else None, 2.0 if "value" in fields else None
        self.desk.take("m", Feedback(request_id, label, success, value))

    def fate(self, asked, field, request_id):
        if asked is None or (request_id.startswith("own") and self.clock.now() - asked.at > 3600):
            return "orphans"
        if self.clock.now() - asked.at > LATE_S:
            return "late"
        if (asked, field) in self.told:
            return "duplicates"
        if field == "label" and asked.large:
            return "unjoinable"
        self.told.add((asked, field))
        return {"label": "labels", "success": "successes", "value": "values"}[field]


@given(EVENTS)
def test_every_field_is_counted_once_under_what_became_of_it(events):
    account = Account()
    for event, which, fields in events:
        if event == "wait":
            account.clock.advance([1.0, 1800.0, 3600.0, DAY_S, 10 * DAY_S, 25 * DAY_S][which])
        elif event.startswith("ask"):
            account.ask(which, own=event in ("ask own", "ask both"), body=event in ("ask body", "ask both"))
        elif event == "tell" and account.asked:
            account.tell(account.asked[which % len(account.asked)].ids[-1 if which % 2 else 0], fields)
        else:
            account.tell("nobody", fields)
    expected = account.expected
    expected["value_micro"] = 2_000_000 * expected["values"]
    expected["error_micro"] = expected["squared_error_micro"] = 1_000_000 * expected["labels"]
    counted = Counter(account.served.recorder.snapshot().feedback) + Counter(account.unrouted.snapshot().feedback)
    assert counted == +expected
