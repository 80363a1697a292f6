"""Options and matchers: what is read, and that everything wrong is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.errors import InvalidInput
from streamb.monitoring.alerts.alert import Alert, Severity, fingerprint, merged
from streamb.monitoring.alerts.matchers import Matcher, Operator, read_matchers
from streamb.monitoring.alerts.options import read_alert_options
from tests.monitoring.alerts.incidents import alert


class TestOptions:
    def test_without_any_everybody_is_told_everything(self):
        config = read_alert_options({}, ["slack", "log"])
        assert [route.receiver for route in config.routes_of(alert().labels)] == ["slack", "log"]
        assert config.routes[0].grouping.repeat_s == 4 * 3_600

    def test_without_channels_nobody_is(self):
        assert read_alert_options({}, []).routes_of(alert().labels) == []
        assert read_alert_options({}, []).routes_of(alert(name="DeliveryFailing", channel="slack").labels) == []

    def test_a_channel_hears_what_it_was_opened_for(self):
        config = read_alert_options({}, ["slack", "log"], {"slack": frozenset({Severity.CRITICAL})})
        assert [route.receiver for route in config.routes_of(alert().labels)] == ["log"]

    def test_routes_inherit_what_they_do_not_say(self):
        given_ = {"group_wait_s": 5, "group_by": ["model"], "routes": [{"receiver": "log", "group_interval_s": 7}]}
        grouping = read_alert_options(given_, ["log"]).routes[0].grouping
        assert (grouping.wait_s, grouping.interval_s, grouping.by) == (5, 7, ("model",))

    def test_rules_change_a_policy(self):
        config = read_alert_options({"rules": {"HighLatency": {"for_s": 7}}}, ["log"])
        assert config.policy("HighLatency").for_s == 7
        assert config.policy("HighLatency").calm_looks == 3
        assert config.policy("HighErrorRate").for_s == 30

    def test_everything_wrong_is_named_at_once(self):
        wrong = {
            "group_wait_s": -1,
            "surprise": 1,
            "send_resolved": "yes",
            "most_per_hour": 0,
            "most_alerts": 2.5,
            "external_url": 3,
            "routes": [{"receiver": "sms", "severities": ["urgent"], "matchers": ["=x"], "colour": 1}, 7, {}],
            "inhibit": [{"source": [], "target": ["a=~("], "equal": "x"}],
            "rules": {"HighLatency": {"for_s": "soon", "calm_looks": 0, "x": 1}, "Unknown": {}},
        }
        with pytest.raises(InvalidInput) as refused:
            read_alert_options(wrong, ["log"])
        problems = refused.value.details["problems"]
        assert {one.split(" ")[0] for one in problems} == {
            "group_wait_s", "surprise", "send_resolved", "most_per_hour", "most_alerts", "external_url",
            "routes[0].receiver", "routes[0].severities[0]", "routes[0].matchers", "routes[0].colour", "routes[1]",
            "routes[2].receiver", "inhibit[0].source", "inhibit[0].target", "inhibit[0].equal",
            "rules.HighLatency.for_s", "rules.HighLatency.calm_looks", "rules.HighLatency.x", "rules.Unknown",
        }  # fmt: skip
        assert all(one in refused.value.message for one in problems)

    def test_severities_beside_routes_are_one_way_too_many(self):
        with pytest.raises(InvalidInput, match="severities and routes cannot be combined"):
            read_alert_options({"routes": [{"receiver": "log"}], "severities": {"low": "log"}}, ["log"])

    @pytest.mark.parametrize("wrong", [3, {"routes": []}, {"severities": {"urgent": ["log"]}}, {"rules": []}])
    def test_wrong_shapes(self, wrong):
        with pytest.raises(InvalidInput):
            read_alert_options(wrong, ["log"])

    def test_what_the_documentation_shows_can_be_used(self):
        text = (Path(__file__).parents[3] / "docs/alerting.md").read_text()
        by_severity, by_routes, informed = (
            read_alert_options(tomllib.loads(block), ["log", "slack", "pagerduty"])
            for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
        )
        default = read_alert_options({}, ["log"])
        assert by_severity.routes[0].grouping == default.routes[0].grouping
        assert (by_severity.most_per_hour, by_severity.most_alerts) == (default.most_per_hour, default.most_alerts)
        assert [one.receiver for one in by_severity.routes_of(alert(severity="high").labels)] == ["log", "slack"]
        critical = alert(model="churn", severity="critical").labels
        assert [one.receiver for one in by_routes.routes_of(critical)] == ["pagerduty", "log"]
        completed = alert(name="DeploymentCompleted", severity="low").labels
        assert [one.receiver for one in informed.routes_of(completed)] == ["slack"]
        assert [one.receiver for one in read_alert_options({}, ["log", "slack"]).routes_of(completed)] == ["log"]


class TestMatchers:
    @pytest.mark.parametrize(
        ("written", "hits", "misses"),
        [
            ('model="iris"', "iris", "iris2"),
            ("model = iris ", "iris", ""),
            ("model!=iris", "", "iris"),
            ("model=~ir.*|churn", "iris", "my-iris"),
            ("model=~(?i)(?:iris|churn)-.*?", "IRIS-1", "iris"),
            ('model!~"ir.*"', "churn", "iris"),
            (r'model="a\"b\\c\n"', 'a"b\\c\n', "a"),
        ],
    )
    def test_hits_and_misses(self, written, hits, misses):
        matcher = Matcher.parse(written)
        assert matcher.matches({"model": hits})
        assert not matcher.matches({"model": misses})

    def test_alertmanagers_own_form(self):
        matcher = Matcher.read({"name": "model", "value": "i.*", "isRegex": True, "isEqual": False})
        assert str(matcher) == 'model!~"i.*"'
        assert Matcher.read(matcher) is matcher

    @pytest.mark.parametrize(
        "wrong", ["model", "=x", "1a=x", 'a="b" c', "a=~(", "a=~(a+)+", "a=~.*.*.*.*b", "a=~(?=b)b", 3, {}, None]
    )
    def test_what_is_none_is_refused(self, wrong):
        with pytest.raises(InvalidInput):
            Matcher.read(wrong)

    @pytest.mark.parametrize("slow", ["a?" * 40 + "a" * 40, "(a|aa)" * 40 + "b", "(a|a)?" * 30 + "b", "(?:a|a)" * 30])
    def test_an_expression_that_would_take_for_ever_is_refused(self, slow):
        with pytest.raises(InvalidInput, match="could take forever"):
            Matcher("model", Operator.MATCHES, slow)

    def test_lists(self):
        assert len(read_matchers(["a=b", {"name": "c", "value": "d"}])) == 2
        with pytest.raises(InvalidInput, match="a list"):
            read_matchers({"name": "c", "value": "d"})

    @settings(max_examples=50)
    @given(st.text(max_size=20), st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL]))
    def test_written_and_read_again(self, value, operator):
        matcher = Matcher("model", operator, value)
        assert Matcher.parse(str(matcher)) == matcher


class TestFingerprint:
    def test_order_and_severity_do_not_matter_and_empty_is_missing(self):
        assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1", "severity": "high", "c": ""})
        assert fingerprint({"a": "1b", "c": ""}) != fingerprint({"a": "1", "b": ""})
        assert fingerprint({"ab": "c"}) != fingerprint({"a": "bc"})

    def test_of_the_same_alert_twice_the_worst_active_one_counts(self):
        (one,) = merged([alert("clear", severity="critical"), alert(severity="low"), alert(severity="high")]).values()
        assert (one.active, one.severity, one.clears) == (True, "high", False)

    def test_texts_that_nobody_could_store_are_mended(self):
        bad = Alert({"alertname": "A\x00", "severity": "?"}, {"x": "\ud800" + "y" * 9_000}, float("nan"), active=True)
        (one,) = merged([bad]).values()
        assert one.value is None
        assert one.severity == "low"
        assert one.labels["alertname"] == "A "
        assert len(one.annotations["x"].encode()) <= 4_010
