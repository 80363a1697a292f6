"""Settings of channels: which each needs, what is wrong or probably not meant, and that no secret is shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from streamb.config import load_settings, resolve_secret
from streamb.errors import ConfigError
from streamb.monitoring.channels import check_channels, explain_channels, settings_warnings
from streamb.monitoring.channels.options import channel_types


def problems_of(**overrides) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_channels(load_settings(**overrides))
    return caught.value.details["problems"]


@pytest.mark.parametrize(
    ("channel", "missing"),
    [
        ("slack", "ML_ALERT_SLACK_WEBHOOK_URL"),
        ("webhook", "ML_ALERT_WEBHOOK_URL"),
        ("email", "ML_ALERT_SMTP_URL and ML_ALERT_EMAIL_FROM and ML_ALERT_EMAIL_TO"),
        ("pagerduty", "ML_ALERT_PAGERDUTY_ROUTING_KEY"),
        ("apprise", "ML_ALERT_APPRISE_URLS"),
    ],
)
def test_a_channel_needs_its_variables(channel: str, missing: str):
    assert problems_of(alert_channels=f"log, {channel.upper()}") == [
        f"ML_ALERT_CHANNELS names {channel}, which needs {missing}; set it, or take {channel} from the list"
    ]


def test_an_unknown_channel_is_refused():
    (problem,) = problems_of(alert_channels="log,carrier")
    assert problem == (
        f"ML_ALERT_CHANNELS is 'log,carrier'; allowed: a list, with commas, of {', '.join(channel_types())}; or none"
    )
    assert {"log", "slack", "webhook", "email", "pagerduty", "apprise"} <= channel_types().keys()


def test_an_unknown_argument_is_refused_and_an_unknown_variable_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    meant = "no setting is named 'alert_slak_webhook_url'; did you mean 'alert_slack_webhook_url'?"
    assert problems_of(alert_slak_webhook_url="https://h/x") == [meant]
    monkeypatch.setenv("ML_ALERT_CHANELS", "slack")
    monkeypatch.setenv("ML_ALERT_WEBHOK_URL", "https://h/x")
    assert settings_warnings(load_settings()) == [
        "ML_ALERT_CHANELS is set, but no setting has that name; did you mean ML_ALERT_CHANNELS?",
        "ML_ALERT_WEBHOK_URL is set, but no setting has that name; did you mean ML_ALERT_WEBHOOK_URL?",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_slack_webhook_url", "hunter2 is no URL"),
        ("alert_webhook_url", "ftp://me:hunter2@h/d"),
        ("alert_webhook_url", "https://h/hunter2 x"),
        ("alert_smtp_url", "http://me:hunter2@h/d"),
        ("alert_webhook_url", "https://h:hunter2/"),
    ],
)
def test_a_wrong_secret_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    (problem,) = problems_of(**{name: value})
    assert problem.startswith(f"the argument {name} is ***; allowed: ")
    assert "hunter2" not in problem
    monkeypatch.setenv(f"ML_{name.upper()}", value)
    assert problems_of() == [problem.replace(f"the argument {name}", f"ML_{name.upper()}")]


def test_what_is_no_secret_is_repeated():
    assert problems_of(alert_email_to="one@h,@two") == [
        "the argument alert_email_to is 'one@h,@two'; allowed: NAME@DOMAIN, several separated by commas"
    ]


def test_no_secret_is_shown():
    secrets = {
        "alert_slack_webhook_url": "https://hooks.slack.com/hunter2",
        "alert_webhook_url": "https://h/hunter2",
        "alert_webhook_secret": "hunter2",
        "alert_smtp_url": "smtps://me:hunter2@h",
        "alert_pagerduty_routing_key": "hunter2",
        "alert_apprise_urls": "slack://hunter2",
    }
    settings = load_settings(**secrets)
    assert "hunter2" not in repr(settings) + str(settings) + str(explain_channels(settings))
    assert settings.channel_settings["alert_webhook_secret"].value == "hunter2"
    assert "hunter2" not in repr(settings.channel_settings)


def test_every_setting_is_explained_with_its_origin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ML_ALERT_EMAIL_TO", "one@example.com")
    shown = {one.name: one for one in explain_channels(load_settings(alert_email_from="ml@example.com"))}
    to, sender, hook = shown["alert_email_to"], shown["alert_email_from"], shown["alert_webhook_url"]
    assert (to.variable, to.value, to.origin) == ("ML_ALERT_EMAIL_TO", "one@example.com", "variable ML_ALERT_EMAIL_TO")
    assert (sender.value, sender.origin, sender.effect) == ("ml@example.com", "argument", "in effect")
    assert (hook.value, hook.origin) == (None, "default")


def test_a_reference_is_shown_and_must_lead_somewhere(tmp_path: Path):
    reference = f"file:{tmp_path / 'secret'}"
    assert problems_of(alert_webhook_secret=reference) == [
        f"ML_ALERT_WEBHOOK_SECRET: the secret at {reference} cannot be read: No such file or directory"
    ]
    assert "empty or not set" in problems_of(alert_webhook_secret="env:NOT_SET_ANYWHERE")[0]
    (tmp_path / "secret").write_text("hunter2\n")
    settings = load_settings(alert_webhook_secret=reference)
    check_channels(settings)
    assert reference in str(explain_channels(settings))
    assert resolve_secret(settings.channel_settings["alert_webhook_secret"].value) == "hunter2"


def test_a_channel_that_is_set_up_but_not_on_the_list_is_a_warning():
    warned = settings_warnings(load_settings(alert_webhook_url="https://h/x"))
    assert warned == [
        "ML_ALERT_WEBHOOK_URL is set, but ML_ALERT_CHANNELS does not name webhook: no alert is sent there"
    ]
    warned = settings_warnings(load_settings(alert_webhook_url="https://h/x", alert_channels="webhook"))
    assert len(warned) == 1
    assert warned[0].startswith("ML_ALERT_WEBHOOK_SECRET is not set")


def test_they_cross_to_another_process_whatever_its_environment(monkeypatch: pytest.MonkeyPatch):
    settings = load_settings(alert_webhook_secret="hunter2")
    monkeypatch.setenv("ML_ALERT_WEBHOOK_SECRET", "another")
    copy = pickle.loads(pickle.dumps(settings.model_copy(update={"port": 1})))
    assert copy.channel_settings == settings.channel_settings
    assert copy.port == 1
