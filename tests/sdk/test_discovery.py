"""Finding the platform of a state directory, and the lock that keeps it the only one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from streamb import ProductionMLManager
from streamb.clock import SystemClock
from streamb.errors import AlreadyRunning, NotRunning, StorageFailed
from streamb.sdk.discovery import (
    RunningInfo,
    find_platform,
    read_api_key,
    read_platform_file,
    require_platform,
    write_platform_file,
)
from streamb.sdk.up_lock import UpLock, lock_holder, wait_until_free


def leave_file(state_dir, **changes):
    info = RunningInfo("http://127.0.0.1:1", os.getpid(), time.time(), "0.1.0")
    info = dataclasses.replace(info, **changes)
    write_platform_file(state_dir, info)
    return info


def test_the_file_of_a_process_that_lives(tmp_path):
    assert read_platform_file(tmp_path) is None
    info = leave_file(tmp_path)
    assert read_platform_file(tmp_path) == info


def test_the_file_of_a_process_that_has_ended(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave_file(tmp_path, pid=ended.pid)
    assert read_platform_file(tmp_path) is None


def test_the_number_of_a_later_process_does_not_count(tmp_path):
    leave_file(tmp_path, started_at=1.0)
    assert read_platform_file(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 1}', "\x00"])
def test_a_file_that_says_nothing(tmp_path, content):
    (tmp_path / "platform.json").write_text(content)
    assert read_platform_file(tmp_path) is None


def test_a_platform_that_does_not_answer_is_none(tmp_path):
    leave_file(tmp_path)
    assert find_platform(tmp_path) is None
    with pytest.raises(NotRunning, match="streamb up"):
        require_platform(tmp_path)


def test_a_manager_attaches_by_the_state_directory(live):
    state_dir = live.backend.settings.state_dir
    leave_file(state_dir, url=live.url)
    (state_dir / "api-key").write_text(live.backend.api_key + "\n")
    assert read_api_key(state_dir) == live.backend.api_key
    with ProductionMLManager("development", state_dir=state_dir) as manager:
        assert (manager.url, manager.api_key, manager.embedded) == (live.url, live.backend.api_key, False)
    with ProductionMLManager(address=live.url, state_dir=state_dir) as manager:
        assert manager.api_key == live.backend.api_key
    with ProductionMLManager(address=live.url, state_dir=state_dir.parent) as manager:
        assert manager.api_key is None


class TestLock:
    def test_one_at_a_time(self, tmp_path):
        with UpLock(tmp_path):
            assert lock_holder(tmp_path) == os.getpid()
            with pytest.raises(AlreadyRunning, match="starting or stopping"), UpLock(tmp_path):
                pass
            info = leave_file(tmp_path)
            with pytest.raises(AlreadyRunning, match=info.url) as refusal, UpLock(tmp_path):
                pass
            assert refusal.value.details == {"url": info.url, "pid": os.getpid()}
        assert lock_holder(tmp_path) is None
        with UpLock(tmp_path):
            pass

    def test_a_process_that_is_killed_lets_go(self, tmp_path):
        program = f"""
import time
from pathlib import Path
from streamb.sdk.up_lock import UpLock
with UpLock(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
            assert holder.stdout.readline() == b"held\n"
            assert lock_holder(tmp_path) == holder.pid
            assert not wait_until_free(tmp_path, SystemClock(), 0.2)
            holder.kill()
            assert wait_until_free(tmp_path, SystemClock(), 5)

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageFailed, match="--state-dir"), UpLock(tmp_path / "file" / "state"):
            pass
