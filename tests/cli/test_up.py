"""`up` and `down`: the life of a platform, with everything real but the cluster under it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import streamb.cluster
from streamb.cli.app import app
from streamb.cli.foreground import StopRequests
from streamb.cli.output import Waiting
from streamb.clock import ManualClock
from streamb.errors import DoesNotFit, StorageFailed
from streamb.sdk import up_lock
from streamb.sdk.discovery import read_platform_file
from streamb.sdk.up_lock import UpLock, lock_holder
from tests.sdk.live import LivePlatform


class FakeCluster:
    """Stands where Ray would: hands out a live platform of this process."""

    def __init__(self, live):
        self.live = live
        self.url, self.api_key, self.ray_address = live.url, live.backend.api_key, None
        self.stopped = 0
        self.alive = True
        self.during_start = lambda: None
        self.during_stop = lambda: None
        self.given_up = 0
        self.unanswered, self.notes = [], []
        self.needs = {"memory_mb": 1535, "cores_at_rest": 0.06, "room": {"memory_mb": 8000.0}}
        self.shortage = ""

    def start(self, settings, progress, accept):
        progress("the gateway")
        if self.shortage and not accept(self.shortage):
            raise DoesNotFit(self.shortage)
        self.during_start()
        return self

    def give_up(self):
        self.given_up += 1

    def stop(self):
        self.during_stop()
        self.stopped += 1


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def cluster(state_dir, monkeypatch):
    with LivePlatform(state_dir).running() as live:
        cluster = FakeCluster(live)
        monkeypatch.setattr(streamb.cluster, "start_platform", cluster.start)
        yield cluster


class Watcher(threading.Thread):
    """Waits until the platform is up, looks at it, and then sends signals to this process."""

    def __init__(self, state_dir, *signals):
        super().__init__(daemon=True)
        self.state_dir = state_dir
        self.signals = signals or (signal.SIGINT,)
        self.info = None
        self.mode = 0
        self.start()

    def run(self):
        deadline = time.monotonic() + 60
        while (info := read_platform_file(self.state_dir)) is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.info = info
        self.mode = stat.S_IMODE((self.state_dir / "platform.json").stat().st_mode)
        time.sleep(0.3)
        for number in self.signals:
            os.kill(os.getpid(), number)
            time.sleep(0.1)


def up(state_dir, *arguments, code=0):
    done = CliRunner().invoke(app, ["up", "--state-dir", str(state_dir), *arguments])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


def test_up_announces_and_ctrl_c_stops_everything(cluster, state_dir):
    watcher = Watcher(state_dir)
    done = up(state_dir)
    assert cluster.stopped == 1
    assert watcher.info.url == cluster.url
    assert watcher.info.pid == os.getpid()
    assert watcher.mode == 0o600
    assert not (state_dir / "platform.json").exists()
    assert lock_holder(state_dir) is None
    for text in (cluster.url, cluster.api_key, "/v2/models/iris/predict"):
        assert text in done.stdout
    assert "waiting for the gateway … 0." in done.stderr
    assert "waiting for the sample model" in done.stderr
    assert cluster.live.backend.rollouts.routes["iris"].version == "1.0.0"


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("place", ["terminal", "program", "file"])
def test_the_key_goes_to_no_log(cluster, state_dir, tmp_path, monkeypatch, place, environment):
    Watcher(state_dir)
    (state_dir / "api-key").write_text(cluster.api_key)
    descriptors = {
        "terminal": os.openpty,
        "program": os.pipe,
        "file": lambda: (os.open(os.devnull, os.O_RDONLY), os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)),
    }
    other, descriptor = descriptors[place]()
    with os.fdopen(descriptor, "w") as stdout:
        monkeypatch.setattr("streamb.cli.up.sys", SimpleNamespace(stdout=stdout))
        said = up(state_dir, "--environment", environment).stdout
    os.close(other)
    shown = place == "terminal" or (place == "program" and environment == "development")
    assert (cluster.api_key in said) is shown
    assert (str(state_dir / "api-key") in said) is not shown


def test_for_scripts(cluster, state_dir):
    Watcher(state_dir, signal.SIGTERM)
    facts = json.loads(up(state_dir, "--json", "--no-sample").stdout)
    assert (facts["url"], facts["api_key"], facts["pid"]) == (cluster.url, cluster.api_key, os.getpid())
    assert "iris" not in cluster.live.backend.rollouts.routes


def test_no_sample_where_models_are(cluster, state_dir):
    cluster.live.backend.platform.registry.create_model("mine")
    Watcher(state_dir)
    up(state_dir)
    assert "iris" not in cluster.live.backend.rollouts.routes


def test_a_second_up_says_where_the_first_is(cluster, state_dir):
    refusals = []
    cluster.during_stop = lambda: refusals.append(up_in_a_process(state_dir))
    Watcher(state_dir)
    up(state_dir, "--no-sample")
    code, error = refusals[0]
    assert code == 1
    assert str(os.getpid()) in error
    assert "[already_running]" in error


def up_in_a_process(state_dir):
    done = subprocess.run(
        [sys.executable, "-m", "streamb", "up", "--state-dir", str(state_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_a_platform_that_ends_by_itself_is_reported(cluster, state_dir):
    cluster.alive = False
    result = CliRunner().invoke(app, ["up", "--port", "0", "--no-sample", "--state-dir", str(state_dir)])
    assert result.exit_code == 1
    assert "not_running" in result.stderr
    assert cluster.stopped == 1


def test_more_signals_do_not_stop_the_stop(cluster, state_dir):
    def slow():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    cluster.during_stop = slow
    Watcher(state_dir)
    done = up(state_dir, "--no-sample")
    assert cluster.stopped == 1
    assert done.stderr.count("still stopping") == 3
    assert done.stderr.endswith("stopped\n")


def test_a_signal_during_the_start_ends_it(cluster, state_dir):
    cluster.during_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    up(state_dir, code=130)
    assert lock_holder(state_dir) is None
    assert not (state_dir / "platform.json").exists()


def test_a_sample_that_fails_ends_what_the_start_has_made_and_no_more(cluster, state_dir):
    cluster.live.backend.runtime.failing = "out of memory"
    done = up(state_dir, code=1)
    assert "out of memory" in done.stderr
    assert (cluster.given_up, cluster.stopped) == (1, 0)
    assert lock_holder(state_dir) is None
    assert not (state_dir / "platform.json").exists()


def test_models_that_do_not_answer_are_named_and_it_is_not_said_to_be_up(cluster, state_dir):
    cluster.unanswered = ["model churn: 1.0.0 failed: no module named xgboost"]
    cluster.notes = ["node 10.0.0.7: did not answer"]
    Watcher(state_dir)
    done = up(state_dir, "--no-sample")
    assert "is up" not in done.stdout
    assert "1 model(s) do not answer" in done.stdout
    assert "  model churn: 1.0.0 failed: no module named xgboost\n" in done.stdout
    assert "warning: node 10.0.0.7: did not answer" in done.stderr
    Watcher(state_dir)
    facts = json.loads(up(state_dir, "--no-sample", "--json").stdout)
    assert (facts["unanswered"], facts["notes"]) == (cluster.unanswered, cluster.notes)


def test_what_it_needs_is_said_and_what_does_not_fit_is_refused_unless_told_otherwise(cluster, state_dir):
    Watcher(state_dir)
    assert "about 1.5 GB of 8.0 GB of memory" in up(state_dir, "--no-sample").stdout
    cluster.shortage = "it does not fit on this machine"
    refused = up(state_dir, "--no-sample", code=1)
    assert "error: it does not fit on this machine [does_not_fit]" in refused.stderr
    Watcher(state_dir)
    up(state_dir, "--no-sample", "--yes")


def test_protections_that_are_not_enforced_yet_are_named(cluster, state_dir):
    Watcher(state_dir)
    assert "not enforced" not in up(state_dir, "--no-sample").stderr
    Watcher(state_dir)
    done = up(state_dir, "--env", "production", "--json")
    named = {one["variable"] for one in json.loads(done.stdout)["not_enforced"]}
    expected = {"ML_ENCRYPT_AT_REST", "ML_AUDIT_ENABLED"}
    assert named == expected | {"ML_ENCRYPT_IN_TRANSIT"}
    assert all(name in done.stderr for name in named)


class TestStopRequests:
    def test_the_first_signal_interrupts_a_start(self):
        with StopRequests(), pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    def test_handlers_are_put_back(self):
        before = signal.getsignal(signal.SIGTERM)
        with StopRequests():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    def test_the_end_of_the_parent_is_a_request(self, tmp_path):
        program = """
