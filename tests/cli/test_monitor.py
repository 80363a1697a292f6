"""`streamb monitor` and `streamb alerts`, for people and for scripts, with the real Monitor behind them."""

from __future__ import annotations

import pytest

from tests.api.artifacts import sklearn_archive
from tests.api.monitored import MODEL, NAMES, Traffic, answers, rows


@pytest.fixture
def churn(cli, tmp_path):
    cli("models", "register", MODEL, str(sklearn_archive(tmp_path)), "--version", "1.0.0")


@pytest.fixture
def table(tmp_path):
    """A CSV with predictions and labels."""
    features = rows(1500, seed=9)
    path = tmp_path / "table.csv"
    lines = [",".join((*NAMES, "predicted", "truth"))]
    lines += [",".join(map(str, (*row, y, y))) for row, y in zip(features.tolist(), answers(features), strict=True)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def traffic(live):
    return Traffic(live.backend)


def test_baseline_drift_and_health(cli, live, churn, table, traffic):
    assert f"{MODEL} has no baseline" in cli("monitor", "baselines", MODEL)
    roles = ("--predictions", "predicted", "--labels", "truth")
    assert cli("monitor", "baseline", MODEL, str(table), *roles) == (
        "baseline 1 of churn 1.0.0: 1500 rows, 4 columns\n"
    )
    traffic.push(800)
    assert cli("monitor", "health", MODEL).startswith("healthy\n")
    traffic.push(3000, shift=1.0, seed=2)
    shown = cli("monitor", "drift", MODEL, "--minutes", "30")
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0][0].startswith(("1", "drift", "The", "x1", "2"))
    by_name = {line[0]: line for line in lines[1:]}
    assert by_name["x1"][1] == "feature"
    assert float(by_name["x1"][2]) > 0.3 > float(by_name["x0"][2])
    assert "drifted" in by_name["x1"]
    assert list(by_name).index("x1") < list(by_name).index("x0")
    found = cli.json("monitor", "drift", MODEL, "--version", "latest")
    assert found["features"]["x1"]["drifted"]
    degraded = cli("monitor", "health", MODEL, code=1)
    assert degraded.startswith("degraded\n")
    assert "p95 10" in degraded
    assert cli.json("monitor", "health", MODEL, code=1)["drift_status"]["status"] == "drifted"
    assert cli.json("monitor", "baseline", MODEL, "--from-window", "60")["origin"] == "live"
    listed = cli("monitor", "baselines", MODEL)
    assert listed.count("in force") == 1
    assert {one["number"] for one in cli.json("monitor", "baselines", MODEL)} == {1, 2}


def test_thresholds(cli, churn):
    shown = cli("monitor", "thresholds", MODEL, "--max-latency-ms", "200", "--max-error-rate", "0.02")
    assert "200" in shown
    made = cli.json("monitor", "thresholds", MODEL, "--max-drift-score", "0.5")
    assert made["thresholds"]["max_drift_score"] == 0.5
    assert made["thresholds"]["max_latency_ms"] is None


def test_wrong_use(cli, churn, table, tmp_path):
    cli("monitor", "baseline", MODEL, code=2)
    cli("monitor", "baseline", MODEL, str(table), "--from-window", "5", code=2)
    cli("monitor", "baseline", MODEL, "--from-window", "5", "--labels", "truth", code=1)
    refused = cli.run("monitor", "baseline", MODEL, str(table), "--state-dir", str(cli.state_dir), code=1)
    assert "unknown column 'predicted'" in refused.stderr
    assert refused.stderr.endswith("[invalid_features]\n")
    cli("monitor", "drift", MODEL, code=1)


def fail_for_a_while(live, traffic):
    """Long enough that somebody is told."""
    for _ in range(10):
        traffic.push(100, errors=500)
        live.backend.clock.advance(20)
        live.backend.core.tick()


def test_alerts_and_silences(cli, live, churn, traffic):
    assert cli("alerts", "list") == "there are no alerts\n"
    fail_for_a_while(live, traffic)
    assert "firing" in cli("alerts", "list", "--state", "firing", "--model", MODEL)
    assert MODEL in cli("monitor", "alerts", MODEL)
    assert cli.json("monitor", "alerts", MODEL) == cli.json("alerts", "list")
    matchers = (f"model={MODEL}", "severity!=low")
    made = cli("alerts", "silence", *matchers, "--for", "1h30m", "--comment", "known", "--by", "ada")
    silence = made.split(":")[0]
    assert "known" in cli("alerts", "silences")
    stored = cli.json("alerts", "silences")[0]
    assert stored["author"] == "operator"  # whose key it was, whatever name was given
    assert stored["comment"] == "known (said: ada)"
    assert cli.json("alerts", "list")[0]["silenced_by"] == [silence]
    assert "expired" in cli("alerts", "unsilence", silence)
    assert cli.json("alerts", "silence", "model=x", "--comment", "y")["state"] == "active"
    assert cli.json("alerts", "silence", "model=x", "--for", "60d", "--comment", "y")["state"] == "active"
    cli("alerts", "silence", "model=x", "--for", "91d", "--comment", "y", code=1)
    cli("alerts", "silence", "model=x", "--for", "soon", "--comment", "y", code=1)
    cli("alerts", "unsilence", "nothing", code=1)


def test_channels_and_what_they_delivered(cli, live, churn, traffic):
    assert "in use" in cli("alerts", "channels")
    assert cli("alerts", "deliveries") == "no notification was sent\n"
    fail_for_a_while(live, traffic)
    assert cli.json("alerts", "channels")[0]["waiting"] > 0
    live.backend.core._alerting.courier.deliver_due()
    assert cli.json("alerts", "channels")[0]["waiting"] == 0
    assert f"[FIRING:1] HighErrorRate {MODEL}" in cli("alerts", "deliveries")
    assert {one["outcome"] for one in cli.json("alerts", "deliveries")} == {"delivered"}


def test_a_channel_is_tried(cli):
    assert "log" in cli("alerts", "test", "log")
    assert cli.json("alerts", "test", "log")["delivered"] is True
    cli("alerts", "test", "pigeon", code=1)
