"""Grouping, inhibition, silences, repeats, escalation and flapping, through the manager."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput, NotFound, StorageFailed
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.outbox import SILENCES, Change
from tests.monitoring.alerts.incidents import LOOK_S, START, Desk, alert, by_incident, most_within

pytestmark = pytest.mark.slow

AT_ONCE = {
    "group_wait_s": 0,
    "group_interval_s": 0,
    "rules": {"HighErrorRate": {"for_s": 0, "keep_firing_s": 0, "calm_looks": 1}},
}


class TestIncident:
    def test_one_trigger_and_one_resolve(self):
        desk = Desk()
        desk.look(alert(), times=30)
        desk.look(alert("clear"), times=60)
        assert [one.status for one in desk.told] == ["firing", "resolved"]
        trigger, resolve = desk.told
        assert trigger.dedup_key == resolve.dedup_key
        assert trigger.notification_id != resolve.notification_id
        assert resolve.alerts[0].ends_at is not None
        assert resolve.alerts[0].starts_at == trigger.alerts[0].starts_at

    def test_it_is_told_after_for_and_group_wait(self):
        desk = Desk(rules={"HighErrorRate": {"for_s": 30}})
        desk.look(alert(), times=6)
        assert not desk.told
        desk.look(alert())
        assert desk.told[0].created_at == START + 7 * LOOK_S  # 10 s: pending; 40 s: firing; 70 s: told
        assert desk.told[0].alerts[0].starts_at == START + 40

    def test_one_that_ends_before_it_was_told_is_never_told(self):
        desk = Desk(**(AT_ONCE | {"group_wait_s": 60}))
        desk.look(alert())
        desk.look(alert("clear"), times=20)
        assert not desk.told

    def test_the_next_incident_has_another_key(self):
        desk = Desk(**AT_ONCE)
        for _ in range(2):
            desk.look(alert())
            desk.look(alert("clear"))
            desk.clock.advance(4_000)
        assert [one.status for one in desk.told] == ["firing", "resolved"] * 2
        assert len(by_incident(desk.told)) == 2

    def test_it_is_told_again_every_four_hours(self):
        desk = Desk()
        desk.look(alert(), times=9 * 60, every=60)
        assert [one.status for one in desk.told] == ["firing"] * 3
        gaps = [b.created_at - a.created_at for a, b in zip(desk.told, desk.told[1:], strict=False)]
        assert gaps == [4 * 3_600] * 2

    def test_every_receiver_is_told(self):
        desk = Desk(receivers=("slack", "pagerduty"), **AT_ONCE)
        desk.look(alert())
        assert {one.receiver for one in desk.told} == {"slack", "pagerduty"}
        assert len({one.dedup_key for one in desk.told}) == 2

    def test_without_send_resolved_the_end_is_not_told(self):
        desk = Desk(**AT_ONCE, send_resolved=False)
        desk.look(alert())
        desk.look(alert("clear"), times=3)
        desk.clock.advance(4_000)
        desk.look(alert())
        assert [one.status for one in desk.told] == ["firing", "firing"]
        assert len(by_incident(desk.told)) == 2


class TestGroups:
    def test_alerts_that_come_together_are_told_together(self):
        desk = Desk()
        both = [alert(version=version) for version in ("1.0.0", "1.1.0")]
        desk.look(both[0], times=5)
        desk.look(*both, times=2)
        desk.look(*both, times=10)
        assert len(desk.told) == 1 or [len(one.alerts) for one in desk.told] == [1, 2]
        assert desk.told[0].group_labels == {"alertname": "HighErrorRate", "model": "iris"}

    def test_a_group_is_told_at_most_every_interval(self):
        desk = Desk(rules={"HighErrorRate": {"for_s": 0}})
        versions = [alert(version=f"1.{n}.0") for n in range(5)]
        for number in range(1, 6):
            desk.look(*versions[:number], times=3)
        desk.look(*versions, times=60)
        times = [one.created_at for one in desk.told]
        assert len(times) == 2
        assert times[1] - times[0] >= 300
        assert len(desk.told[-1].alerts) == 5

    def test_other_models_are_other_groups(self):
        desk = Desk(**AT_ONCE)
        desk.look(alert(), alert(model="churn"))
        assert len(desk.told) == 2

    def test_a_long_list_is_cut_and_says_so(self):
        desk = Desk(**AT_ONCE, most_alerts=3)
        desk.look(*[alert(version=f"1.{n}.0") for n in range(10)])
        body = desk.told[0].to_json()
        assert len(body["alerts"]) == 3
        assert body["truncatedAlerts"] == 7

    def test_it_is_over_only_when_all_are(self):
        desk = Desk(**AT_ONCE)
        desk.look(alert(version="1"), alert(version="2"))
        desk.look(alert(version="1"), alert("clear", version="2"))
        desk.look(alert("clear", version="1"), alert("clear", version="2"))
        assert [one.status for one in desk.told] == ["firing", "firing", "resolved"]
        assert [one.status for one in desk.told[1].alerts] == ["firing", "resolved"]


class TestSeverity:
    def test_what_gets_worse_is_told_again_under_the_same_key(self):
        desk = Desk(**AT_ONCE)
        for severity in ("medium", "medium", "high", "medium", "critical", "low"):
            desk.look(alert(severity=severity))
        assert [one.severity for one in desk.told] == ["medium", "high", "critical"]
        assert len(by_incident(desk.told)) == 1

    def test_something_critical_does_not_wait_for_the_interval(self):
        desk = Desk(**(AT_ONCE | {"group_interval_s": 300}))
        desk.look(alert())
        assert not desk.look(alert(severity="high"))
        assert desk.look(alert(severity="critical"))

    def test_routes_by_severity(self):
        desk = Desk(
            receivers=("log", "slack", "pagerduty"),
            severities={"low": "log", "medium": ["log", "slack"], "critical": ["log", "pagerduty"]},
            **AT_ONCE,
        )
        assert {one.receiver for one in desk.look(alert(severity="medium"))} == {"log", "slack"}
        worse = desk.look(alert(severity="critical"))
        # Slack was told of it, and is told that it got worse and of its end although the alert has left its route.
        assert {one.receiver for one in worse} == {"log", "slack", "pagerduty"}
        assert desk.look(alert(model="churn", severity="critical"))[0].receiver != "slack"
        over = desk.look(alert("clear"))[-3:]
        assert {(one.receiver, one.status) for one in over} == {
            ("log", "resolved"), ("slack", "resolved"), ("pagerduty", "resolved")
        }  # fmt: skip

    def test_the_first_route_that_matches_is_the_last_without_continue(self):
        routes = [{"receiver": "slack", "matchers": ['model="iris"']}, {"receiver": "log"}]
        desk = Desk(receivers=("log", "slack"), routes=routes, **AT_ONCE)
        assert {(one.receiver, one.common_labels["model"]) for one in desk.look(alert(), alert(model="churn"))} == {
            ("slack", "iris"), ("log", "churn")
        }  # fmt: skip

    def test_a_broken_channel_is_reported_through_the_others(self):
        desk = Desk(receivers=("slack", "log"), rules={"DeliveryFailing": {"for_s": 0}}, group_wait_s=0)
        told = desk.look(alert(name="DeliveryFailing", model="", channel="slack"))
        assert [one.receiver for one in told] == ["log"]
        desk = Desk(receivers=("slack",), rules={"DeliveryFailing": {"for_s": 0}}, group_wait_s=0)
        assert desk.look(alert(name="DeliveryFailing", model="", channel="slack"))


class TestInhibition:
    def test_critical_mutes_what_is_less_for_the_same_version(self):
        desk = Desk(**AT_ONCE)
        drift = alert(name="DataDrift", version="1")
        told = desk.look(alert(severity="critical", version="1"), drift, alert(name="DataDrift", version="2"))
        assert {(one.common_labels["alertname"], one.common_labels["version"]) for one in told} == {
            ("HighErrorRate", "1"), ("DataDrift", "2")
        }  # fmt: skip
        listed = {one.state.labels["version"]: one for one in desk.manager.alerts() if "Drift" in str(one.state.labels)}
        assert listed["1"].inhibited_by
        assert not listed["2"].inhibited_by
        told = desk.look(alert("clear", version="1"), drift)
        assert {one.common_labels["alertname"]: one.status for one in told} == {
            "HighErrorRate": "resolved", "DataDrift": "firing"
        }  # fmt: skip

    def test_two_that_match_both_sides_do_not_mute_each_other(self):
        rule = {"source": ["severity=~high|critical"], "target": ["severity=~high|critical"], "equal": ["model"]}
        desk = Desk(**AT_ONCE, inhibit=[rule])
        assert len(desk.look(alert(severity="high"), alert(name="DataDrift", severity="critical"))) == 2

    def test_a_channel_that_is_critical_does_not_mute_another(self):
        desk = Desk(receivers=("log", "slack", "email"), **(AT_ONCE | {"rules": {"DeliveryFailing": {"for_s": 0}}}))
        failing = {"name": "DeliveryFailing", "model": ""}
        told = desk.look(
            alert(**failing, channel="slack", severity="critical"), alert(**failing, channel="email", severity="high")
        )
        log = next(one for one in told if one.receiver == "log")
        assert {one.labels["channel"] for one in log.alerts} == {"slack", "email"}


class TestSilences:
    def test_a_silence_mutes_until_it_ends(self):
        desk = Desk(**AT_ONCE)
        silence = desk.manager.silence(["model=iris"], author="ann", comment="maintenance", duration_s=100)
        assert not desk.look(alert(), times=9)
        assert desk.manager.alerts()[0].silenced_by == (silence.silence_id,)
        assert desk.look(alert(), times=2)

    def test_what_was_told_before_is_told_to_be_over(self):
        desk = Desk(**AT_ONCE)
        desk.look(alert())
        desk.manager.silence(["model=iris"], author="ann", comment="known", duration_s=86_400)
        assert not desk.look(alert(), times=24, every=1_800)
        assert [one.status for one in desk.look(alert("clear"))] == ["resolved"]

    def test_expiring_one_early_names_who_did(self):
        desk = Desk(**AT_ONCE)
        silence = desk.manager.silence(["model=iris"], author="ann", comment="known", duration_s=86_400)
        desk.look(alert())
        ended = desk.manager.expire_silence(silence.silence_id, "bob")
        assert (ended.expired_by, ended.state(desk.clock.now())) == ("bob", "expired")
        assert desk.look(alert())
        assert desk.manager.silences("expired") == [ended]
        desk.look(every=6 * 86_400)
        assert desk.manager.silences() == []

    def test_it_may_begin_and_end_while_an_incident_lasts(self):
        desk = Desk(**AT_ONCE)
        desk.look(alert())
        desk.manager.silence(["model=iris"], author="ann", comment="known", duration_s=600)
        assert not desk.look(alert(severity="high"), times=59)  # it gets worse meanwhile, and nobody hears of it
        (news,) = desk.look(alert(), times=3)
        assert (news.status, news.severity) == ("firing", "high")
        assert news.dedup_key == desk.told[0].dedup_key
        assert [one.status for one in desk.look(alert("clear"))] == ["resolved"]

    def test_one_that_can_no_longer_be_read_mutes_nothing(self, tmp_path, caplog):
        desk = Desk(tmp_path / "outbox.db", **AT_ONCE)
        made = [
            desk.manager.silence([text], author="ann", comment="x", duration_s=900).silence_id
            for text in ("model=iris", "model=churn")
        ]
        body = desk.outbox.load(SILENCES)[made[0]] | {"matchers": ['model=~"(a+)+"']}
        desk.outbox.commit(Change(silences={made[0]: body}))
        desk.outbox.close()
        after = Desk(tmp_path / "outbox.db", **AT_ONCE)
        assert [one.silence_id for one in after.manager.silences()] == made[1:]
        assert made[0] in caplog.text
        assert after.look(alert())

    def test_one_in_the_future_waits(self):
        desk = Desk(**AT_ONCE)
        silence = desk.manager.silence(
            'model="iris"', author="ann", comment="tonight", duration_s=60, starts_at=START + 1_000
        )
        assert silence.to_json(START)["state"] == "pending"
        assert desk.look(alert())

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"matchers": []}, "matchers must have at least 1 item"),
            ({"matchers": ["model=~.*"]}, "every alert"),
            ({"matchers": ["model!=iris"]}, "every alert"),
            ({"matchers": 3}, "must be a list"),
            ({"author": " "}, "author"),
            ({"comment": ""}, "comment"),
            ({"duration_s": 0}, "duration_s must be greater than 0"),
            ({"duration_s": 90 * 86_400 + 1}, "duration_s must be less than or equal to 7776000"),
            ({"duration_s": float("nan")}, "duration_s must be a finite number"),
            ({"author": "a" * 201}, "author must have at most 200 characters"),
            ({"starts_at": START - 1_000}, "already have ended"),
        ],
    )
    def test_a_silence_that_cannot_be_is_refused(self, change, words):
        good = {"matchers": ["model=iris"], "author": "ann", "comment": "why", "duration_s": 60}
        given_ = good | change
        with pytest.raises(InvalidInput, match=words):
            Desk().manager.silence(given_.pop("matchers"), **given_)

    def test_a_script_that_makes_and_ends_them_all_day_fills_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr("streamb.monitoring.alerts.manager.MOST_SILENCES", 3)
        desk = Desk(tmp_path / "outbox.db")
        for _ in range(6):
            made = desk.manager.silence(["model=iris"], author="ann", comment="x", duration_s=60)
            desk.clock.advance(1)
            desk.manager.expire_silence(made.silence_id, "ann")
        kept = [one.silence_id for one in desk.manager.silences()]
        assert (len(kept), kept[0]) == (3, made.silence_id)
        assert desk.outbox.load(SILENCES).keys() == set(kept)

    def test_one_that_does_not_exist(self):
        with pytest.raises(NotFound, match="no silence sil-0"):
            Desk().manager.expire_silence("sil-0", "bob")


class TestFlapping:
    @pytest.mark.parametrize("half_s", [60, 300, 600, 1_200, 2_700])
    def test_at_most_two_notifications_an_hour(self, half_s):
        desk = Desk()
        for _ in range(6 * 3_600 // (2 * half_s)):
            desk.look(alert(), times=half_s // 30, every=30)
            desk.look(alert("clear"), times=half_s // 30, every=30)
        times = [one.created_at for one in desk.told]
        assert 1 <= most_within(times, 3_600) <= 2

    def test_a_receiver_learns_that_it_flaps_and_when_it_is_over(self):
        desk = Desk(**AT_ONCE)
        for _ in range(20):
            desk.look(alert(), times=10, every=60)
            desk.look(alert("clear"), times=10, every=60)
        assert any("flapping" in one.alerts[0].annotations for one in desk.told)
        assert desk.manager.alerts()[0].flapping
        desk.look(alert("clear"), times=180, every=60)
        assert desk.told[-1].status == "resolved"


class TestClock:
    def test_set_back_by_a_day_it_tells_on(self):
        desk = Desk(rules={"HighErrorRate": {"for_s": 60}})
        desk.look(alert(), times=12)
        desk.look(alert(), alert(model="churn"))
        assert len(desk.told) == 1
        desk.clock._now -= 86_400
        worse = alert(severity="high")
        told = desk.look(worse, alert(model="churn"), times=40)
        assert {(one.group_labels["model"], one.severity) for one in told} == {("iris", "high"), ("churn", "medium")}
        told = desk.look(alert("clear"), alert("clear", model="churn"), times=40)
        assert [one.status for one in told] == ["resolved", "resolved"]
        assert all(len(statuses) == 2 + (key == desk.told[0].dedup_key) for (_, key), statuses in
                   by_incident(desk.told).items())  # fmt: skip


class TestRestart:
    def test_a_successor_goes_on_where_the_last_one_was(self, tmp_path):
        desk = Desk(tmp_path / "outbox.db")
        desk.look(alert(), times=8)
        desk.manager.silence(["model=churn"], author="ann", comment="x", duration_s=1_000)
        desk.outbox.close()
        after = Desk(tmp_path / "outbox.db")
        after.clock.advance(80)
        assert after.manager.firing()[Severity.MEDIUM] == 1
        assert len(after.manager.silences()) == 1
        assert [one.notification_id for one in after.deliver()] == [one.notification_id for one in desk.told]
        assert not after.look(alert(), times=60)
        after.look(alert("clear"), times=40)
        assert [one.status for one in after.told] == ["resolved"]
        assert after.told[0].dedup_key == desk.told[0].dedup_key

    def test_after_a_long_absence_what_fired_still_fires(self, tmp_path):
        desk = Desk(tmp_path / "outbox.db")
        desk.look(alert(), times=8)
        desk.outbox.close()
        after = Desk(tmp_path / "outbox.db")
        after.clock.advance(80_000)
        after.manager = AlertManager(after.clock, after.manager._config, after.outbox)
        after.look()
        assert after.phases() == {"HighErrorRate": "firing"}

    def test_what_just_goes_on_is_written_once_a_minute(self, tmp_path):
        desk = Desk(tmp_path / "outbox.db", **AT_ONCE)
        values = []
        for _ in range(14):
            desk.look(alert())
            values.append(next(iter(desk.outbox.load("monitor-alerts").values()))["seen_at"] - START)
        assert values == [10] * 6 + [70] * 6 + [130] * 2
        desk.look(alert("band"))
        desk.look(alert("clear", severity="high"))
        assert desk.outbox.load("monitor-alerts") != {}
        assert desk.told[-1].status == "resolved"

    def test_a_look_that_cannot_be_written_changes_nothing(self, tmp_path):
        desk = Desk(tmp_path / "outbox.db", **AT_ONCE)
        desk.outbox.close()
        with pytest.raises(StorageFailed):
            desk.look(alert())
        assert desk.manager.alerts() == []


LOOKS = st.lists(
    st.tuples(
        st.sampled_from(["active", "band", "clear", "none"]),
        st.sampled_from(list(Severity)),
        st.sampled_from(["1.0.0", "1.1.0"]),
        st.sampled_from([5.0, 30.0, 300.0, 2_000.0]),
    ),
    max_size=80,
)


@settings(max_examples=40)
@given(LOOKS, st.booleans())
def test_any_history_is_told_in_order_and_to_its_end(looks, at_once):
    desk = Desk(**(AT_ONCE if at_once else {}))
    for state, severity, version, seconds in looks:
        others = () if state == "none" else (alert(state, severity=severity, version=version),)
        desk.look(*others, every=seconds)
        firing = {one.state.fingerprint: one.state for one in desk.manager.alerts(phase="firing")}
        for one in firing.values():  # nothing that fires goes untold for longer than the wait, the interval and an hour
            untold = desk.clock.now() - one.starts_at > 3_600 + 330 + seconds
            assert not untold or any(one.fingerprint == a.fingerprint for n in desk.told for a in n.alerts)
    desk.look(*(alert("clear", version=version) for version in ("1.0.0", "1.1.0")), times=60, every=300)
    for statuses in by_incident(desk.told).values():
        assert statuses[-1] == "resolved"
        assert set(statuses[:-1]) == {"firing"}
    assert len({one.notification_id for one in desk.told}) == len(desk.told)
    assert not desk.manager.firing()[Severity.CRITICAL]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["active", "clear"]), st.sampled_from([10.0, 200.0, 1_100.0])), max_size=150))
def test_no_input_of_one_severity_is_told_more_than_twice_an_hour(looks):
    desk = Desk(**AT_ONCE)
    for state, seconds in looks:
        desk.look(alert(state), every=seconds)
    assert most_within([one.created_at for one in desk.told], 3_600) <= 2
