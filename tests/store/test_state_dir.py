"""Nobody but its owner reads the state directory, under any umask, and whatever an earlier release has left there."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamb.control.platform import operator_key
from streamb.crypto import SigningKey, create_once
from streamb.errors import StorageFailed
from streamb.sdk.discovery import RunningInfo, write_platform_file
from streamb.sdk.up_lock import UpLock
from streamb.security.platform_key import PlatformKey
from streamb.store.files import open_private, private_folder, replace_file
from streamb.store.sql_engine import create_sql_engine
from streamb.store.state_dir import claim_state_dir

UMASKS = (0o000, 0o022, 0o077, 0o777)


@contextmanager
def umask(value: int):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lock(folder: Path) -> Path:
    with UpLock(folder):
        return folder / "up.lock"


def database(folder: Path) -> Path:
    create_sql_engine(f"sqlite:///{folder}/streamb.db", busy_timeout_s=1).dispose()
    return folder / "streamb.db"


def platform_file(folder: Path) -> Path:
    write_platform_file(folder, RunningInfo("http://127.0.0.1:1", 1, 0.0, "0"))
    return folder / "platform.json"


def made(make, name: str):
    def maker(folder: Path) -> Path:
        make(folder)
        return folder / name

    return maker


MAKERS = {
    "api-key": made(operator_key, "api-key"),
    "platform.key": made(PlatformKey.create, "keys/platform.key"),
    "signing.pem": made(lambda folder: SigningKey.load_or_create(folder / "keys" / "signing.pem"), "keys/signing.pem"),
    "platform.json": platform_file,
    "up.lock": lock,
    "streamb.db": database,
    "up.log": made(lambda folder: open_private(folder / "up.log", "wb").close(), "up.log"),
}


@pytest.mark.parametrize("mask", UMASKS[:3], ids=oct)
@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_what_holds_a_secret_is_for_its_owner(tmp_path, maker, mask):
    with umask(mask):
        claim_state_dir(tmp_path / "a" / "state")
        path = maker(tmp_path / "a" / "state")
    assert mode(path) == 0o600
    assert mode(tmp_path / "a" / "state") == 0o700


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_a_new_folder_is_for_its_owner(tmp_path, mask):
    with umask(mask):
        assert private_folder(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


def test_what_an_earlier_release_left_is_closed(tmp_path):
    state, keys = tmp_path / "state", tmp_path / "state" / "keys"
    keys.mkdir(parents=True)
    (state / "artifacts").mkdir()
    old = [state / "api-key", state / "streamb.db", keys / "signing.pem", state / "up.log"]
    for path in (*old, state / "artifacts" / "model"):
        path.write_text("x")
        path.chmod(0o664)
    state.chmod(0o775)
    claim_state_dir(state)
    assert mode(state) == 0o700
    assert [mode(path) for path in old] == [0o600] * 4
    assert mode(state / "artifacts" / "model") == 0o664, "no secret: the directory above is closed"


def test_no_moment_at_which_others_could_read(tmp_path):
    """While files with secrets are written again and again, under no umask, another thread looks at each it finds."""
    open_to_others, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in tmp_path.glob("**/*"):
                try:
                    if path.is_file() and mode(path) & 0o077:
                        open_to_others.append(path)
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=look)
    with umask(0):
        watcher.start()
        for number in range(100):
            replace_file(tmp_path / "one", b"secret", mode=0o600)
            create_once(tmp_path / f"other-{number}", b"secret")
            open_private(tmp_path / f"log-{number}", "ab").close()
        done.set()
        watcher.join(10)
    assert not open_to_others


def test_a_draft_that_a_crash_left_does_not_lend_its_permissions(tmp_path):
    (tmp_path / ".one.new").write_text("")
    (tmp_path / ".one.new").chmod(0o666)
    replace_file(tmp_path / "one", b"secret", mode=0o600)
    assert mode(tmp_path / "one") == 0o600


class TestWhereItCannotBeClosed:
    @pytest.fixture
    def foreign(self, tmp_path, monkeypatch) -> Path:
        """A directory whose permissions do not change, as on a file system that has none."""
        (tmp_path / "state").mkdir(mode=0o777)
        (tmp_path / "state").chmod(0o777)
        monkeypatch.setattr(Path, "chmod", lambda *_: None)
        return tmp_path / "state"

    def test_development_goes_on(self, foreign):
        claim_state_dir(foreign)

    def test_the_others_refuse(self, foreign):
        with pytest.raises(StorageFailed, match="choose a folder inside it"):
            claim_state_dir(foreign, strict=True)

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "state").touch()
        with pytest.raises(StorageFailed, match="cannot be written"):
            claim_state_dir(tmp_path / "state")
