"""Packs an artifact's folder into one file and back: a plain ZIP whose bytes depend only on the content.

Unpacking trusts nothing in the archive: not its names, not its sizes, not its kinds of files.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path
from typing import IO, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from streamb.errors import ArtifactCorrupt, ArtifactError, StorageFailed, StreambError
from streamb.models.expansion import MOST_EXPANSION, check_expansion
from streamb.models.manifest import check_path
from streamb.store.files import new_folder

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time in a ZIP
_FILE_MODE: Final = (stat.S_IFREG | 0o644) << 16
_MAX_FILES: Final = 10_000
_CHUNK_BYTES: Final = 1 << 20
_ENDING: Final = struct.Struct("<4s4H2LH")  # mark, four counts, size and offset of the directory, length of a comment
_IN_ZIP64: Final = 0xFFFFFFFF


def pack(folder: Path, archive: Path) -> None:
    """Write the folder's files into `archive`: sorted, fixed times and modes, no compression; all or nothing.

    Raises:
        StorageFailed: a file cannot be read or written (disk full).
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_name(f".{archive.name}.part")
    try:
        with ZipFile(draft, "w", ZIP_STORED) as target:
            for path in sorted(item for item in folder.rglob("*") if item.is_file()):
                _add(target, path, path.relative_to(folder).as_posix())
        draft.replace(archive)
    except OSError as error:
        raise StorageFailed(f"cannot pack {folder} into {archive}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def write_entry(target: ZipFile, name: str, content: bytes) -> None:
    """Add one file to a ZIP so that the ZIP's bytes depend only on names and contents."""
    target.writestr(_entry(name), content)


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack `archive` into `folder`, which must not exist or be empty; all or nothing.

    Raises:
        ArtifactCorrupt: not a readable ZIP, a path that leaves the folder, a link, a name that comes twice.
        ArtifactError: it holds more than `max_bytes` bytes, or too many files, or would expand too much (`expansion`).
        StorageFailed: the folder is in use, or the disk cannot be written.
    """
    with new_folder(folder) as draft, archive.open("rb") as file:
        _extract(file, draft, max_bytes)


def _extract(file: IO[bytes], draft: Path, max_bytes: int) -> None:
    length = _check_ending(file)
    left = most = min(max_bytes, MOST_EXPANSION * length)
    try:
        with ZipFile(file) as source:
            for entry in _checked_entries(source, max_bytes, length):
                path = draft / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with source.open(entry) as reader, path.open("xb") as writer:
                    left = _copy(reader, writer, left, most)
    except StreambError:
        raise
    except (FileExistsError, NotADirectoryError) as error:  # the folder was empty: the archive contradicts itself
        raise ArtifactCorrupt("the archive names the same path twice, or one as a file and as a folder") from error
    except OSError as error:
        if error.errno is not None:  # the disk spoke; zipfile's own complaints have no number
            raise
        raise ArtifactCorrupt(f"the archive cannot be read: {error}") from error
    except Exception as error:  # a damaged archive makes zipfile raise almost anything
        raise ArtifactCorrupt(f"the archive cannot be read: {type(error).__name__}: {error}") from error


def _check_ending(file: IO[bytes]) -> int:
    """Return the archive's length; its directory must be its own and end the file.

    zipfile looks for the last directory it can find: of an archive that was cut off, that may be the one of an archive
    stored within it (skops files are such).
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(length - _ENDING.size, 0))
    ending = file.read(_ENDING.size)
    if len(ending) == _ENDING.size:
        mark, *_, size, offset, comment = _ENDING.unpack(ending)
        ends_here = offset == _IN_ZIP64 or size == _IN_ZIP64 or offset + size + _ENDING.size == length
        if mark == b"PK\x05\x06" and comment == 0 and ends_here:
            return length
    raise ArtifactCorrupt("the archive cannot be read: it is not a ZIP, was cut off, or has data after its end")


def _checked_entries(source: ZipFile, max_bytes: int, length: int) -> list[ZipInfo]:
    entries = [entry for entry in source.infolist() if not entry.is_dir()]
    if len(entries) > _MAX_FILES:
        raise ArtifactError(f"the archive holds {len(entries)} files, at most {_MAX_FILES} are allowed")
    if len({entry.filename.casefold() for entry in entries}) != len(entries):
        raise ArtifactCorrupt("the archive names the same file twice")
    for entry in source.infolist():
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArtifactCorrupt(f"the archive holds a link or a device: {entry.filename[:100]!r}")
        # orig_filename: zipfile cuts names at a zero byte and turns backslashes around where the system does
        check_path(entry.orig_filename.removesuffix("/") if entry.is_dir() else entry.orig_filename)
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise _too_big(max_bytes)
    check_expansion(entries, length)
    return entries


def _copy(reader: IO[bytes], writer: IO[bytes], left: int, max_bytes: int) -> int:
    """Copy, counting the real bytes: the sizes stated in an archive may be wrong."""
    while chunk := reader.read(_CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise _too_big(max_bytes)
        writer.write(chunk)
    return left


def _too_big(max_bytes: int) -> ArtifactError:
    return ArtifactError(
        f"the archive unpacks to more than {max_bytes} bytes; raise ML_MAX_ARTIFACT_BYTES if that is right",
        max_bytes=max_bytes,
    )


def _add(target: ZipFile, path: Path, name: str) -> None:
    entry = _entry(name)
    entry.file_size = path.stat().st_size
    with path.open("rb") as reader, target.open(entry, "w") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK_BYTES)


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, _EPOCH)
    entry.external_attr = _FILE_MODE
    entry.create_system = 3  # Unix, whatever system writes it
    return entry
