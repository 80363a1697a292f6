"""What every blob store must do: in a local folder, in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from streamb.errors import ArtifactCorrupt, InvalidInput, StorageFailed
from streamb.hashing import sha256_hex
from streamb.store.blobs import Blob, FsspecBlobs, open_blobs


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        name = f"/{uuid.uuid4().hex}"
        yield f"memory:/{name}"
        files = fsspec.filesystem("memory")
        if files.exists(name):
            files.rm(name, recursive=True)
    else:
        folder = tmp_path / "some where" / "artifacts"
        yield str(folder) if request.param == "folder" else f"file://{folder}"


@pytest.fixture
def blobs(url: str) -> FsspecBlobs:
    return open_blobs(url)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def stored_files(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return [path.rsplit("/", 1)[1] for path in files.find(root)] if files.exists(root) else []


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (1 << 20) + 1])
def test_what_is_put_is_got(blobs: FsspecBlobs, tmp_path: Path, size: int):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "source").write_bytes(content)
    blob = blobs.put_file(tmp_path / "source")
    assert blob == Blob(sha256_hex(content), size)
    assert blobs.exists(blob.digest)
    blobs.get_file(blob.digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_another_store_on_the_same_url_has_it(blobs: FsspecBlobs, url: str, source: Path, tmp_path: Path):
    blob = blobs.put_file(source)
    open_blobs(url).get_file(blob.digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"


def test_the_same_content_is_kept_once_and_nothing_else_is(blobs: FsspecBlobs, url: str, source: Path):
    first, second = blobs.put_file(source), blobs.put_file(source)
    assert first == second
    assert stored_files(url) == [first.digest]


def test_put_by_many_threads_it_is_kept_once(blobs: FsspecBlobs, url: str, source: Path, tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        stored = set(pool.map(blobs.put_file, [source] * 16))
    assert stored_files(url) == [blob.digest for blob in stored]
    blobs.get_file(next(iter(stored)).digest, tmp_path / "copy")


def test_a_missing_blob_is_corrupt_and_leaves_no_file(blobs: FsspecBlobs, tmp_path: Path):
    digest = sha256_hex(b"never stored")
    assert not blobs.exists(digest)
    with pytest.raises(ArtifactCorrupt, match="missing"):
        blobs.get_file(digest, tmp_path / "copy")
    assert list(tmp_path.glob("*copy*")) == []


@pytest.mark.parametrize("damaged", [b"contenT", b"conten", b"content!", b""])
def test_damage_is_found_and_leaves_no_file(blobs: FsspecBlobs, url: str, source: Path, tmp_path: Path, damaged: bytes):
    blob = blobs.put_file(source)
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/sha256/{blob.digest[:2]}/{blob.digest}", damaged)
    target = tmp_path / "copy"
    target.write_bytes(b"what was there before")
    with pytest.raises(ArtifactCorrupt, match="damaged"):
        blobs.get_file(blob.digest, target)
    assert target.read_bytes() == b"what was there before"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("damaged", [b"con", b"contenT"])
def test_storing_again_mends_damage(blobs: FsspecBlobs, url: str, source: Path, tmp_path: Path, damaged: bytes):
    blob = blobs.put_file(source)
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/sha256/{blob.digest[:2]}/{blob.digest}", damaged)
    blobs.put_file(source)
    blobs.get_file(blob.digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_delete(blobs: FsspecBlobs, source: Path):
    blob = blobs.put_file(source)
    blobs.delete(blob.digest)
    blobs.delete(blob.digest)
    assert not blobs.exists(blob.digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64])
def test_only_a_digest_names_a_blob(blobs: FsspecBlobs, tmp_path: Path, digest: str):
    for call in (blobs.exists, blobs.delete, lambda d: blobs.get_file(d, tmp_path / "copy")):
        with pytest.raises(InvalidInput):
            call(digest)


def test_a_source_that_is_not_there(blobs: FsspecBlobs, url: str, tmp_path: Path):
    with pytest.raises(StorageFailed, match="nowhere"):
        blobs.put_file(tmp_path / "nowhere")
    assert stored_files(url) == []


def test_a_target_folder_that_is_not_there(blobs: FsspecBlobs, source: Path, tmp_path: Path):
    blob = blobs.put_file(source)
    with pytest.raises(StorageFailed):
        blobs.get_file(blob.digest, tmp_path / "nowhere" / "copy")
