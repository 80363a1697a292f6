"""Settings: presets, precedence, what is refused and in which words, where each value came from."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.config import (
    ENVIRONMENTS,
    Settings,
    alert_options,
    child_environment,
    config_warnings,
    default_environment,
    explain,
    load_settings,
    mask_secrets,
    variable_of,
)
from streamb.errors import ConfigError

PRESETS = {
    "four_eyes": (False, True, True),
    "max_concurrent_requests": (10, 50, 200),
    "enable_auto_scaling": (False, True, True),
    "min_instances": (1, 2, 5),
    "max_instances": (1, 8, 50),
    "drift_sensitivity": ("low", "medium", "high"),
    "enable_authentication": (False, True, True),
    "enable_authorization": (False, True, True),
    "api_key_required": (False, True, True),
    "rate_limit_enabled": (False, False, True),
    "encrypt_at_rest": (False, False, True),
    "encrypt_in_transit": (False, False, True),
    "audit_enabled": (False, True, True),
}
DEFAULTS = {
    "rate_limit_requests_per_minute": 1000,
    "rate_limit_burst": 100,
    "key_rotation_days": 30,
    "audit_log_all_requests": False,
    "audit_retention_days": 365,
    "circuit_breaker_enabled": True,
    "circuit_breaker_failure_threshold": 3,
    "circuit_breaker_recovery_timeout_s": 30,
    "circuit_breaker_half_open_max_calls": 10,
    "host": "127.0.0.1",
    "port": 8000,
    "database_url": None,
    "artifact_url": None,
    "tls_cert_file": None,
    "tls_key_file": None,
    "alert_channels": "log",
    "alert_allow_private_addresses": False,
}
SHARES = {"unjudged_share", "monitoring_max_error_rate", "monitoring_max_drift_score", "monitoring_min_accuracy"}


@pytest.fixture(autouse=True)
def a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative paths start here."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Path]:
    files = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}
    for file in files.values():
        file.write_text("PEM")
    return files


def problems_of(**overrides) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    assert caught.value.message == "; ".join(caught.value.details["problems"])
    return caught.value.details["problems"]


def origin_of(name: str, **overrides) -> str:
    return {setting.name: setting.origin for setting in explain(**overrides)}[name]


class TestPresets:
    @pytest.mark.parametrize(("place", "environment"), list(enumerate(ENVIRONMENTS)))
    def test_each_environment_has_its_own(self, place: int, environment: str):
        settings = load_settings(environment=environment)
        assert {name: getattr(settings, name) for name in PRESETS} == {n: v[place] for n, v in PRESETS.items()}
        assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS

    def test_the_environment_comes_from_node_env(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NODE_ENV", "staging")
        assert load_settings().max_concurrent_requests == 50
        assert origin_of("environment") == "variable NODE_ENV"
        assert origin_of("max_concurrent_requests") == "preset staging"

    def test_ml_environment_wins_over_node_env_even_over_a_strange_one(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NODE_ENV", "test")
        monkeypatch.setenv("ML_ENVIRONMENT", "production")
        assert load_settings().environment == "production"
        assert origin_of("environment") == "variable ML_ENVIRONMENT"

    def test_a_strange_node_env_is_named(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NODE_ENV", "test")
        assert problems_of() == ["NODE_ENV is 'test'; allowed: development, staging, production"]


class TestPrecedence:
    def test_argument_then_variable_then_preset(self, monkeypatch: pytest.MonkeyPatch):
        assert load_settings(environment="staging").max_concurrent_requests == 50
        monkeypatch.setenv("ML_MAX_CONCURRENT_REQUESTS", "7")
        assert load_settings(environment="staging").max_concurrent_requests == 7
        assert origin_of("max_concurrent_requests") == "variable ML_MAX_CONCURRENT_REQUESTS"
        assert load_settings(environment="staging", max_concurrent_requests=9).max_concurrent_requests == 9
        assert origin_of("max_concurrent_requests", max_concurrent_requests=9) == "argument"

    def test_none_means_not_given_and_empty_means_not_set(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_PORT", "")
        assert load_settings(port=None).port == 8000
        assert origin_of("port") == "default"

    @given(st.sampled_from(sorted(PRESETS | DEFAULTS)), st.sampled_from(ENVIRONMENTS))
    def test_the_origin_tells_the_truth(self, name: str, environment: str):
        """Whatever `explain` calls a preset or a default really is the value that `load_settings` gives."""
        settings = load_settings(environment=environment)
        told = {setting.name: setting for setting in explain(environment=environment)}[name]
        assert told.value == getattr(settings, name)
        assert told.origin == (f"preset {environment}" if name in PRESETS else "default")

    def test_every_variable_reaches_its_setting(self, monkeypatch: pytest.MonkeyPatch, certificate: dict[str, Path]):
        options_file = certificate["tls_cert_file"].with_name("alerts.toml")
        options_file.write_text("group_wait_s = 5")
        for name, field in Settings.model_fields.items():
            value = getattr(load_settings(), name)
            if field.annotation is bool:
                value = not value
            elif field.annotation in {int, float}:
                value = 0.35 if name in SHARES else value + 1
            else:
                value = {
                    "environment": "staging",
                    "drift_sensitivity": "high",
                    "host": "localhost",
                    "ray_address": "auto",
                    "state_dir": Path("/tmp/elsewhere"),
                    "database_url": "sqlite:////tmp/other.db",
                    "artifact_url": "s3://bucket/prefix",
                    "alert_channels": "none",
                    "cors_origins": "https://app.example.com",
                    "allowed_hosts": "ml.example.com",
                    "oidc_issuer": "https://login.example.com/realm",
                    "oidc_audience": "streamb",
                    "oidc_groups_claim": "roles",
                    "oidc_roles": "ml-team=operator",
                    "alert_slack_webhook_url": "https://hooks.slack.com/services/T/B/x",
                    "alert_webhook_url": "https://alerts.example.com/in",
                    "alert_webhook_secret": "whsec",
                    "alert_email_from": "ml@example.com",
                    "alert_email_to": "one@example.com,two@example.com",
                    "alert_smtp_url": "smtp+starttls://me:secret@mail.example.com",
                    "alert_pagerduty_routing_key": "R" * 32,
                    "alert_apprise_urls": "json://localhost",
                    "alert_ca_file": certificate["tls_cert_file"],
                    "alert_options_file": options_file,
                    **certificate,
                }[name]
            with monkeypatch.context() as patch:
                patch.setenv(variable_of(name), str(value))
                if name == "min_instances":
                    patch.setenv("ML_MAX_INSTANCES", "99")
                if name == "oidc_issuer":
                    patch.setenv("ML_OIDC_AUDIENCE", "streamb")
                if name in certificate:
                    for file in certificate:
                        patch.setenv(variable_of(file), str(certificate[file]))
                if name == "encrypt_in_transit":
                    for file in certificate:
                        patch.setenv(variable_of(file), str(certificate[file]))
                assert getattr(load_settings(), name) == value, name
                assert origin_of(name) == f"variable {variable_of(name)}"


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "value", "allowed"),
        [
            ("ML_ENVIRONMENT", "prod", "development, staging, production"),
            ("ML_DRIFT_SENSITIVITY", "extreme", "low, medium, high"),
            ("ML_PORT", "65536", "a whole number, at least 0 and at most 65535"),
            ("ML_PORT", "http", "a whole number, at least 0 and at most 65535"),
            ("ML_MAX_CONCURRENT_REQUESTS", "0", "a whole number, at least 1"),
            ("ML_MAX_CONCURRENT_REQUESTS", "1.5", "a whole number, at least 1"),
            ("ML_REQUEST_TIMEOUT_S", "nan", "a number, more than 0"),
            ("ML_REQUEST_TIMEOUT_S", "inf", "a number, more than 0"),
            ("ML_AUDIT_ENABLED", "maybe", "true, false"),
            ("ML_DATABASE_URL", "mysql://h/d", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"),
            ("ML_DATABASE_URL", "sqlite://", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"),
            ("ML_ARTIFACT_URL", "memory://x", "a folder, or file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX"),
        ],
    )
    def test_a_wrong_value_is_named_with_what_is_allowed(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
    ):
        monkeypatch.setenv(variable, value)
        assert problems_of() == [f"{variable} is {value!r}; allowed: {allowed}"]

    def test_all_problems_come_at_once(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_PORT", "-1")
        assert problems_of(replica_cpus="many", hots="x") == [
            "the argument replica_cpus is 'many'; allowed: a number, at least 0",
            "ML_PORT is '-1'; allowed: a whole number, at least 0 and at most 65535",
            "no setting is named 'hots'; did you mean 'host'?",
        ]

    def test_a_password_is_not_repeated(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_DATABASE_URL", "mysql://me:hunter2@h/d")
        assert "hunter2" not in problems_of()[0]

    def test_more_instances_at_least_than_at_most(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_MIN_INSTANCES", "3")
        assert problems_of() == [
            (
                "ML_MIN_INSTANCES=3 (variable ML_MIN_INSTANCES) is more than ML_MAX_INSTANCES=1 (preset development); "
                "raise the maximum or lower the minimum"
            )
        ]


class TestTls:
    def test_certificate_and_key_belong_together(self, certificate: dict[str, Path]):
        assert "set both, or neither" in problems_of(tls_cert_file=certificate["tls_cert_file"])[0]

    def test_the_files_must_be_there(self, certificate: dict[str, Path]):
        certificate["tls_key_file"].unlink()
        assert problems_of(**certificate) == [
            f"ML_TLS_KEY_FILE={certificate['tls_key_file']} (argument) is not a readable file; allowed: a PEM file"
        ]

    def test_a_certificate_turns_it_on(self, certificate: dict[str, Path]):
        assert load_settings(**certificate).tls_enabled
        assert not load_settings().tls_enabled

    def test_production_may_be_tried_on_this_machine_but_says_what_it_is(self):
        assert load_settings(environment="production").encrypt_in_transit
        effects = {setting.name: setting.effect for setting in explain(environment="production")}
        assert effects["encrypt_in_transit"] == "no certificate is set: plain HTTP, on this machine only"

    def test_production_does_not_listen_to_others_in_clear(self, certificate: dict[str, Path]):
        assert "needs a certificate to listen on 0.0.0.0" in problems_of(environment="production", host="0.0.0.0")[0]
        assert load_settings(environment="production", host="0.0.0.0", **certificate).tls_enabled
        assert load_settings(environment="production", host="0.0.0.0", encrypt_in_transit=False)

    def test_asking_for_it_without_a_certificate_is_refused_even_here(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_ENCRYPT_IN_TRANSIT", "true")
        assert "needs a certificate" in problems_of()[0]

    @pytest.mark.parametrize(
        ("host", "alone"),
        [
            ("127.0.0.1", True),
            ("127.3.2.1", True),
            ("::1", True),
            ("localhost", True),
            ("0.0.0.0", False),
            ("h", False),
        ],
    )
    def test_which_addresses_are_this_machine_alone(self, host: str, alone: bool):
        assert load_settings(host=host, api_key_required=True).loopback_only is alone


class TestAuthentication:
    """Three switches that belong together: what was said speaks for what was not, and never weakens it."""

    @pytest.mark.parametrize("said", ["ML_API_KEY_REQUIRED", "ML_ENABLE_AUTHENTICATION", "ML_ENABLE_AUTHORIZATION"])
    def test_asking_for_one_protection_in_development_brings_the_check(
        self, monkeypatch: pytest.MonkeyPatch, said: str
    ):
        monkeypatch.setenv(said, "true")
        settings = load_settings()
        assert settings.enable_authentication
        assert settings.api_key_required
        assert {origin_of("enable_authentication"), origin_of("api_key_required")} == {
            f"variable {name}" if name == said else f"implied by {said}"
            for name in ("ML_ENABLE_AUTHENTICATION", "ML_API_KEY_REQUIRED")
        }

    def test_switching_it_off_in_production_switches_all_of_it_off(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_ENABLE_AUTHENTICATION", "off")
        settings = load_settings(environment="production")
        assert (settings.api_key_required, settings.enable_authorization) == (False, False)

    def test_saying_both_is_refused(self):
        (problem,) = problems_of(enable_authentication=False, api_key_required=True)
        assert problem.startswith("ML_API_KEY_REQUIRED=true (argument) contradicts ML_ENABLE_AUTHENTICATION=false")

    def test_keys_may_be_checked_but_not_required(self):
        settings = load_settings(enable_authentication=True, api_key_required=False)
        assert (settings.enable_authentication, settings.api_key_required) == (True, False)


class TestAlerts:
    def test_a_file_of_options_must_be_readable(self, tmp_path: Path):
        file = tmp_path / "alerts.toml"
        wrong = f"ML_ALERT_OPTIONS_FILE={file} is not a readable TOML file: "
        assert problems_of(alert_options_file=file) == [f"{wrong}No such file or directory"]
        file.write_text("group_wait_s = soon")
        assert problems_of(alert_options_file=file)[0].startswith(wrong)
        file.write_text("group_wait_s = 5")
        assert alert_options(load_settings(alert_options_file=file)) == {"group_wait_s": 5}
        assert alert_options(load_settings()) == {}

    @pytest.mark.parametrize("names", ["", ",", "none,log"])
    def test_what_is_no_list_of_channels(self, names: str):
        assert "names of alert channels, separated by commas; or none" in problems_of(alert_channels=names)[0]


class TestPlaces:
    def test_everything_is_below_the_state_directory_and_absolute(self, tmp_path: Path):
        settings = load_settings()
        assert settings.state_dir == tmp_path / ".streamb"
        assert settings.resolved_database_url == f"sqlite:///{tmp_path}/.streamb/streamb.db"
        assert settings.resolved_artifact_url == f"file://{tmp_path}/.streamb/artifacts"

    def test_a_relative_place_means_the_same_from_another_folder(self, tmp_path: Path):
        settings = load_settings(database_url="sqlite:///my.db", artifact_url="blobs")
        assert settings.resolved_database_url == f"sqlite:///{tmp_path}/my.db"
        assert settings.resolved_artifact_url == f"file://{tmp_path}/blobs"
        assert load_settings(artifact_url="s3://bucket/x").resolved_artifact_url == "s3://bucket/x"

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_postgresql_uses_the_driver_that_we_install(self, scheme: str):
        url = load_settings(database_url=f"{scheme}://u:p@h:5432/d").resolved_database_url
        assert url == "postgresql+psycopg://u:p@h:5432/d"


class TestShowing:
    def test_explain_lists_every_setting_once_in_order(self):
        shown = explain()
        assert [setting.name for setting in shown] == list(Settings.model_fields)
        assert all(setting.variable == "ML_" + setting.name.upper() for setting in shown)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:hunter2@h/d",
            "postgresql://me:a/hunter2@h/d",
            "postgresql://me:a@hunter2@h/d",
            "postgresql://h/d?user=me&password=hunter2&x=1",
            "postgresql://h/d?sslpassword=hunter2",
        ],
    )
    def test_no_password_is_shown(self, url: str):
        settings = load_settings(database_url=url)
        assert "hunter2" not in repr(settings)
        assert "hunter2" not in str(explain(database_url=url))
        assert "hunter2" in settings.resolved_database_url

    def test_a_url_without_secrets_is_unchanged(self):
        assert mask_secrets("s3://bucket/a:b@c") == "s3://bucket/a:b@c"

    def test_what_is_not_enforced_yet_says_so(self):
        effects = {setting.name: setting.effect for setting in explain(environment="production")}
        for name in ("audit_enabled", "encrypt_at_rest"):
            assert effects[name].startswith("accepted; takes effect with "), name
        assert effects["api_key_required"] == effects["port"] == "in effect"

    def test_an_unknown_variable_is_a_warning_with_a_suggestion(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ML_RATE_LIMT_BURST", "5")
        monkeypatch.setenv("MLFLOW_URI", "not ours")
        monkeypatch.setenv("ML_API_KEY", "read by jobs")
        assert config_warnings(load_settings()) == [
            "ML_RATE_LIMT_BURST is set, but no setting has that name; did you mean ML_RATE_LIMIT_BURST?"
        ]

    def test_a_platform_open_to_others_needs_keys(self):
        assert config_warnings(load_settings(host="0.0.0.0", api_key_required=True)) == []

    @pytest.mark.parametrize("environment", ENVIRONMENTS)
    @pytest.mark.parametrize("switch", ["enable_authentication", "api_key_required"])
    @pytest.mark.parametrize(
        "host", ["0.0.0.0", "::", "10.1.2.3", "ml.example.com", "127.0.0.1.example.com", "localhost,0"]
    )
    def test_nobody_else_reaches_a_platform_that_requires_no_key(self, environment: str, switch: str, host: str):
        given = {"environment": environment, "host": host, "encrypt_in_transit": False}
        (problem,) = problems_of(**given, **{switch: False})
        for words in (
            f"ML_HOST={host} (argument)",
            "ML_API_KEY_REQUIRED=false",
            "set ML_API_KEY_REQUIRED=true",
            "127.0.0.1",
        ):
            assert words in problem
        assert load_settings(**given, **{switch: True}).api_key_required

    def test_an_issuer_needs_an_audience_and_roles(self):
        issuer = {"oidc_issuer": "https://issuer.example.com"}
        assert "needs ML_OIDC_AUDIENCE" in problems_of(**issuer)[0]
        assert "ML_OIDC_ROLES" in config_warnings(load_settings(**issuer, oidc_audience="streamb"))[0]
        assert config_warnings(load_settings(**issuer, oidc_audience="streamb", oidc_roles="ml=viewer")) == []


class TestProcesses:
    def test_settings_cross_to_another_process_whatever_its_environment(self, monkeypatch: pytest.MonkeyPatch):
        settings = load_settings(environment="staging", port=0, database_url="postgresql://u:p@h/d")
        monkeypatch.setenv("ML_PORT", "9999")
        assert pickle.loads(pickle.dumps(settings)) == settings

    def test_settings_do_not_change(self):
        with pytest.raises(ValueError, match="frozen"):
            load_settings().port = 1

    def test_a_child_gets_our_environment_and_the_extras(self):
        asked = "import os; print(os.environ['ML_PORT'], 'PATH' in os.environ)"
        child = subprocess.run(
            [sys.executable, "-c", asked],
            env=child_environment(ML_PORT="1"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout.split() == ["1", "True"]
        assert "ML_PORT" not in child_environment()

    def test_defaults_do_not_replace_what_the_user_set(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("RAY_TEST_ONE", "user")
        monkeypatch.delenv("RAY_TEST_TWO", raising=False)
        default_environment({"RAY_TEST_ONE": "ours", "RAY_TEST_TWO": "ours"})
        after = child_environment()
        monkeypatch.delenv("RAY_TEST_TWO")
        assert (after["RAY_TEST_ONE"], after["RAY_TEST_TWO"]) == ("user", "ours")
