import os

import pytest

from streamb.errors import StorageFailed
from streamb.store.files import JsonFile


def test_what_was_saved_is_read_back(tmp_path):
    file = JsonFile(tmp_path / "folder" / "one.json")
    assert file.load() == {}
    file.save({"größe": [1, None, {"a": 0.1}]})
    file.save({"größe": 2})
    assert JsonFile(tmp_path / "folder" / "one.json").load() == {"größe": 2}


def test_a_save_that_fails_leaves_the_earlier_content(tmp_path, monkeypatch):
    file = JsonFile(tmp_path / "one.json")
    file.save({"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="No space left"):
        file.save({"a": 2})
    assert file.load() == {"a": 1}


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff"])
def test_something_else_in_the_file_is_refused(tmp_path, content):
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(StorageFailed, match=r"one\.json"):
        JsonFile(tmp_path / "one.json").load()