from streamb.cli.foreground import StopRequests
with StopRequests() as requests:
    requests.started()
    requests.follow_parent()
    print("ready", flush=True)
    requests.wait(lambda: True)
print("stopped in order", flush=True)
"""
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            assert child.stdout.readline() == b"ready\n"
            child.stdin.close()
            assert child.stdout.readline() == b"stopped in order\n"
            assert child.wait(60) == 0


class TestDown:
    def test_nothing_to_stop(self, tmp_path):
        done = CliRunner().invoke(app, ["down", "--state-dir", str(tmp_path), "--json"])
        assert json.loads(done.stdout)["stopped"] is False
        assert done.exit_code == 0

    def test_it_waits_until_the_platform_has_stopped(self, tmp_path):
        child = self.holder(tmp_path, "time.sleep(0.3)")
        with child:
            assert child.stdout.readline() == b"held\n"
            done = CliRunner().invoke(app, ["down", "--state-dir", str(tmp_path)])
            assert done.exit_code == 0, done.stderr
            assert done.stdout == f"stopped (process {child.pid})\n"
            assert "to stop what it started" in done.stderr
            assert child.wait(60) == 0

    def test_it_does_not_wait_for_ever(self, tmp_path):
        child = self.holder(tmp_path, "time.sleep(60)")
        with child:
            assert child.stdout.readline() == b"held\n"
            done = CliRunner().invoke(app, ["down", "--state-dir", str(tmp_path), "--timeout", "1"])
            assert done.exit_code == 1
            assert f"process {child.pid}" in done.stderr
            child.kill()

    def holder(self, state_dir, stop):
        program = f"""
import signal, time, sys
from pathlib import Path
from streamb.sdk.up_lock import UpLock
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
with UpLock(Path({str(state_dir)!r})):
    print("held", flush=True)
    while not asked:
        time.sleep(0.02)
    {stop}
"""
        return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def test_waiting_names_what_and_how_long(capsys):
    clock = ManualClock()
    with Waiting(clock) as waiting:
        waiting.for_("the controller")
        clock.advance(3.25)
        waiting.for_("the gateway")
    assert capsys.readouterr().err == "waiting for the controller … 0.0 s\nwaiting for the gateway … 3.2 s\n"


def test_a_disk_that_is_full_is_one_sentence(state_dir, monkeypatch):
    class Full(io.BytesIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(up_lock, "open_private", lambda *_: Full())
    monkeypatch.setattr(up_lock, "take_lock", lambda _: True)
    with (
        pytest.raises(StorageFailed, match=r"cannot be written \(No space left on device\)"),
        UpLock(state_dir),
    ):
        pass


def test_the_lock_is_taken_before_anything_starts(state_dir):
    with UpLock(state_dir):
        done = up(state_dir, "--detach", code=1)
    assert "[already_running]" in done.stderr
    assert not (state_dir / "up.log").exists()
