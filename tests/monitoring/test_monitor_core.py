"""The Monitor without Ray: drift, health, alerts and scores from what a replica and a gateway push."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamb.errors import InvalidFeatures, InvalidInput, NotFound
from streamb.monitoring.alerts.causes import Happening
from streamb.monitoring.alerts.deployments import News
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.outbox import Outbox
from streamb.monitoring.baselines import Baselines
from streamb.monitoring.channels import Courier
from streamb.monitoring.monitor import MonitorCore
from streamb.monitoring.watches import STALE_S, Watches
from tests.monitoring.monitor_house import COLUMNS, MODEL, VERSION, MonitorHouse, baseline_of, rows_of
from tests.monitoring.test_exposition import samples

pytestmark = pytest.mark.slow


@pytest.fixture
def house(tmp_path: Path) -> Iterator[MonitorHouse]:
    house = MonitorHouse(tmp_path / "state")
    yield house
    house.close()


@pytest.fixture
def watched(house: MonitorHouse) -> MonitorHouse:
    """With a baseline that the replica folds by."""
    house.baseline()
    house.push()
    house.go_on(20, count=300)
    return house


class TestHealth:
    def test_a_calm_version_is_healthy_in_numbers(self, watched):
        found = watched.health()
        assert (found["status"], found["reasons"]) == ("healthy", [])
        assert found["current_metrics"]["average_latency_ms"] == pytest.approx(10)
        assert found["current_metrics"]["requests"] == 1200
        assert found["drift_status"]["status"] == "stable"
        assert found["baseline"]["number"] == 1
        json.dumps(found, allow_nan=False)

    def test_data_that_shift_degrade_it_and_say_where(self, watched):
        watched.go_on(20, count=1000, shift=1.0)
        found = watched.health()
        assert found["status"] == "degraded"
        assert "width" in found["drift_status"]["drifted"]
        assert "height" not in found["drift_status"]["drifted"]
        assert "width" in " ".join(found["reasons"])

    def test_rows_that_do_not_fit_the_baseline_are_told(self, watched):
        watched.replica.observe([[1.0, 2.0, 3.0]] * 7, [True] * 7)
        watched.go_on(5, count=300)
        told = watched.health()["rows"]
        assert (told["rows"], told["unreadable"], told["dropped"], told["late"]) == (1_500, 7, 0, 0)

    def test_throughput_after_a_restart_is_what_it_was(self, watched):
        watched.go_on(600, count=50)
        usual = watched.health()["current_metrics"]["throughput"]
        assert usual == pytest.approx(10, rel=0.1)
        for kill in (False, True):
            watched.restart(kill=kill)
            watched.go_on(5, count=50)
            assert watched.health()["current_metrics"]["throughput"] == pytest.approx(usual, rel=0.1)

    def test_a_clock_that_was_wrong_for_a_while_leaves_drift_labels_and_silence_working(self, watched):
        watched.clock.advance(86_400 * 30)
        watched.label(100, 90)
        watched.go_on(10, count=300)
        watched.clock._now -= 86_400 * 30
        watched.label(100, 50)
        watched.go_on(10, count=300)
        found = watched.health()
        assert (found["status"], found["current_metrics"]["accuracy"]) == ("healthy", 0.7)
        assert found["drift_status"]["rows"] == 300 * 4
        watched.go_on(STALE_S + 10, pushing=False)
        assert watched.health()["status"] == "unknown"

    def test_errors_beyond_doubt_are_unhealthy_at_once(self, watched):
        watched.go_on(5, count=100, failed=100)
        assert watched.health()["status"] == "unhealthy"
        assert watched.core.overview()[MODEL]["status"] == "unhealthy"

    def test_slow_answers_degrade_it(self, watched):
        watched.go_on(20, count=2000, latency_s=1.5)
        assert watched.health()["status"] == "degraded"

    def test_silence_is_unknown_and_ends_with_the_next_push(self, watched):
        watched.go_on(STALE_S + 10, pushing=False)
        found = watched.health()
        assert (found["status"], found["silence_s"] > STALE_S) == ("unknown", True)
        assert watched.core.scores() == []
        watched.go_on(10, count=100)
        assert watched.health()["status"] == "healthy"

    def test_a_gateway_alone_that_is_silent_makes_it_unknown_too(self, watched):
        for _ in range(8):
            watched.clock.advance(5)
            watched.push(gateway=False)
            watched.core.tick()
        assert watched.health()["status"] == "unknown"

    def test_own_thresholds_replace_those_of_the_settings(self, watched):
        watched.core.set_thresholds(MODEL, {"max_latency_ms": 5}, author="ann")
        watched.go_on(20, count=500)
        assert watched.health()["status"] == "unhealthy"
        watched.restart()
        kept = watched.core._watches.described(MODEL)
        assert (kept["thresholds"]["max_latency_ms"], kept["thresholds"]["max_error_rate"]) == (5, None)
        assert (kept["author"], kept["origin"]) == ("ann", "own")
        assert watched.core._watches.described("other")["origin"] == "settings"
        with pytest.raises(InvalidInput, match="max_latency is unknown"):
            watched.core.set_thresholds(MODEL, {"max_latency": 5})

    def test_a_version_that_nobody_reports_on_is_unknown(self, house):
        assert house.core.health("iris", "9.9.9")["status"] == "unknown"
        with pytest.raises(NotFound, match="no data of model 'iris' has arrived"):
            house.core.health("iris")
        house.go_on(10, count=10)
        assert house.core.health("iris")["version"] == VERSION

    def test_one_version_that_cannot_be_looked_at_stops_nothing(self, watched, monkeypatch):
        look = type(watched.core._watches).look

        def fails(self, key):
            if key[1] == VERSION:
                raise RuntimeError("broken")
            return look(self, key)

        monkeypatch.setattr(type(watched.core._watches), "look", fails)
        watched.go_on(10, count=10)
        assert watched.health()["status"] == "unknown"
        monkeypatch.undo()
        watched.go_on(10, count=10)
        assert watched.health()["status"] == "healthy"


class TestConcept:
    def labelled(self, house: MonitorHouse) -> None:
        """A baseline whose labels are met nine times out of ten."""
        rows = rows_of(5000)
        truth = rows[:, 0] > 10
        truth[::10] = ~truth[::10]
        data = baseline_of(rows, labels=truth).to_bytes()
        house.core.set_baseline(MODEL, VERSION, data)
        house.push()

    def test_labels_that_are_met_less_often_are_noticed_and_survive_a_restart(self, house):
        self.labelled(house)
        house.label(2000, 1800)
        house.go_on(10, count=300)
        assert house.health()["concept"]["status"] == "stable"
        house.label(400, 260)
        house.go_on(5, count=10)
        found = house.health()
        assert (found["concept"]["status"], found["status"]) == ("drifted", "degraded")
        assert found["current_metrics"]["accuracy"] == pytest.approx(2060 / 2400)
        house.restart()
        house.go_on(5, count=10)
        assert house.health()["concept"] == found["concept"]

    def test_a_monitor_that_is_killed_counts_every_label_once(self, house):
        self.labelled(house)
        house.label(1000, 900)
        house.go_on(10, count=100)
        house.label(50, 45)
        house.push()  # acknowledged, and the Monitor dies before it looks
        house.restart(kill=True)
        house.go_on(5, count=10)
        assert house.health()["concept"]["labels"] == 1050

    def test_a_new_baseline_begins_anew(self, house):
        self.labelled(house)
        house.label(500, 100)
        house.go_on(10, count=100)
        assert house.health()["concept"]["drifted"]
        house.baseline(labels=rows_of(5000)[:, 0] > 10)
        house.go_on(10, count=100)
        assert house.health()["concept"]["status"] == "no_labels"


class TestDrift:
    def test_a_report_of_any_window(self, watched):
        watched.go_on(60, count=300, shift=1.0)
        found = watched.core.drift(MODEL, VERSION, minutes=60)
        assert found["status"] == "drifted"
        assert found["features"]["width"]["score"] > 0.3 > found["features"]["height"]["score"]
        assert (found["minutes"], found["baseline"]["number"], found["rows"]) == (60, 1, 4800)
        json.dumps(found, allow_nan=False)
        assert watched.core.drift(MODEL)["version"] == VERSION

    def test_too_few_rows_say_nothing_and_score_nothing(self, house):
        house.baseline()
        house.push()
        house.go_on(5, count=100, shift=3.0)
        assert house.core.drift(MODEL, VERSION)["status"] == "insufficient_data"
        assert house.health()["status"] == "healthy"
        assert house.core.scores() == []

    def test_scores_say_whether_they_are_more_than_chance(self, watched):
        (calm,) = watched.core.scores()
        assert (calm["model_id"], calm["version"], calm["rows"]) == (MODEL, VERSION, 1200)
        assert calm["score"] < 0.3
        watched.go_on(20, count=1000, shift=1.0)
        (drifted,) = watched.core.scores()
        assert (drifted["score"] > 0.3, drifted["proven"]) == (True, True)

    def test_without_a_baseline_there_is_none(self, house):
        house.go_on(10, count=300)
        with pytest.raises(NotFound, match="has no baseline"):
            house.core.drift(MODEL, VERSION)
        assert house.health()["drift_status"] is None


class TestBaselines:
    def test_wrong_columns_are_refused_by_name(self, house):
        data = baseline_of(rows_of(500)).to_bytes()
        with pytest.raises(InvalidFeatures, match="missing: 'depth'; unknown: 'width'"):
            house.core.set_baseline(MODEL, VERSION, data, features=["height", "depth"])
        assert house.core._baselines.listed(MODEL) == []

    def test_they_are_numbered_and_the_newest_is_pushed_to_replicas(self, watched):
        second = watched.core.set_baseline(MODEL, VERSION, baseline_of(rows_of(500, seed=2)).to_bytes(), author="bob")
        assert second["number"] == 2
        watched.push()
        assert watched.replica.baseline_id == second["baseline_id"]
        watched.restart()
        assert [(one["number"], one["active"]) for one in watched.core._baselines.listed(MODEL)] == [
            (2, True),
            (1, False),
        ]
        watched.go_on(10, count=300)
        assert watched.health()["drift_status"]["status"] == "stable"

    def test_of_many_only_the_newest_and_those_in_service_are_held(self, watched, monkeypatch):
        monkeypatch.setattr("streamb.monitoring.monitor.MOST_IN_FORCE", 2)
        names = [f"idle-{number}" for number in range(5)]
        for number, name in enumerate(names):
            watched.core.set_baseline(name, VERSION, baseline_of(rows_of(300 + number)).to_bytes())
        watched.go_on(5, count=300)
        held = {key[0] for key in watched.core._active}
        assert held == {MODEL, "idle-3", "idle-4"}
        assert len(watched.core._baselines._loaded) <= 3
        watched.restart()
        assert watched.core.drift("idle-0", VERSION)["status"] == "insufficient_data", "it is fetched when asked for"
        assert watched.health()["baseline"]["number"] == 1

    def test_the_live_window_becomes_the_baseline(self, watched):
        watched.go_on(60, count=500, shift=1.0)
        assert watched.health()["status"] == "degraded"
        for minutes in (0, 1_441):  # as HTTP refuses them
            with pytest.raises(InvalidInput, match="1 to 1440 minutes"):
                watched.core.update_baseline(MODEL, VERSION, minutes=minutes)
            with pytest.raises(InvalidInput, match="1 to 1440 minutes"):
                watched.core.drift(MODEL, VERSION, minutes=minutes)
        made = watched.core.update_baseline(MODEL, VERSION, minutes=1, author="ann")
        assert (made["number"], made["origin"], made["rows"] % 500) == (2, "live", 0)
        watched.push()
        watched.go_on(30, count=1000, shift=1.0)
        assert (watched.health()["status"], watched.firing()) == (
            "healthy",
            {"DataDrift"},
        )  # which keeps firing a while

    def test_without_any_it_is_learnt_from_what_is_seen(self, house):
        with pytest.raises(NotFound, match="there were no rows of"):
            house.core.update_baseline(MODEL, VERSION)
        house.go_on(10, count=500)
        made = house.core.update_baseline(MODEL, VERSION, author="ann")
        assert (made["number"], made["learning"]) == (1, True)
        house.go_on(5, count=500)
        with pytest.raises(NotFound, match=r"being learnt: \d+ of 1,000 rows"):
            house.core.drift(MODEL, VERSION)
        assert house.core.update_baseline(MODEL, VERSION)["number"] == 1
        house.go_on(15, count=500)
        (learnt, _) = house.core._baselines.listed(MODEL)
        assert (learnt["number"], learnt["learning"], learnt["columns"]) == (2, False, [*COLUMNS, "prediction"])
        house.go_on(20, count=500)
        assert house.health()["drift_status"]["status"] == "stable"
        house.go_on(20, count=500, shift=1.0)
        assert house.health()["drift_status"]["status"] == "drifted"

    def test_too_few_rows_make_none(self, house):
        house.go_on(10, count=20)
        with pytest.raises(InvalidInput, match="only 40 rows"):
            house.core.update_baseline(MODEL, VERSION)


class TestAlerts:
    def test_errors_fire_an_alert_that_a_restart_does_not_repeat(self, watched):
        watched.go_on(60, count=50, failed=50)
        assert "HighErrorRate" in watched.firing()
        (alert,) = [one for one in watched.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
        assert (alert["labels"]["model"], alert["labels"]["version"]) == (MODEL, VERSION)
        watched.restart(kill=True)
        watched.go_on(5, count=50, failed=50)
        (again,) = [one for one in watched.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
        assert again["starts_at"] == alert["starts_at"]

    def test_what_was_done_before_is_named_as_a_likely_cause(self, watched):
        happening = Happening(watched.clock.now(), "version 1.0.0 took 50 %")
        watched.core.told(News({MODEL: (happening,)}, versions=frozenset({(MODEL, VERSION)})))
        watched.go_on(60, count=50, failed=50)
        (alert,) = [one for one in watched.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
        assert "version 1.0.0 took 50 %" in alert["annotations"]["likely_cause"]

    def test_lists_are_filtered_and_paged(self, watched):
        manager = watched.core._alerting.manager
        watched.core.set_thresholds(MODEL, {"max_latency_ms": 1, "max_error_rate": 0.01})
        watched.go_on(90, count=50, failed=50)
        everything = manager.list_alerts().items
        assert len(everything) >= 2
        first = manager.list_alerts(limit=1)
        second = manager.list_alerts(limit=100, cursor=first.next_cursor)
        assert [*first.items, *second.items] == list(everything)
        assert second.next_cursor is None
        assert manager.list_alerts(model_id="other").items == ()
        critical = manager.list_alerts(severity="critical").items
        assert {one.state.severity for one in critical} == {"critical"}


class TestVerbs:
    """What other processes may ask of the Monitor: of itself and of its parts."""

    def test_silences_and_channels_are_asked_of_whoever_does_them(self, watched):
        def ask(verb, *args, **kwargs):
            return watched.core.verbs.run(verb.__qualname__, args, kwargs)

        words = {"author": "ann", "comment": "a known fault", "duration_s": 600}
        made = ask(AlertManager.silence, ['model="iris"'], **words)
        assert ask(AlertManager.list_silences).items == (made,)
        ended = ask(AlertManager.expire_silence, made.silence_id, "bob")
        assert ended.state(watched.clock.now()) == "expired"
        assert ask(Courier.try_channel, "log") is None
        assert [(one.name, one.waiting) for one in ask(Courier.states)] == [("log", 0)]
        with pytest.raises(NotFound):
            ask(Courier.try_channel, "nobody")
        assert ask(Baselines.listed, MODEL)[0]["number"] == 1
        assert ask(Watches.described, MODEL)["origin"] == "settings"

    @pytest.mark.parametrize(
        "method", [MonitorCore.receive, MonitorCore.tick, MonitorCore.close, Courier.stop, Outbox.commit]
    )
    def test_its_own_life_is_not_for_others(self, watched, method):
        with pytest.raises(NotFound, match="marked as a verb"):
            watched.core.verbs.run(method.__qualname__, (), {})


class TestScrape:
    def test_everything_is_in_it(self, watched):
        watched.go_on(60, count=300, shift=1.0, failed=200)
        found = samples(watched.core.exposition())
        assert found["streamb_drift_score", MODEL, VERSION, "overall"] > 0.3
        assert found["streamb_feature_drift_score", MODEL, VERSION, "width"] > 0.3
        assert found["streamb_drift_detected", MODEL, VERSION] == 1
        assert found["streamb_model_health", MODEL, VERSION, "unhealthy"] == 1
        assert found["streamb_monitor_window_rows", MODEL, VERSION] == 1200 + 12 * 300
        assert found["streamb_monitor_push_age_seconds", MODEL, VERSION] == 0
        assert sum(value for key, value in found.items() if key[0] == "streamb_alerts_firing") >= 2
        assert ("streamb_notifications_total", "log", "delivered") in found

    def test_before_anything_was_pushed_it_is_sound(self, house):
        assert samples(house.core.exposition())["streamb_monitor_sources",] == 0
