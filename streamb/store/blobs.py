"""Blobs: immutable bytes, addressed by their SHA-256, in a local folder or an object store.

A blob is stored completely or not at all, and is checked whenever it is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from streamb.errors import ArtifactCorrupt, ConfigError, InvalidInput, StorageFailed, StreambError
from streamb.hashing import sha256_chunks, sha256_file
from streamb.store.files import sync_folder

if TYPE_CHECKING:
    import fsspec

_CHUNK_BYTES: Final = 1 << 20
_ABANDONED_AFTER_S: Final = 86_400.0
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OBJECT_STORES: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})


@dataclass(frozen=True, slots=True)
class Blob:
    """The address of a blob: its SHA-256 (64 hexadecimal digits) and its size in bytes."""

    digest: str
    size: int


class BlobStore(Protocol):
    """A store of blobs. Safe to use from many threads and processes."""

    def put_file(self, path: Path) -> Blob:
        """Store a file's content; storing the same content again changes nothing, or repairs a damaged blob.

        Raises:
            StorageFailed: it could not be written completely; no part of it is left.
        """
        ...

    def get_file(self, digest: str, into: Path) -> None:
        """Write a blob to the file `into`, which is replaced completely or not at all.

        Raises:
            ArtifactCorrupt: the blob is missing, or its bytes have changed.
            StorageFailed: the store cannot be read, or `into` cannot be written.
        """
        ...

    def exists(self, digest: str) -> bool:
        """Return True if the blob is stored."""
        ...

    def delete(self, digest: str) -> None:
        """Remove a blob; if it does not exist, nothing happens."""
        ...


def open_blobs(url: str) -> FsspecBlobs:
    """Open the blob store at a local path or a URL that fsspec supports: `file://`, `memory://`, `s3://BUCKET/PATH`, …

    The libraries of object stores find their credentials in their usual places.

    Raises:
        ConfigError: the kind of URL is unknown, or its library is not installed.
    """
    from fsspec.core import url_to_fs  # late: the CLI, the SDK and gateways import `store` and open no blobs

    try:
        filesystem, root = url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"the artifact URL {url!r} needs a library: {error}") from error
    except ValueError as error:
        raise ConfigError(
            f"the artifact URL {url!r} is not supported ({error}): use a folder, or s3://BUCKET/FOLDER"
        ) from error
    return FsspecBlobs(filesystem, str(root))


class FsspecBlobs:
    """Blobs as files `sha256/ab/abcd…` below one root of an fsspec file system."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self._files: Any = filesystem
        self._root = root.rstrip("/")
        protocol = filesystem.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        # An object store shows an object once its upload is complete, and "renames" by copying: write it in place.
        self._appears_whole = bool(names & _OBJECT_STORES)
        self._on_disk = "file" in names

    def put_file(self, path: Path) -> Blob:
        try:
            blob = Blob(sha256_file(path), path.stat().st_size)
        except OSError as error:
            raise StorageFailed(f"{path} cannot be read to store it: {error.strerror}") from error
        final = self._place(blob.digest)
        with _storage_errors(f"blob {blob.digest[:12]} ({blob.size} bytes) could not be stored"):
            if self._holds(final, blob):
                return blob
            if self._appears_whole:
                # Not through an open file: closing it would complete the object even if reading `path` fails half-way.
                self._files.put_file(str(path), final)
            else:
                self._copy_and_rename(path, final, blob.digest)
        return blob

    def get_file(self, digest: str, into: Path) -> None:
        source = self._place(digest)
        temporary = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
        found = hashlib.sha256()
        with _storage_errors(f"blob {digest[:12]} could not be read"):
            try:
                with self._files.open(source, "rb") as content, temporary.open("wb") as file:
                    for chunk in _chunks(content):
                        found.update(chunk)
                        file.write(chunk)
                if found.hexdigest() != digest:
                    raise ArtifactCorrupt(
                        f"blob {digest[:12]} is damaged in the store: its bytes have the digest "
                        f"{found.hexdigest()[:12]}; register the version again, or restore the store from a backup",
                        digest=digest,
                    )
                temporary.replace(into)
            except FileNotFoundError as error:
                if into.parent.is_dir():
                    raise ArtifactCorrupt(f"blob {digest[:12]} is missing from the store", digest=digest) from error
                raise
            finally:
                temporary.unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        with _storage_errors(f"blob {digest[:12]} could not be looked up"):
            return bool(self._files.exists(self._place(digest)))

    def delete(self, digest: str) -> None:
        place = self._place(digest)
        with _storage_errors(f"blob {digest[:12]} could not be deleted"), suppress(FileNotFoundError):
            self._files.rm_file(place)

    def _place(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"a blob is named by 64 hexadecimal digits, not {digest[:80]!r}")
        return f"{self._root}/sha256/{digest[:2]}/{digest}"

    def _holds(self, place: str, blob: Blob) -> bool:
        """Return whether the blob is stored undamaged; if not, storing it again repairs it."""
        if not self._files.exists(place) or self._files.size(place) != blob.size:
            return False
        with self._files.open(place, "rb") as content:
            return sha256_chunks(_chunks(content)) == blob.digest

    def _copy_and_rename(self, path: Path, final: str, digest: str) -> None:
        incoming = f"{self._root}/incoming"
        temporary = f"{incoming}/{uuid.uuid4().hex}"
        for needed in (incoming, final.rpartition("/")[0]):
            self._files.makedirs(needed, exist_ok=True)
        try:
            self._copy(path, temporary, digest)
            self._clear_abandoned(incoming, temporary)
            self._files.mv(temporary, final)
            if self._on_disk:
                for folder in (Path(final).parent, Path(final).parent.parent):  # the blob's name, and its folder's
                    sync_folder(folder)
        except BaseException:
            with suppress(Exception):
                self._files.rm_file(temporary)
            raise

    def _clear_abandoned(self, incoming: str, temporary: str) -> None:
        """Remove files that killed copies left behind, if the file system knows their age."""
        now = self._files.info(temporary).get("mtime")
        if now is None:
            return
        with suppress(FileNotFoundError):  # other copies may end meanwhile; the next copy clears again
            for left in self._files.ls(incoming, detail=True):
                if now - left["mtime"] > _ABANDONED_AFTER_S:
                    self._files.rm_file(left["name"])

    def _copy(self, path: Path, target: str, digest: str) -> None:
        copied = hashlib.sha256()
        with path.open("rb") as content, self._files.open(target, "wb") as file:
            for chunk in _chunks(content):
                copied.update(chunk)
                file.write(chunk)
            _sync(file)
        if copied.hexdigest() != digest:
            raise StorageFailed(f"{path} changed while it was being stored: store it again when it is finished")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _sync(file: Any) -> None:
    """Write the bytes to disk before the file gets its name; does nothing if the file is not on a local disk."""
    try:
        descriptor = file.fileno()
    except (AttributeError, OSError):
        return
    file.flush()
    os.fsync(descriptor)


@contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    """Turn every error of a file system or cloud library into StorageFailed."""
    try:
        yield
    except StreambError:
        raise
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        raise StorageFailed(f"{what}: {reason}") from error
