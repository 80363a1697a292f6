"""From specifications and settings to channels; what is wrong is named, and no secret is repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamb.config import load_settings
from streamb.errors import ConfigError, InvalidInput
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.channels import open_channels, severities_of
from streamb.monitoring.channels.channel import ALL_SEVERITIES, interval_of

SETTINGS = {
    "alert_channels": "log,slack,webhook,email,pagerduty",
    "alert_slack_webhook_url": "https://hooks.slack.com/services/hunter2",
    "alert_webhook_url": "https://alerts.example.com/hunter2",
    "alert_webhook_secret": "hunter2",
    "alert_email_from": "ml@example.com",
    "alert_email_to": "one@example.com,two@example.com",
    "alert_smtp_url": "smtps://me:hunter2@mail.example.com",
    "alert_pagerduty_routing_key": "hunter2" * 4,
}


class Own:
    """A channel as a user may write it."""

    name = "own"

    def send(self, notification):
        pass


class TestSettings:
    def test_every_channel_that_is_named_is_opened(self):
        channels = open_channels(load_settings(**SETTINGS))
        assert [channel.name for channel in channels] == ["log", "slack", "webhook", "email", "pagerduty"]
        assert "hunter2" not in repr(channels) + str(channels)

    def test_the_log_alone_by_default_and_nothing_for_none(self):
        assert [channel.name for channel in open_channels(load_settings())] == ["log"]
        assert open_channels(load_settings(alert_channels="none")) == []

    def test_a_name_stands_for_what_the_variables_say(self, monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(ConfigError, match="slack needs ML_ALERT_SLACK_WEBHOOK_URL"):
            open_channels(["slack"])
        monkeypatch.setenv("ML_ALERT_SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
        assert open_channels(["slack"])[0].name == "slack"
        with pytest.raises(InvalidInput, match="there is no type of alert channel 'pigeon'"):
            open_channels(["pigeon"])


class TestSpecifications:
    def test_names_and_severities(self):
        spec = {"type": "log", "name": "night", "severities": ["high", "critical"]}
        night, every = open_channels([spec, "log"])
        assert night.name == "night"
        assert severities_of(night) == {Severity.HIGH, Severity.CRITICAL}
        assert severities_of(every) == ALL_SEVERITIES == severities_of(Own())

    def test_a_channel_of_the_users_own_is_taken_as_it_is(self):
        own = Own()
        assert open_channels([own]) == [own]
        assert interval_of(own) == 0.0

    def test_one_alone_is_not_read_letter_by_letter(self):
        with pytest.raises(InvalidInput, match=r"write \['log'\]"):
            open_channels("log")

    def test_two_of_one_name_are_refused(self):
        with pytest.raises(InvalidInput, match="two alert channels have the name 'log'"):
            open_channels(["log", {"type": "log"}])

    def test_secrets_come_from_files_and_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "url").write_text("https://hooks.slack.com/services/x\n")
        monkeypatch.setenv("HOOK", "https://alerts.example.com/x")
        slack, hook = open_channels(
            [{"type": "slack", "webhook_url": f"file:{tmp_path / 'url'}"}, {"type": "webhook", "url": "env:HOOK"}]
        )
        assert (slack.poster.host, hook.poster.host) == ("hooks.slack.com", "alerts.example.com")

    @pytest.mark.parametrize(
        ("spec", "problem"),
        [
            ({}, "an alert channel needs a type: one of apprise, email, log"),
            ({"type": "pigeon"}, "an alert channel needs a type: one of apprise, email, log"),
            ({"type": ["log"]}, "an alert channel needs a type: one of apprise, email, log"),
            ({"type": "slack"}, "the alert channel slack: webhook_url is missing"),
            ({"type": "slack", "webhook_url": 7}, "webhook_url is wrong: Input should be a valid string"),
            ({"type": "slack", "url": "x", "webhook_url": "https://h/"}, "url is not an option of slack"),
            ({"type": "slack", "webhook_url": "env:NOT_SET"}, "the secret at env:NOT_SET is empty or not set"),
            ({"type": "slack", "webhook_url": "file:/no/file"}, "the secret at file:/no/file cannot be read"),
            ({"type": "email", "smtp_url": "smtps://h", "from": "a@b", "to": ""}, "to is wrong: "),
            ({"type": "email", "smtp_url": "smtps://h", "from": "a@b\nBcc: c@d", "to": "a@b"}, "from is wrong: "),
            ({"type": "log", "severities": ["awful"]}, "severities.0 is wrong: Input should be 'low'"),
            ({"type": "log", "name": "two words"}, "name is wrong"),
            ({"type": "webhook", "url": "https://h/", "headers": {"A: b": "c"}}, "headers.A: b"),
            ({"type": "webhook", "url": "https://h/", "timeout_s": 0}, "timeout_s is wrong: Input should be greater"),
        ],
    )
    def test_what_is_wrong_is_named(self, spec: dict, problem: str):
        with pytest.raises(InvalidInput) as caught:
            open_channels([spec])
        assert problem in str(caught.value)

    def test_no_secret_is_repeated(self):
        spec = {
            "type": "webhook",
            "url": "hunter2 is no address",
            "secret": ["hunter2"],
            "headers": {"x": {"hunter2": 1}, "y": "hunter2\r\nZ: 1", "z": "hünter2"},
        }
        with pytest.raises(InvalidInput) as caught:
            open_channels([spec])
        assert "hunter2" not in str(caught.value) + repr(caught.value.details)
        with pytest.raises(ConfigError) as refused:
            open_channels([{"type": "webhook", "url": "hunter2 is no address"}])
        assert "hunter2" not in str(refused.value)


def test_apprise_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"needs the package apprise: pip install 'streamb\[apprise\]'"):
        open_channels([{"type": "apprise", "urls": "json://localhost"}])
