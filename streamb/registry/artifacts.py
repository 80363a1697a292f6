"""Stores uploaded artifacts in the blob store and loads them; each is checked on upload and on every use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streamb.crypto import PublicKey, SigningKey
from streamb.errors import ArtifactUntrusted, StorageFailed
from streamb.models import Manifest, Model, catalog, load_artifact, pack, sign_artifact, unpack, verify_artifact
from streamb.models.manifest import SIGNATURE_NAME, is_outside
from streamb.registry.version import Artifact, ModelVersion
from streamb.store import Blob, BlobStore

_ABANDONED_AFTER_S: Final = 86_400.0


class ArtifactStore:
    """Model artifacts in a blob store.

    Args:
        blobs: the store of the packed artifacts.
        signing: the platform's own key; None if no artifact that carries code is accepted.
        trusted: keys whose signature allows an artifact to run its code when it is loaded.
        scratch: folder for temporary files; files left by a killed process are removed after a day.
        max_bytes: the largest unpacked size of an artifact, in bytes.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        signing: SigningKey | None,
        trusted: Sequence[PublicKey],
        scratch: Path,
        max_bytes: int,
    ) -> None:
        self._blobs = blobs
        self._signing = signing
        self._trusted = tuple(trusted)
        self._scratch = scratch
        self._max_bytes = max_bytes

    def ingest(self, archive: Path, *, may_carry_code: bool, registered: ModelVersion | None = None) -> Artifact:
        """Check an uploaded archive, sign it if it carries code, and store it.

        The same model has the same `digest`, no matter how its archive was made.

        Args:
            archive: the uploaded file.
            may_carry_code: whether the caller may upload code that this platform will run.
            registered: the registered version with the number that the archive is meant for, if there is one. Versions
                never change, so different content is not stored; the returned digest shows that it differs.

        Raises:
            ArtifactError: the archive is no valid artifact, is too large, or is of a kind that this build cannot load.
            ArtifactUntrusted: it carries code, and the caller may not upload code, or there is no key to sign it.
            StorageFailed: it could not be stored; no part of it is left.
        """
        with self._workplace() as place:
            folder, packed = place / "artifact", place / "artifact.zip"
            unpack(archive, folder, max_bytes=self._max_bytes)
            manifest = verify_artifact(folder)
            if not is_outside(manifest.class_id):  # else its code would run here
                catalog.adapter_of(manifest.class_id)
            # An uploaded signature is not trusted, and a wrong one would make the artifact unusable later.
            (folder / SIGNATURE_NAME).unlink(missing_ok=True)
            if manifest.carries_code:
                sign_artifact(folder, self._key_for_code(may_carry_code=may_carry_code))
            if registered is not None and registered.digest != manifest.digest:
                blob = Blob(registered.blob, registered.size_bytes)
            else:
                pack(folder, packed)
                blob = self._blobs.put_file(packed)
        return Artifact(
            digest=manifest.digest,
            blob=blob.digest,
            size_bytes=blob.size,
            framework=manifest.framework,
            task=manifest.task,
            schema=manifest.schema,
            carries_code=manifest.carries_code,
        )

    def fetch(self, blob: str, folder: Path) -> Manifest:
        """Unpack a stored artifact into `folder` (new or empty) and check it, without loading the model.

        Raises:
            ArtifactCorrupt: the blob is missing or damaged.
            StorageFailed: the store cannot be read, or `folder` cannot be written.
        """
        with self._workplace() as place:
            self._blobs.get_file(blob, place / "artifact.zip")
            unpack(place / "artifact.zip", folder, max_bytes=self._max_bytes)
        return verify_artifact(folder)

    def load(self, blob: str) -> Model:
        """Load and return the model of a stored artifact.

        Raises:
            ArtifactCorrupt: the blob is missing or damaged.
            ArtifactUntrusted: it carries code, and no trusted key has signed it.
            ArtifactUnsupported: this build cannot load it.
        """
        with self._workplace() as place:
            self.fetch(blob, place / "artifact")
            return load_artifact(place / "artifact", trusted=self._trusted)

    def _key_for_code(self, *, may_carry_code: bool) -> SigningKey:
        if not may_carry_code:
            raise ArtifactUntrusted(
                "the artifact carries code that would run on this platform, and this caller may not upload code"
            )
        if self._signing is None:
            raise ArtifactUntrusted("the artifact carries code, and there is no key here to sign it with")
        return self._signing

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            place = tempfile.TemporaryDirectory(dir=self._scratch, prefix="artifact-")
            _clear_abandoned(self._scratch, Path(place.name).stat().st_mtime)
        except OSError as error:
            raise StorageFailed(f"{self._scratch} cannot be used for temporary files: {error.strerror}") from error
        with place as name:
            yield Path(name)


def _clear_abandoned(scratch: Path, now: float) -> None:
    """Remove files older than a day: processes that were killed cannot remove their own."""
    for left in scratch.iterdir():
        try:
            abandoned = now - left.lstat().st_mtime > _ABANDONED_AFTER_S
        except FileNotFoundError:  # somebody else has just finished with it
            continue
        if abandoned:
            shutil.rmtree(left, ignore_errors=True)
