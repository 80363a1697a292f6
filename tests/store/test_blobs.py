"""What a full or broken disk does to the blob store, and which URLs it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamb.errors import ConfigError, StorageFailed
from streamb.store.blobs import open_blobs

FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from streamb.errors import StorageFailed
from streamb.store.blobs import open_blobs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead of killing us
blobs = open_blobs(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
action, source = sys.argv[2], Path(sys.argv[3])
try:
    if action == "put":
        blobs.put_file(source)
    else:
        blobs.get_file(sys.argv[4], source)
except StorageFailed as error:
    print(error)
"""


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [3_000_001, 5_000_000])
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path, size: int):
    source = tmp_path / "source"
    source.write_bytes(b"x" * size)
    store = tmp_path / "store"
    command = [sys.executable, "-W", "error", "-c", FILL_THE_DISK, str(store), "put", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "could not be stored: File too large" in done.stdout
    assert done.stderr == ""
    assert files_below(store) == []
    blob = open_blobs(str(store)).put_file(source)
    assert [path.name for path in files_below(store)] == [blob.digest]


def test_what_a_killed_copy_left_is_cleared_after_a_day(tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    old, young = tmp_path / "store" / "incoming" / "old", tmp_path / "store" / "incoming" / "young"
    for left, age in ((old, 90_000), (young, 80_000)):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        then = source.stat().st_mtime - age
        os.utime(left, (then, then))
    blob = open_blobs(str(tmp_path / "store")).put_file(source)
    assert sorted(path.name for path in files_below(tmp_path / "store")) == sorted([blob.digest, "young"])


def test_a_disk_that_fills_up_while_reading_leaves_no_file(tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 4_000_000)
    store = str(tmp_path / "store")
    digest = open_blobs(store).put_file(source).digest
    target = tmp_path / "target" / "copy"
    target.parent.mkdir()
    command = [sys.executable, "-c", FILL_THE_DISK, store, "get", str(target), digest]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "could not be read: File too large" in done.stdout
    assert files_below(target.parent) == []


def test_a_store_below_a_file_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed):
        open_blobs(str(tmp_path / "file" / "store")).put_file(tmp_path / "file")


def test_a_source_that_changes_meanwhile_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    source.write_bytes(b"finished? no")
    monkeypatch.setattr("streamb.store.blobs.sha256_file", lambda path: "0" * 64)
    with pytest.raises(StorageFailed, match="changed"):
        open_blobs(str(tmp_path / "store")).put_file(source)
    assert files_below(tmp_path / "store") == []


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "s4://bucket"])
def test_an_unknown_kind_of_url(url: str):
    with pytest.raises(ConfigError, match="not supported"):
        open_blobs(url)
