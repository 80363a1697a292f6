"""How much an archive may grow when it is unpacked: judged from its directory, before a byte is unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

from streamb.errors import ArtifactCorrupt, ArtifactError

MOST_EXPANSION: Final = 100
"""An archive may unpack to so many times its own length; streamb itself stores artifacts uncompressed."""


def check_expansion(entries: list[ZipInfo], length: int, what: str = "the archive") -> None:
    """Check that an archive does not unpack to more than `MOST_EXPANSION` times its length.

    Args:
        entries: the files in its directory. Entries that share bytes count each: that is how a small file gets large.
        length: the archive's own length in bytes.
        what: what it is called in the message.

    Raises:
        ArtifactError: it does.
    """
    size = sum(entry.file_size for entry in entries)
    if size > MOST_EXPANSION * length:
        raise ArtifactError(
            f"{what} would unpack {length} bytes to {size}, more than {MOST_EXPANSION} times as many; pack it without "
            "compression, as streamb does",
            bytes=size,
        )


def check_inside(folder: Path) -> None:
    """Check the archives among the files of a folder (such as TorchScript), which a library unpacks when it loads them.

    Raises:
        ArtifactError: one would unpack to too much.
        ArtifactCorrupt: one has a damaged directory.
    """
    for path in folder.rglob("*"):
        if not path.is_file() or not is_zipfile(path):
            continue
        try:
            with ZipFile(path) as archive:
                entries = archive.infolist()
        except (BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise ArtifactCorrupt(f"{path.name} is an archive that cannot be read: {error}") from error
        check_expansion(entries, path.stat().st_size, path.name)
