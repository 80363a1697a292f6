"""The outbox: claims, order, retries, replacement, bounds, history; over memory and over a file."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import InvalidInput, StorageFailed
from streamb.monitoring.alerts.notification import Notification, NotifiedAlert
from streamb.monitoring.alerts.outbox import SILENCES, Change, Outbox, open_outbox
from tests.store.memory import memory_database


def notification(
    id_: str,
    status: str = "firing",
    *,
    dedup: str = "d",
    receiver: str = "log",
    group: str = "g",
    created_at: float = 0.0,
) -> Notification:
    one = NotifiedAlert(status, {"alertname": "HighErrorRate", "severity": "high"}, {}, 1.5, None, "f")
    return Notification(id_, receiver, group, status, {}, {}, {}, (one,), dedup, created_at)


@pytest.fixture(params=["memory", "file"])
def outbox(request, tmp_path):
    made = open_outbox(None if request.param == "memory" else tmp_path / "outbox.db", ManualClock(100.0))
    yield made
    made.close()


def put(outbox: Outbox, *notifications: Notification) -> None:
    outbox.commit(Change(notifications=notifications))


def ids(queued) -> list[str]:
    return [one.notification.notification_id for one in queued]


class TestDelivering:
    def test_in_order_and_nothing_twice(self, outbox):
        put(outbox, notification("a", group="1"), notification("b", group="2", dedup="e"))
        assert ids(outbox.claim(limit=5)) == ["a", "b"]
        assert outbox.claim(limit=5) == []
        outbox.delivered("a")
        outbox.delivered("a")
        assert ids(outbox.queued()) == ["b"]
        assert [(one.outcome, one.attempts, one.at) for one in outbox.history().items] == [("delivered", 1, 100.0)]

    def test_a_resolve_never_overtakes_its_trigger(self, outbox):
        put(outbox, notification("a"), notification("b", "resolved"), notification("c", receiver="slack"))
        assert ids(outbox.claim(limit=9)) == ["a", "c"]
        outbox.failed("a", "status 500", retry_at=160.0)
        assert outbox.claim(limit=9) == []

    def test_a_failure_waits_and_counts(self, outbox):
        put(outbox, notification("a"))
        outbox.claim()
        outbox.failed("a", "status 500", retry_at=160.0)
        assert outbox.claim() == []
        outbox._clock.advance(60)
        (again,) = outbox.claim(receiver="log")
        assert (again.attempts, again.last_error) == (1, "status 500")
        outbox.failed("a", "status 400", retry_at=None)
        (past,) = outbox.history().items
        assert (past.outcome, past.attempts, past.reason) == ("failed", 2, "status 400")
        assert outbox.queued() == []

    def test_a_clock_that_was_set_back_puts_nothing_off_for_long(self, outbox):
        outbox._clock.advance(86_400)
        put(outbox, notification("a"))
        outbox.claim()
        outbox.failed("a", "status 503", retry_at=outbox._clock.now() + 60)
        outbox._clock._now -= 86_400
        assert ids(outbox.claim()) == ["a"]

    def test_what_nobody_knows_is_ignored(self, outbox):
        outbox.delivered("x")
        outbox.failed("x", "why", retry_at=5.0)
        assert outbox.history().items == ()


class TestQueue:
    def test_the_same_notification_is_queued_once(self, outbox):
        put(outbox, notification("a"), notification("a"))
        put(outbox, notification("a"))
        assert ids(outbox.queued()) == ["a"]

    def test_newer_news_of_an_incident_take_the_place_of_those_that_wait(self, outbox):
        put(outbox, notification("a"), notification("x", dedup="other"))
        put(outbox, notification("b"))
        assert ids(outbox.queued()) == ["b", "x"]
        put(outbox, notification("c", "resolved"))
        put(outbox, notification("d", dedup="next"))
        assert ids(outbox.queued()) == ["b", "x", "c", "d"]

    def test_but_not_of_those_under_way(self, outbox):
        put(outbox, notification("a"))
        outbox.claim()
        put(outbox, notification("b"))
        assert ids(outbox.queued()) == ["a", "b"]

    def test_it_is_bounded_and_says_what_it_dropped(self):
        outbox = Outbox(memory_database(ManualClock()), ManualClock(), most_queued=3)
        put(outbox, *(notification(str(n), dedup=str(n), group=str(n)) for n in range(3)))
        outbox.claim()
        put(outbox, notification("new", dedup="new"))
        assert ids(outbox.queued()) == ["0", "2", "new"]
        assert [(one.notification.notification_id, one.outcome) for one in outbox.history().items] == [("1", "dropped")]

    def test_the_last_of_each_receiver_is_known_however_busy_another_is(self, tmp_path):
        path, clock = tmp_path / "outbox.db", ManualClock(100.0)
        outbox = open_outbox(path, clock)
        put(outbox, notification("lost", receiver="slack"))
        outbox.failed("lost", "status 400", retry_at=None)
        for number in range(150):
            clock.advance(1)
            put(outbox, notification(str(number)))
            outbox.delivered(str(number))
        assert "lost" not in {past.notification.notification_id for past in outbox.history().items}
        first = outbox.history(limit=100)
        assert len(outbox.history(cursor=first.next_cursor).items) == 51
        outbox.close()
        after = open_outbox(path, clock)
        for one in (outbox, after):
            assert {name: past.outcome for name, past in one.latest().items()} == {
                "slack": "failed",
                "log": "delivered",
            }
            assert one.latest()["log"].notification.notification_id == "149"
        after.close()

    def test_history_is_bounded_too_when_nothing_is_ever_delivered(self):
        clock = ManualClock()
        outbox = Outbox(memory_database(clock), clock, most_queued=2, most_history=5)
        for number in range(20):
            clock.advance(60)
            put(outbox, *(notification(f"{number}{letter}", dedup=f"{number}{letter}") for letter in "ab"))
        assert ids(outbox.queued()) == ["19a", "19b"]
        assert [past.notification.notification_id for past in outbox.history().items] == [
            "18b",
            "18a",
            "17b",
            "17a",
            "16b",
        ]
        assert {past.outcome for past in outbox.history().items} == {"dropped"}

    def test_thousands_at_once_are_not_too_many(self):
        outbox = Outbox(memory_database(ManualClock()), ManualClock(), most_queued=2, most_history=5)
        for letter in "ab":
            put(outbox, *(notification(f"{n}{letter}", dedup=f"{n}{letter}") for n in range(1_500)))
        assert len(outbox.queued()) <= 1_500

    def test_history_is_kept_for_days_and_bounded(self):
        clock = ManualClock()
        outbox = Outbox(memory_database(clock), clock, history_days=1, most_history=5)
        for number in range(20):
            clock.advance(60)
            put(outbox, notification(str(number)))
            outbox.delivered(str(number))
        assert [one.notification.notification_id for one in outbox.history().items] == ["19", "18", "17", "16", "15"]
        clock.advance(90_000)
        put(outbox, notification("late"))
        outbox.delivered("late")
        assert [one.notification.notification_id for one in outbox.history().items] == ["late"]


class TestFile:
    def test_a_successor_finds_everything(self, tmp_path):
        clock = ManualClock(5.0)
        outbox = open_outbox(tmp_path / "outbox.db", clock)
        outbox.commit(Change(silences={"s": {"n": 1}, "t": {}}, notifications=(notification("b"),)))
        outbox.claim()
        outbox.failed("b", "status 500", retry_at=9.0)
        outbox.commit(Change(silences={"t": None}))
        outbox.close()
        after = open_outbox(tmp_path / "outbox.db", clock)
        assert after.load(SILENCES) == {"s": {"n": 1}}
        assert ids(after.queued()) == ["b"]
        put(after, notification("c", "resolved"))
        assert ids(after.queued()) == ["b", "c"]
        after.close()

    def test_all_or_nothing(self, outbox):
        with pytest.raises(InvalidInput):
            outbox.commit(Change(silences={"s": {}, "t": {"x": float("nan")}}, notifications=(notification("a"),)))
        assert outbox.load(SILENCES) == {}
        assert outbox.queued() == []
        assert outbox.claim() == []

    def test_a_closed_one_says_so(self, tmp_path):
        outbox = open_outbox(tmp_path / "outbox.db", ManualClock())
        outbox.close()
        with pytest.raises(StorageFailed):
            put(outbox, notification("a"))
        assert outbox.queued() == []


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
ALERTS = st.builds(
    NotifiedAlert,
    status=st.sampled_from(["firing", "resolved"]),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    annotations=st.dictionaries(TEXT, TEXT, max_size=3),
    starts_at=st.integers(0, 10**13).map(lambda ms: ms / 1000),
    ends_at=st.none() | st.integers(0, 10**13).map(lambda ms: ms / 1000),
    fingerprint=TEXT,
)


class TestBody:
    @settings(max_examples=50)
    @given(ALERTS, st.integers(0, 10**12).map(lambda ms: ms / 1000), TEXT)
    def test_a_body_comes_back_as_it_was(self, one, created_at, name):
        it = Notification("n", name, name, "firing", {}, one.labels, {}, (one, one), "d", created_at, 3, "http://x")
        assert Notification.from_json(it.to_json()) == it

    def test_it_is_that_of_alertmanager(self):
        body = notification("a").to_json()
        assert body.keys() >= {
            "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
            "commonAnnotations", "externalURL", "alerts",
        }  # fmt: skip
        assert body["version"] == "4"
        assert body["alerts"][0] == {
            "status": "firing",
            "labels": {"alertname": "HighErrorRate", "severity": "high"},
            "annotations": {},
            "startsAt": "1970-01-01T00:00:01.500Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "f",
        }

    @pytest.mark.parametrize(
        ("change", "words"), [({"version": "3"}, "version"), ({"alerts": None}, "not a notification")]
    )
    def test_another_body_is_refused(self, change, words):
        with pytest.raises(InvalidInput, match=words):
            Notification.from_json(notification("a").to_json() | change)
        with pytest.raises(InvalidInput, match="dedupKey"):
            Notification.from_json({k: v for k, v in notification("a").to_json().items() if k != "dedupKey"})

    def test_title_and_severity(self):
        one = notification("a")
        assert one.severity == "high"
        assert one.title == "[FIRING:1] alerts"
