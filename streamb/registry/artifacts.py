"""Stores uploaded artifacts in the blob store and loads them; each is checked on upload and on every use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Final

from streamb.crypto import PublicKey, SigningKey
from streamb.errors import ArtifactUntrusted, StorageFailed
from streamb.models import Manifest, Model, catalog, load_artifact, pack, sign_artifact, unpack, verify_artifact
from streamb.models.artifact import is_trusted, reseal
from streamb.models.example import MAX_BYTES, Example, read_golden, write_golden
from streamb.models.manifest import SIGNATURE_NAME, is_outside
from streamb.registry.trial import Trial, Tried, Trier
from streamb.registry.version import Artifact, ModelVersion
from streamb.store import BlobStore
from streamb.store.plain import to_plain

_ABANDONED_AFTER_S: Final = 86_400.0


class ArtifactStore:
    """Model artifacts in a blob store.

    Args:
        blobs: the store of the packed artifacts.
        signing: the platform's own key; None if no artifact that carries code is accepted.
        trusted: keys whose signature allows an artifact to run its code when it is loaded.
        scratch: folder for temporary files; files left by a killed process are removed after a day.
        max_bytes: the largest unpacked size of an artifact, in bytes.
        trier: tries a version before it is stored; None where artifacts are only loaded.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        signing: SigningKey | None,
        trusted: Sequence[PublicKey],
        scratch: Path,
        max_bytes: int,
        trier: Trier | None = None,
    ) -> None:
        self._blobs = blobs
        self._signing = signing
        self._trusted = tuple(trusted)
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._trier = trier

    def ingest(
        self,
        archive: Path,
        *,
        may_carry_code: bool,
        registered: ModelVersion | None = None,
        example: Example | None = None,
        environment: Mapping[str, list[str]] | None = None,
    ) -> Artifact:
        """Check an uploaded archive, sign it if it carries code, try it, and store it.

        The same model has the same `digest`, no matter how its archive was made, and whatever example came with it.

        Args:
            archive: the uploaded file.
            may_carry_code: whether the caller may upload code that this platform will run.
            registered: the registered version with the number that the archive is meant for, if there is one. Versions
                never change, so neither other content nor the same is tried or stored again; the returned digest shows
                whether it differs.
            example: rows that the version must be able to answer; None: the golden rows in the archive, if there are
                any.
            environment: what is installed for the version alone, as `Artifact.environment`; None for nothing. It is
                like code: installing a package runs what is in it.

        Raises:
            ArtifactError: the archive is no valid artifact, is too large, is of a kind that this build cannot load, or
                fails its trial.
            ArtifactUntrusted: it carries code, and the caller may not upload code, or there is no key to sign it.
            StorageFailed: it could not be stored; no part of it is left.
        """
        with self._workplace() as place:
            folder = place / "artifact"
            unpack(archive, folder, max_bytes=self._max_bytes)
            manifest = verify_artifact(folder)
            if not is_outside(manifest.class_id):  # else its code would run here
                catalog.adapter_of(manifest.class_id)
            # An uploaded signature is not trusted, and a wrong one would make the artifact unusable later.
            (folder / SIGNATURE_NAME).unlink(missing_ok=True)
            key = self._key_for_code(may_carry_code=may_carry_code) if manifest.carries_code else None
            if environment and not may_carry_code:
                raise ArtifactUntrusted(
                    "the version installs packages, whose code would run on this platform, and this caller may not "
                    "upload code"
                )
            if registered is not None and self._is_settled(registered, manifest):
                known = {one.name: getattr(registered, one.name) for one in fields(Artifact)}
                return Artifact(**{**known, "digest": manifest.digest, "environment": environment or {}})
            return self._tried_and_stored(folder, manifest, key, example or read_golden(folder), environment or {})

    def _is_settled(self, registered: ModelVersion, manifest: Manifest) -> bool:
        """Whether nothing needs to be stored: the content is refused, or is there already (a deleted one is not)."""
        return registered.digest != manifest.digest or self._blobs.exists(registered.blob)

    def try_stored(self, version: ModelVersion) -> Artifact:
        """Try a version that was registered without a trial.

        Returns:
            its content with what the trial found; the version itself if nothing is tried here.

        Raises:
            ArtifactError: it fails its trial.
        """
        if self._trier is None:
            return version
        with self._workplace() as place:
            folder = place / "artifact"
            manifest = self.fetch(version.blob, folder)
            if manifest.carries_code and not is_trusted(folder, self._trusted):
                raise ArtifactUntrusted("the stored artifact carries code, and no key of this platform has signed it")
            key = self._key_for_code(may_carry_code=True) if manifest.carries_code else None
            return self._tried_and_stored(folder, manifest, key, read_golden(folder), version.environment)

    def _tried_and_stored(
        self,
        folder: Path,
        manifest: Manifest,
        key: SigningKey | None,
        example: Example | None,
        environment: Mapping[str, list[str]],
    ) -> Artifact:
        """Try the artifact in `folder`, write into it what that showed, sign it if it carries code, and store it."""
        if key is not None:
            sign_artifact(folder, key)
        tried = Tried(Trial(), manifest.interface) if self._trier is None else self._trier(folder, example, environment)
        if self._trier is not None:
            write_golden(folder, tried.golden)
            manifest = reseal(folder, tried.signature.to_json())
            if key is not None:
                sign_artifact(folder, key)
        pack(folder, folder.with_suffix(".zip"))
        blob = self._blobs.put_file(folder.with_suffix(".zip"))
        return Artifact(
            digest=manifest.digest,
            blob=blob.digest,
            size_bytes=blob.size,
            framework=manifest.framework,
            task=manifest.task,
            schema=tried.signature.inputs.to_json(),
            carries_code=manifest.carries_code,
            outputs=tuple(to_plain(output) for output in tried.signature.outputs),
            classes=tried.signature.classes,
            trial=tried.trial,
            environment=environment,
        )

    def fetch(self, blob: str, folder: Path) -> Manifest:
        """Unpack a stored artifact into `folder` (new or empty) and check it, without loading the model.

        Raises:
            ArtifactCorrupt: the blob is missing or damaged.
            StorageFailed: the store cannot be read, or `folder` cannot be written.
        """
        with self._workplace() as place:
            self._blobs.get_file(blob, place / "artifact.zip")
            unpack(place / "artifact.zip", folder, max_bytes=self._max_bytes + MAX_BYTES)  # with the golden rows
        return verify_artifact(folder)

    def load(self, blob: str) -> tuple[Model, Example | None]:
        """Load a stored artifact; return its model, and the golden rows that it must reproduce, if there are any.

        Raises:
            ArtifactCorrupt: the blob is missing or damaged.
            ArtifactUntrusted: it carries code, and no trusted key has signed it.
            ArtifactUnsupported: this build cannot load it.
        """
        with self._workplace() as place:
            self.fetch(blob, place / "artifact")
            return load_artifact(place / "artifact", trusted=self._trusted), read_golden(place / "artifact")

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
