"""Files are replaced whole, grow line by line, and are locked by one process: also when that process is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamb.crypto import SigningKey
from streamb.errors import AlreadyRunning, StorageFailed
from streamb.hpo.study.folder import State, StudyFolder
from streamb.store.blobs import open_blobs
from streamb.store.files import JsonFile, LineFile, is_locked, replace_file, take_lock


def run_until_killed(program: str, path: Path) -> None:
    """Runs a program on `path` that ends by SIGKILL."""
    child = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60)
    assert child.returncode == -signal.SIGKILL


def holding(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds the lock on `path` until it is killed."""
    program = """
import sys, time
from streamb.store.files import take_lock
file = open(sys.argv[1], "wb")
assert take_lock(file)
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


@pytest.fixture
def synced(monkeypatch) -> set[int]:
    """What was synced to the disk: the inodes of files and folders."""
    found: set[int] = set()
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        found.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def inode(path: Path) -> int:
    return path.stat().st_ino


class TestReplacing:
    def test_a_crash_between_write_and_rename_leaves_the_old_content(self, tmp_path):
        path = tmp_path / "one"
        replace_file(path, b"old")
        program = """
import os, signal, sys
from pathlib import Path
from streamb.store.files import replace_file
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), b"new and longer")
"""
        run_until_killed(program, path)
        assert path.read_bytes() == b"old"
        replace_file(path, b"newer")
        assert path.read_bytes() == b"newer"
        assert [left.name for left in tmp_path.iterdir()] == ["one"]

    def test_killed_at_any_moment_a_file_is_old_or_new(self, tmp_path):
        path = tmp_path / "one"
        replace_file(path, b"0" * 100_000)
        program = """
import itertools, sys
from pathlib import Path
from streamb.store.files import replace_file
print("go", flush=True)
for n in itertools.count():
    replace_file(Path(sys.argv[1]), str(n % 10).encode() * 100_000)
"""
        for pause_s in (0.0, 0.01, 0.023):
            writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
            with writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == b"go\n"
                time.sleep(pause_s)
                writer.kill()
            content = path.read_bytes()
            assert content == content[:1] * 100_000

    def test_the_file_and_its_folder_are_synced(self, tmp_path, synced):
        replace_file(tmp_path / "one", b"1")
        assert synced == {inode(tmp_path), inode(tmp_path / "one")}

    def test_a_file_for_its_owner_alone(self, tmp_path):
        replace_file(tmp_path / "secret", b"1", mode=0o600)
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageFailed, match="cannot be written"):
            replace_file(tmp_path / "file" / "one", b"1")


def test_whoever_keeps_files_syncs_their_folders(tmp_path, synced):
    """The state of a study, its journal, blobs and the signing key: their names outlive a power cut, too."""
    StudyFolder(tmp_path / "study").mark(State.RUNNING)
    assert inode(tmp_path / "study") in synced
    LineFile(tmp_path / "journal" / "lines").close()
    assert inode(tmp_path / "journal") in synced
    SigningKey.load_or_create(tmp_path / "keys" / "signing.pem")
    assert inode(tmp_path / "keys") in synced
    (tmp_path / "content").write_bytes(b"1")
    blob = open_blobs(str(tmp_path / "blobs")).put_file(tmp_path / "content")
    stored = tmp_path / "blobs" / "sha256"
    assert {inode(stored), inode(stored / blob.digest[:2])} <= synced


class TestJson:
    def test_what_was_saved_is_read_back(self, tmp_path):
        file = JsonFile(tmp_path / "folder" / "one.json")
        assert file.load() == {}
        file.save({"größe": [1, None, {"a": 0.1}]})
        file.save({"größe": 2})
        assert JsonFile(tmp_path / "folder" / "one.json").load() == {"größe": 2}

    def test_a_save_that_fails_leaves_the_earlier_content(self, tmp_path, monkeypatch):
        file = JsonFile(tmp_path / "one.json")
        file.save({"a": 1})

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageFailed, match="No space left"):
            file.save({"a": 2})
        assert file.load() == {"a": 1}
        assert [left.name for left in tmp_path.iterdir()] == ["one.json"]

    @pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff"])
    def test_something_else_in_the_file_is_refused(self, tmp_path, content):
        (tmp_path / "one.json").write_bytes(content)
        with pytest.raises(StorageFailed, match=r"one\.json"):
            JsonFile(tmp_path / "one.json").load()


class TestLines:
    def test_killed_in_the_middle_of_a_line_it_leaves_whole_lines(self, tmp_path):
        """The first half of a line reaches the file, then the process dies."""
        path = tmp_path / "lines"
        program = """
import os, signal, sys
from streamb.store.files import LineFile
lines = LineFile(sys.argv[1])
lines.append({"n": 1})
class Dying:
    def __init__(self, file): self.file = file
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, content):
        self.file.write(content[:4])
        os.kill(os.getpid(), signal.SIGKILL)
lines._file = Dying(lines._file)
lines.append({"n": 2})
"""
        run_until_killed(program, path)
        assert path.read_bytes() == b'{"n":1}\n{"n"'
        again = LineFile(path)
        assert again.lines == (b'{"n":1}',)
        again.append({"n": 3})
        again.close()
        assert path.read_bytes() == b'{"n":1}\n{"n":3}\n'

    def test_killed_at_any_moment_what_was_answered_is_there(self, tmp_path):
        path = tmp_path / "lines"
        program = """
import itertools, sys
from streamb.store.files import LineFile
lines = LineFile(sys.argv[1])
for n in itertools.count():
    lines.append({"n": n, "text": "x" * 3000})
    print(n, flush=True)
"""
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            answered = [writer.stdout.readline() for _ in range(20)]
            writer.kill()
            answered += writer.stdout.readlines()
        again = LineFile(path)
        again.close()
        assert len(again.lines) >= len([line for line in answered if line.endswith(b"\n")]) >= 20
        assert path.read_bytes().endswith(b'"}\n')

    def test_one_writer_at_a_time(self, tmp_path):
        first = LineFile(tmp_path / "lines")
        with pytest.raises(AlreadyRunning, match="another process writes"):
            LineFile(tmp_path / "lines")
        first.close()
        LineFile(tmp_path / "lines").close()


class TestLock:
    def test_another_process_is_kept_out_until_the_holder_dies(self, tmp_path):
        path = tmp_path / "lock"
        assert not is_locked(path)
        with holding(path) as holder, path.open("ab") as mine:
            assert is_locked(path)
            assert not take_lock(mine)
            holder.kill()
            holder.wait()
            assert not is_locked(path)
            assert take_lock(mine)
            assert is_locked(path)
        assert not is_locked(path)

    def test_somebody_who_looks_does_not_keep_the_taker_out(self, tmp_path):
        """`is_locked` holds the lock for an instant: taking it tries more than once."""
        path = tmp_path / "lock"
        path.touch()
        program = """
import sys
from pathlib import Path
from streamb.store.files import is_locked
print("go", flush=True)
while True:
    is_locked(Path(sys.argv[1]))
"""
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as looker:
            assert looker.stdout is not None
            assert looker.stdout.readline() == b"go\n"
            taken = 0
            for _ in range(50):
                with path.open("ab") as mine:
                    taken += take_lock(mine)
            looker.kill()
        assert taken >= 45  # a single try gets it far less often
