"""Starting a platform in a process of its own, as far as that goes without Ray: how it fails."""

from __future__ import annotations

import socket

import pytest

from streamb import ProductionMLManager
from streamb.config.environment import ROLE
from streamb.errors import InsideModel, NotRunning, StartFailed
from streamb.sdk.launch import LaunchOptions, launch
from streamb.sdk.up_lock import lock_holder


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path):
    said = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"127.0.0.1:{port}") as failure:
            launch(LaunchOptions(tmp_path, port=port), tied=True, timeout_s=60, progress=said.append)
    assert failure.value.message.startswith("cannot listen on"), "the one sentence, without the rest of the log"
    assert "[start_failed]" in (tmp_path / "up.log").read_text()
    assert any("start_failed" in line for line in said)
    assert lock_holder(tmp_path) is None
    assert not (tmp_path / "platform.json").exists()


def test_options_become_arguments(tmp_path):
    options = LaunchOptions(tmp_path, environment="staging", host="0.0.0.0", port=0, sample=False)
    assert options.arguments() == [
        *("--state-dir", str(tmp_path), "--environment", "staging", "--host", "0.0.0.0", "--port", "0"),
        "--no-sample",
    ]
    assert LaunchOptions(tmp_path).arguments() == ["--state-dir", str(tmp_path)]


@pytest.mark.parametrize("role", ["replica", "trial"])
def test_a_models_code_starts_no_platform_and_uses_none_by_its_folder(tmp_path, monkeypatch, role):
    monkeypatch.setenv(ROLE, role)
    with pytest.raises(InsideModel, match=f"this process is a {role}"):
        ProductionMLManager(state_dir=tmp_path / "state")
    assert not (tmp_path / "state").exists()
    with pytest.raises(NotRunning):
        ProductionMLManager(address="http://127.0.0.1:9", api_key="key")
