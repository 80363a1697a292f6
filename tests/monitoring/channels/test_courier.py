"""The courier: everything arrives once, whatever receivers do meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamb.clock import ManualClock, SystemClock
from streamb.errors import NotFound, StorageFailed
from streamb.monitoring.alerts.outbox import Change, Outbox, open_outbox
from streamb.monitoring.channels import Courier, DeliveryFailed, open_channels
from streamb.monitoring.channels.worker import LONGEST_RETRY_AFTER_S
from tests.monitoring.channels.notifications import START, notification
from tests.monitoring.channels.receivers import HANG, RESET, Receiver, Reply
from tests.serving.raised import KINDS
from tests.store.memory import memory_database


class Scripted:
    """Raises what it is told to, in turn; then delivers."""

    def __init__(self, name: str = "hook", *failures: BaseException) -> None:
        self.name = name
        self.failures = list(failures)
        self.sent: list[str] = []
        self.tries = 0

    def send(self, news) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(f"{news.dedup_key} {news.status}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def outbox(clock: ManualClock) -> Iterator[Outbox]:
    one = open_outbox(None, clock)
    yield one
    one.close()


def put(outbox: Outbox, *notifications) -> None:
    outbox.commit(Change(notifications=notifications))


def fail(*, retry: bool = True, retry_after_s: float | None = None) -> DeliveryFailed:
    return DeliveryFailed("it failed", retry=retry, retry_after_s=retry_after_s)


def outcomes(courier: Courier, channel: str = "hook") -> dict[str, int]:
    return {outcome: n for (name, outcome), n in courier.counts().items() if name == channel and n}


def deliver_for(
    courier: Courier, clock: ManualClock, seconds: float, until: Callable[[], bool] = lambda: False
) -> float:
    """Deliver, looking twice a second, until something holds; how long that took."""
    began = clock.monotonic()
    while not until() and clock.monotonic() - began < seconds:
        courier.deliver_due()
        clock.advance(0.5)
    return clock.monotonic() - began


class TestDelivery:
    def test_it_leaves_the_outbox_when_it_was_taken(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted()
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification(), notification("resolved"))
        courier.deliver_due()
        assert channel.sent == ["iris latency firing", "iris latency resolved"]
        assert outbox.queued() == []
        assert outcomes(courier) == {"delivered": 2}
        assert [past.outcome for past in outbox.history().items] == ["delivered"] * 2

    def test_each_channel_gets_its_own(self, outbox: Outbox, clock: ManualClock):
        channels = [Scripted("a"), Scripted("b")]
        put(outbox, notification(receiver="a"), notification(receiver="b"), notification(receiver="b", incident="x"))
        Courier(outbox, channels, clock).deliver_due()
        assert [len(channel.sent) for channel in channels] == [1, 2]

    def test_a_resolve_never_overtakes_its_trigger(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted("hook", fail(), fail())
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification(), notification("resolved"), notification(incident="other"))
        courier.deliver_due()
        assert channel.sent == []  # the second failure met the other incident
        deliver_for(courier, clock, 60)
        assert channel.sent.index("iris latency firing") < channel.sent.index("iris latency resolved")
        assert len(channel.sent) == 3


class TestRetries:
    def test_pauses_grow_and_jitter_within_limits(self, outbox: Outbox, clock: ManualClock):
        courier = Courier(outbox, [Scripted("hook", *[fail()] * 8)], clock, random=lambda: 1.0)
        put(outbox, notification())
        pauses = []
        for _ in range(8):
            before = outbox.queued()[0].attempts
            deliver_for(courier, clock, 200, lambda before=before: outbox.queued()[0].attempts > before)
            pauses.append(outbox.queued()[0].retry_at - clock.now() + 0.5)
        assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]

    def test_retry_after_holds_the_whole_channel(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted("hook", fail(retry_after_s=90.0))
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification(), notification(incident="other"))
        assert deliver_for(courier, clock, 200, lambda: channel.tries > 1) == pytest.approx(90, abs=1)
        deliver_for(courier, clock, 2)
        assert len(channel.sent) == 2
        assert outcomes(courier) == {"retried": 1, "delivered": 2}

    def test_nobody_is_left_alone_for_ever(self, outbox: Outbox, clock: ManualClock):
        courier = Courier(outbox, [Scripted("hook", fail(retry_after_s=1e9))], clock)
        put(outbox, notification())
        courier.deliver_due()
        assert outbox.queued()[0].retry_at == START + LONGEST_RETRY_AFTER_S

    def test_what_is_refused_is_not_tried_again(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted("hook", fail(retry=False))
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification())
        deliver_for(courier, clock, 100)
        assert (channel.tries, outcomes(courier)) == (1, {"refused": 1})
        past = outbox.history().items[0]
        assert (past.outcome, past.reason) == ("failed", "it failed")

    def test_it_is_given_up_after_some_days(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted("hook", *[fail()] * 10_000)
        courier = Courier(outbox, [channel], clock, give_up_days=0.01, random=lambda: 0.5)
        put(outbox, notification())
        took = deliver_for(courier, clock, 3_000, lambda: not outbox.queued())
        assert took == pytest.approx(864, abs=100)
        assert outcomes(courier)["given_up"] == 1

    def test_a_receiver_in_trouble_is_left_alone_and_asked_once(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted("hook", *[fail()] * 100)
        courier = Courier(outbox, [channel], clock)
        put(outbox, *[notification(incident=f"incident {n}") for n in range(50)])
        courier.deliver_due()
        assert channel.tries == 5
        assert courier.states()[0].open
        deliver_for(courier, clock, 29)
        assert channel.tries == 5
        deliver_for(courier, clock, 31)
        assert channel.tries == 6 or channel.tries == 7
        channel.failures.clear()
        deliver_for(courier, clock, 120)
        assert len(channel.sent) == 50
        assert not courier.states()[0].open

    def test_a_state_says_what_is_wrong(self, outbox: Outbox, clock: ManualClock):
        courier = Courier(outbox, [Scripted("hook", fail())], clock)
        put(outbox, notification())
        courier.deliver_due()
        state = courier.states()[0]
        assert (state.waiting, state.last_error, state.last_error_at, state.last_delivered_at) == (
            1,
            "it failed",
            START,
            None,
        )


class TestMistakes:
    def test_a_channel_that_raises_anything_is_a_failure_without_its_words(
        self, outbox: Outbox, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ):
        channel = Scripted("hook", ValueError("https://h/hunter2"))
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification())
        deliver_for(courier, clock, 5)
        assert channel.sent == ["iris latency firing"]
        assert "the channel failed: ValueError at " in courier.states()[0].last_error
        assert "hunter2" not in caplog.text + courier.states()[0].last_error

    @pytest.mark.parametrize("kind", KINDS)
    def test_whatever_a_channel_raises_it_goes_on(self, outbox: Outbox, clock: ManualClock, kind: str):
        channel = Scripted("hook", KINDS[kind])
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification())
        deliver_for(courier, clock, 5)
        assert channel.sent == ["iris latency firing"]

    def test_an_outbox_that_cannot_be_written_sends_nothing_twice(
        self, outbox: Outbox, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ):
        channel = Scripted()
        courier = Courier(outbox, [channel], clock)
        put(outbox, notification(), notification("resolved"))
        with monkeypatch.context() as patch:

            def full(_identity: str) -> None:
                raise StorageFailed("the disk is full")

            patch.setattr(outbox, "delivered", full)
            deliver_for(courier, clock, 20)
            assert channel.sent == ["iris latency firing"]
        courier.deliver_due()
        assert channel.sent == ["iris latency firing", "iris latency resolved"]
        assert outbox.queued() == []

    def test_what_has_no_channel_any_more_does_not_stay(self, outbox: Outbox, clock: ManualClock):
        put(outbox, notification(receiver="gone"))
        courier = Courier(outbox, [], clock)
        courier.start()
        assert outbox.history().items[0].reason == "the alert channel 'gone' no longer exists"
        put(outbox, notification(receiver="gone", incident="later"))
        courier.wake()
        assert courier.stop()
        assert (len(outbox.history().items), outbox.queued()) == (2, [])


class TestThreads:
    def test_a_receiver_that_hangs_does_not_hold_the_others(self, http: Receiver):
        http.always = HANG
        fine = Scripted("fine")
        slow = {"type": "webhook", "url": f"http://127.0.0.1:{http.port}/", "name": "slow", "timeout_s": 5}
        outbox = open_outbox(None, SystemClock())
        courier = Courier(outbox, [*open_channels([{**slow, "allow_private_addresses": True}]), fine], SystemClock())
        courier.start()
        courier.start()
        try:
            now = time.time()
            put(outbox, *[notification(receiver=name, created_at=now) for name in ("slow", "fine")])
            courier.wake()
            wait_until(lambda: fine.sent and http.received)
        finally:
            assert not courier.stop(0.05)
            http.released.set()
        wait_until(lambda: not any(thread.name.startswith("alerts-") for thread in threading.enumerate()))
        assert len(outbox.queued()) == 1
        outbox.close()

    def test_everything_arrives_in_the_end(self, http: Receiver):
        """429 with Retry-After, 500, a reset and a hang; then the process dies; its successor delivers the rest."""
        url = {
            "type": "webhook",
            "url": f"http://127.0.0.1:{http.port}/",
            "name": "hook",
            "allow_private_addresses": True,
        }
        clock = ManualClock(START)
        database = memory_database(clock)
        outbox = Outbox(database, clock)
        put(outbox, notification(), notification("resolved"), notification(incident="other"))
        http.answers.extend([Reply(429, b"", {"Retry-After": "5"}), Reply(500), RESET, HANG])
        courier = Courier(outbox, open_channels([{**url, "timeout_s": 0.4}], clock=clock), clock)
        deliver_for(courier, clock, 60, lambda: not http.answers)
        http.released.set()
        outbox = Outbox(database, clock)
        courier = Courier(outbox, open_channels([url], clock=clock), clock)
        deliver_for(courier, clock, 120, lambda: not outbox.queued())
        assert [past.outcome for past in outbox.history().items] == ["delivered"] * 3
        assert len({got.headers["Webhook-Id"] for got in http.received}) == 3
        assert len(http.received) >= 7
        outbox.close()


class TestTrials:
    def test_a_trial_goes_past_the_outbox(self, outbox: Outbox, clock: ManualClock):
        channel = Scripted()
        courier = Courier(outbox, [channel], clock)
        courier.try_channel("hook")
        assert (len(channel.sent), outbox.history().items) == (1, ())

    def test_an_incident_is_closed_again(self, http: Receiver, outbox: Outbox, clock: ManualClock):
        http.always = Reply(202)
        endpoint = f"http://127.0.0.1:{http.port}/"
        spec = {"type": "pagerduty", "routing_key": "R" * 32, "endpoint": endpoint, "allow_private_addresses": True}
        Courier(outbox, open_channels([spec], clock=clock), clock).try_channel("pagerduty")
        assert [b'"trigger"' in got.body for got in http.received] == [True, False]

    def test_a_channel_that_raises_anything_is_a_failure_without_its_words(self, outbox: Outbox, clock: ManualClock):
        courier = Courier(outbox, [Scripted("hook", ValueError("https://h/hunter2"))], clock)
        with pytest.raises(DeliveryFailed, match="the channel failed: ValueError at ") as caught:
            courier.try_channel("hook")
        assert "hunter2" not in str(caught.value)

    def test_it_says_why_it_fails_and_which_channels_there_are(self, outbox: Outbox, clock: ManualClock):
        courier = Courier(outbox, [Scripted("hook", fail())], clock)
        with pytest.raises(DeliveryFailed, match="it failed"):
            courier.try_channel("hook")
        with pytest.raises(NotFound, match="there is no alert channel 'pigeon'; the channels are: hook"):
            courier.try_channel("pigeon")


def wait_until(true: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.perf_counter() + seconds
    while not true():
        assert time.perf_counter() < deadline
        time.sleep(0.005)
