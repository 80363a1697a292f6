"""What deleting a version needs: what refers to it, what is kept of it, and which blobs no version uses any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from streamb.errors import Conflict, StorageFailed, Unavailable
from streamb.registry.model import RegisteredModel
from streamb.registry.version import Lineage, ModelVersion
from streamb.store import BlobStore, RecordStore, every_record

VERSIONS: Final = "versions"
DELETED: Final = "deleted-versions"
"""What is kept of deleted versions, by the same keys as the versions."""

_UNUSED: Final = "unused-blobs"
_log = logging.getLogger(__name__)


def check_unused(model: RegisteredModel, version: str, others: Iterable[ModelVersion], used: Sequence[str]) -> None:
    """Check that nothing refers to a version, so that it can be deleted.

    Args:
        model: its model.
        version: its number.
        others: all other versions of the model.
        used: what else needs the version, each as a clause such as "it serves the model's traffic".

    Raises:
        Conflict: something refers to it; the message and `details["references"]` name each.
    """
    aliases = [alias for alias, named in sorted(model.aliases.items()) if named == version]
    children = [one.version for one in others if one.lineage.parent_version == version]
    references = [
        *used,
        *(f"the alias {alias!r} names it (delete or move the alias)" for alias in aliases),
        *(f"version {child} was made from it (its parent_version)" for child in children),
    ]
    if references:
        raise Conflict(
            f"version {version} of model {model.model_id!r} cannot be deleted: {'; '.join(references)}",
            references=references,
        )


def remains(version: ModelVersion) -> ModelVersion:
    """Return what is kept of a deleted version: the identity of its content, so that its number never means another."""
    return replace(
        version, schema={}, outputs=(), classes=None, metadata={}, metrics={}, hyperparameters={}, tags={},
        lineage=Lineage(),
    )  # fmt: skip


class Contents:
    """The blobs of versions: checks that a blob is there, and removes the blobs that no version uses any more.

    A blob is marked in the transaction that deletes a version, and removed afterwards. If the process dies in between,
    or the blob store fails, the next `sweep` removes it. Safe to use from many threads of one process.

    Args:
        records: the store of versions and marks.
        blobs: the store of the blobs; None if there is none here: then nothing is checked and nothing is removed.

    Attributes:
        lock: held while a version is registered or deleted, and while a blob is removed.
    """

    def __init__(self, records: RecordStore, blobs: BlobStore | None) -> None:
        self._records = records
        self._blobs = blobs
        self.lock = threading.Lock()

    def check_stored(self, blob: str) -> None:
        """Raise Unavailable if the blob is not stored (an upload found it, and it was removed since)."""
        if self._blobs is not None and not self._blobs.exists(blob):
            raise Unavailable(
                "the content was removed with the version that used it while it was uploaded; upload it again",
                retry_after_s=0,
            )

    def mark(self, blob: str) -> None:
        """Mark a blob that may be unused from now on. Call it in the transaction that deletes its version."""
        self._records.put(_UNUSED, blob, {})

    def sweep(self) -> None:
        """Remove every marked blob that no version uses. What cannot be removed now stays marked."""
        if self._blobs is None:
            return
        for record in list(every_record(self._records, _UNUSED)):
            with self.lock:
                try:
                    if not self._used(record.key):
                        self._blobs.delete(record.key)
                except StorageFailed as error:
                    _log.warning("blob %s stays until the next version is deleted: %s", record.key[:12], error.message)
                    continue
                self._records.delete(_UNUSED, record.key)

    def _used(self, blob: str) -> bool:
        return any(record.body["blob"] == blob for record in every_record(self._records, VERSIONS))
