"""Every command but `up` and `down`, for people and for scripts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.api.artifacts import sklearn_archive


@pytest.fixture
def churn(cli, tmp_path):
    archive = sklearn_archive(tmp_path)
    options = ("--version", "1.0.0", "--metric", "accuracy=0.9", "--hyperparameter", "C=1", "--owner", "ada")
    assert "registered churn 1.0.0" in cli("models", "register", "churn", str(archive), *options)
    return archive


def test_models(cli, churn):
    assert "churn" in cli("models", "list")
    assert [model["model_id"] for model in cli.json("models", "list")] == ["churn"]
    shown = cli("models", "show", "churn")
    assert "accuracy=0.9" in shown
    assert "development" in shown
    assert cli.json("models", "show", "churn")["versions"][0]["hyperparameters"] == {"C": "1"}
    assert "champion=1.0.0" in cli("models", "alias", "churn", "champion", "latest")
    assert cli.json("models", "alias", "churn", "champion", "--delete")["aliases"] == {}
    assert "no model is deployed" in cli("models", "status", "churn")


def test_a_version_is_registered_with_requirements_of_its_own(cli, churn):
    lines = ("--pip", "--no-index", "--pip", "tiny==1.0")
    made = cli.json("models", "register", "churn", str(churn), "--version", "2.0.0", *lines)
    assert made["environment"] == {"pip": ["--no-index", "tiny==1.0"]}
    shown = cli.json("models", "show", "churn")["versions"]
    assert [one["environment"] for one in shown] == [made["environment"], {}]


def test_versions_are_chosen_by_filters(cli, churn):
    options = ("--version", "1.1.0", "--metric", "accuracy=0.7", "--owner", "bob")
    cli("models", "register", "churn", str(churn), *options)
    assert [one["version"] for one in cli.json("models", "versions", "churn")] == ["1.1.0", "1.0.0"]
    good = cli.json("models", "versions", "churn", "--metric", "accuracy>=0.8", "--metric", "accuracy<1")
    assert [one["version"] for one in good] == ["1.0.0"]
    shown = cli("models", "versions", "churn", "--owner", "bob")
    assert "1.1.0" in shown
    assert "1.0.0" not in shown
    assert cli("models", "versions", "churn", "--tag", "team=risk") == "no version matches\n"
    here = ("--state-dir", str(cli.state_dir))
    refused = cli.run("models", "versions", "churn", "--metric", "accuracy~1", *here, code=1)
    assert "such as accuracy>=0.9 [invalid_input]" in refused.stderr
    assert [one["model_id"] for one in cli.json("models", "list", "--owner", "bob")] == ["churn"]
    assert cli.json("models", "list", "--owner", "ada") == []


def test_a_model_is_undeployed_and_its_version_deleted(cli, live, churn):
    here = ("--state-dir", str(cli.state_dir))
    cli("deploy", "churn", "1.0.0")
    refused = cli.run("models", "delete", "churn", "--version", "1.0.0", *here, code=1)
    assert "it serves the model's traffic" in refused.stderr
    ordered = cli("undeploy", "churn", "--no-wait", "--by", "ada", "--reason", "retired")
    assert ordered == "churn: version 1.0.0 leaves traffic and stops\n"
    cli("deploy", "churn", "1.0.0")
    with live.passing_time():
        assert cli("undeploy", "churn") == "churn: version 1.0.0 has stopped\n"
    assert "not deployed" in cli.run("undeploy", "churn", *here, code=1).stderr
    assert "retired" in cli("deployments", "history")
    assert cli.json("models", "delete", "churn", "--version", "1.0.0")["version"] == "1.0.0"
    assert cli.json("models", "versions", "churn") == []
    cli.run("models", "delete", "churn", *here, code=2)


def test_an_artifact_folder_and_an_onnx_file_can_be_registered(cli, churn, tmp_path):
    folder = churn.parent / "artifact"
    assert cli.json("models", "register", "churn", str(folder), "--version", "1.0.0")["digest"]
    text = tmp_path / "model.txt"
    text.write_text("no model")
    done = cli.run(
        *("models", "register", "churn", str(text), "--version", "2.0.0", "--state-dir", str(cli.state_dir)), code=1
    )
    assert done.stderr == "error: model.txt is neither an .onnx file nor a .zip artifact [invalid_input]\n"


def test_deployments(cli, churn):
    assert "no deployments yet" in cli("deployments", "list")
    assert "completed" in cli("deploy", "churn", "1.0.0")
    made = cli.json("deployments", "list", "--model", "churn")[0]
    assert made["state"] == "completed"
    assert made["id"] in cli("deployments", "list")
    assert "100 %" in cli("deployments", "show", made["id"])
    assert cli.json("deployments", "show", made["id"]) == made
    assert "completed" in cli("deployments", "history")
    assert cli.json("deployments", "history")[-1]["kind"] == "created"
    assert "running" in cli("models", "status", "churn")
    assert cli.json("deploy", "churn", "1.0.0", "--no-wait")["state"] == "pending"


def test_a_deployment_says_how_its_version_runs(cli, churn):
    words = ["--batching", "max_rows=8", "--batching", "join=false", "--resource", "cpus=2", "--request-timeout", "3"]
    options = cli.json("deploy", "churn", "1.0.0", *words)["options"]
    assert options == {"batching": {"max_rows": 8, "join": False}, "resources": {"cpus": 2}, "timeout_s": 3}
    wrong = cli.run("deploy", "churn", "1.0.0", "--batching", "join=maybe", "--state-dir", str(cli.state_dir), code=1)
    assert "batching.join" in wrong.stderr


def test_a_deployment_that_fails_is_exit_code_1(cli, live, churn):
    live.backend.runtime.failing = "out of memory"
    assert "out of memory" in cli("deploy", "churn", "1.0.0", code=1)


def test_status_health_metrics(cli, live):
    status = cli.json("status")
    assert (status["url"], status["environment"]) == (live.url, "development")
    assert live.url in cli("status")
    assert cli("health").startswith("healthy\n")
    live.backend.clock.advance(60)
    assert cli.json("health", code=1)["status"] == "unhealthy"
    assert "gateway" in cli("health", code=1)
    assert "# TYPE streamb_gateways gauge" in cli("metrics")
    assert "streamb_build_info" in [family["name"] for family in cli.json("metrics")]


class TestJobs:
    def test_submit_list_stop(self, cli, live, tmp_path):
        options = ("--name", "train", "--working-dir", str(tmp_path), "--env", "A=1")
        job = cli.json("jobs", "submit", *options, "--", "echo", "a b")
        assert live.backend.jobs.submitted[0] == {
            "entrypoint": "echo 'a b'",
            "working_dir": str(tmp_path),
            "env": {"A": "1"},
            "name": "train",
        }
        assert job["id"] in cli("jobs", "list")
        assert cli.json("jobs", "list")[0]["state"] == "pending"
        assert "stopped" in cli("jobs", "stop", job["id"])

    def test_logs(self, cli, live):
        job = cli("jobs", "submit", "--", "true").strip()
        live.backend.jobs.end(job, "succeeded", "x" * 70_000 + "end\n", exit_code=0)
        assert cli("jobs", "logs", job) == "x" * 70_000 + "end\n"
        assert cli("jobs", "logs", job, "--follow").endswith("end\n")
        assert cli.json("jobs", "logs", job)["text"].endswith("end\n")

    def test_following_until_the_end(self, cli, live):
        live.backend.jobs.ending = {"state": "failed", "output": "boom\n", "exit_code": 3}
        done = cli.run("jobs", "submit", "--follow", "--state-dir", str(cli.state_dir), "--", "false", code=1)
        assert "boom\n" in done.stdout
        assert "failed" in done.stderr

    def test_wrong_variables(self, cli):
        cli("jobs", "submit", "--env", "A", "--", "true", code=2)


class TestElsewhere:
    def test_by_address(self, cli, live):
        arguments = ("models", "list", "--json", "--address", live.url, "--api-key", live.backend.api_key)
        assert json.loads(cli.run(*arguments).stdout) == []

    def test_nothing_runs(self, cli, tmp_path):
        done = cli.run("status", "--state-dir", str(tmp_path / "nowhere"), code=1)
        assert done.stdout == ""
        assert done.stderr.startswith("error: no platform runs on")
        assert done.stderr.endswith("[not_running]\n")
        assert len(done.stderr.splitlines()) == 1

    def test_errors_of_the_platform_are_one_line(self, cli):
        done = cli.run("models", "show", "nobody", "--state-dir", str(cli.state_dir), code=1)
        assert done.stderr == "error: no model 'nobody' is registered [not_found]\n"


class TestConfig:
    def test_show(self, cli, monkeypatch):
        monkeypatch.setenv("ML_MAX_BATCH_ROWS", "17")
        shown = {one["name"]: one for one in json.loads(cli.run("config", "show", "--json").stdout)}
        assert shown["max_batch_rows"]["value"] == 17
        assert shown["max_batch_rows"]["origin"] == "variable ML_MAX_BATCH_ROWS"
        assert "ML_MAX_BATCH_ROWS" in cli.run("config", "show").stdout
        production = json.loads(cli.run("config", "show", "--env", "production", "--json").stdout)
        assert {one["name"]: one["value"] for one in production}["api_key_required"] is True

    def test_a_wrong_value(self, cli, monkeypatch):
        monkeypatch.setenv("ML_PORT", "many")
        done = cli.run("config", "show", code=1)
        assert "ML_PORT" in done.stderr
        assert "[config_error]" in done.stderr

    @pytest.mark.parametrize("command", [("config", "show"), ("up",)], ids=" ".join)
    def test_a_wrong_setting_of_a_channel_is_told_before_anything_starts(self, cli, monkeypatch, command):
        monkeypatch.setenv("ML_ALERT_CHANNELS", "slack")
        done = cli.run(*command, code=1)
        assert "slack, which needs ML_ALERT_SLACK_WEBHOOK_URL" in done.stderr
        monkeypatch.setenv("ML_ALERT_SLACK_WEBHOOK_URL", "env:NOT_SET_ANYWHERE")
        assert "is empty or not set [config_error]" in cli.run(*command, code=1).stderr

    def test_settings_of_channels_are_shown(self, cli, monkeypatch):
        monkeypatch.setenv("ML_ALERT_WEBHOOK_URL", "https://alerts.example.com/hunter2")
        done = cli.run("config", "show", "--json")
        (shown,) = [one for one in json.loads(done.stdout) if one["name"] == "alert_webhook_url"]
        assert (shown["value"], shown["origin"]) == ("***", "variable ML_ALERT_WEBHOOK_URL")
        assert "ML_ALERT_CHANNELS does not name webhook" in done.stderr

    def test_a_variable_with_a_typing_error_is_told(self, cli, monkeypatch):
        monkeypatch.setenv("ML_MAX_BATCH_ROW", "17")
        assert "ML_MAX_BATCH_ROWS" in cli.run("config", "show").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["models", "show"],
        ["deploy", "a"],
        ["up", "--port", "99999"],
        ["up", "--env", "prod"],
        ["models", "list", "--limit", "0"],
        ["models", "register", "a", __file__, "--version", "1.0.0", "--metric", "accuracy=high"],
        ["deploy", "a", "1.0.0", "--steps", "5,half"],
        ["deploy", "a", "1.0.0", "--approval-before", "lunch"],
        ["deploy", "a", "1.0.0", "--criterion", "max_drift_score"],
        ["deploy", "a", "1.0.0", "--percent", "5", "--option", "traffic_split_percentage=5"],
        ["jobs", "submit", "--env", "A", "--", "true"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_no_traceback(arguments):
    done = subprocess.run([sys.executable, "-m", "streamb", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Usage" in done.stderr or "Error" in done.stderr


def test_every_command_has_json():
    import typer.main

    from streamb.cli.app import app

    def leaves(command, path=()):
        for name, child in getattr(command, "commands", {}).items():
            yield from leaves(child, (*path, name))
        if not hasattr(command, "commands"):
            yield path, {option for parameter in command.params for option in parameter.opts}

    found = dict(leaves(typer.main.get_command(app)))
    assert len(found) >= 19
    assert [path for path, options in found.items() if "--json" not in options] == []


def test_keys(cli):
    assert "shop" in cli("keys", "principals", "create", "shop", "--kind", "service", "--role", "operator")
    narrowed = ("--scope", "read", "--model", "energy-*", "--expires", "90d")
    key = cli("keys", "create", "shop", *narrowed).strip()
    key_id = key.split("_")[1]
    row = next(line for line in cli("keys", "list").splitlines() if key_id in line)
    assert [word in row for word in ("shop", "read", "energy-*", "due", key)] == [True, True, True, False, False]
    turned = cli.json("keys", "rotate", key_id, "--grace", "0s")
    assert (turned["id"], turned["key"] != key, turned["old_secret_until"]) == (key_id, True, None)
    assert cli.json("keys", "principals", "roles", "shop", "--role", "viewer")["roles"] == ["viewer"]
    assert cli("keys", "revoke", key_id) == f"{key_id}: revoked\n"
    assert "removed" in cli("keys", "principals", "remove", "shop")
    assert "shop" not in cli("keys", "principals", "list")
