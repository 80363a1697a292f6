"""An artifact on disk: a folder of files with a manifest, perhaps signed. Seals, verifies and signs artifacts.

Nothing is loaded: verification reads bytes only. Adapters interpret the files, and only after `verify_artifact`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from streamb.crypto import PublicKey, Signature, SigningKey
from streamb.errors import ArtifactCorrupt, ArtifactUntrusted, StorageFailed
from streamb.hashing import sha256_file
from streamb.models.environment import Environment
from streamb.models.expansion import check_inside
from streamb.models.manifest import GOLDEN_NAME, MANIFEST_NAME, SIGNATURE_NAME, FileEntry, Manifest
from streamb.store.files import replace_file

_MAX_MANIFEST_BYTES = 16 << 20


def seal(
    folder: Path,
    *,
    framework: str,
    class_id: str,
    task: str,
    name: str,
    schema: Mapping[str, object],
    carries_code: bool,
    environment: Environment,
) -> Manifest:
    """Write the manifest of the files in `folder`, replacing an old manifest or signature there.

    Args:
        environment: what the model needs; the other arguments are fields of `Manifest`.
    """
    (folder / SIGNATURE_NAME).unlink(missing_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    manifest = Manifest(
        framework=framework,
        class_id=class_id,
        task=task,
        name=name,
        schema=schema,
        files={path: _entry(folder / path) for path in _files_in(folder)},
        carries_code=carries_code,
        versions=environment.versions,
        modules=environment.modules,
    )
    replace_file(folder / MANIFEST_NAME, manifest.to_bytes())
    return manifest


def reseal(folder: Path, signature: Mapping[str, object]) -> Manifest:
    """Write the manifest again, with a new `signature` and the golden rows that lie in `folder` now.

    All other files are those of the present manifest, and what it says of them stays. Its digest stays, too. A
    signature by a key is removed: it was over the old manifest.

    Args:
        signature: `Signature.to_json()` of the model.
    """
    manifest = Manifest.from_bytes(_read(folder / MANIFEST_NAME, "the artifact has no manifest"))
    files = {path: entry for path, entry in manifest.files.items() if path != GOLDEN_NAME}
    if (folder / GOLDEN_NAME).exists():
        files[GOLDEN_NAME] = _entry(folder / GOLDEN_NAME)
    (folder / SIGNATURE_NAME).unlink(missing_ok=True)
    changed = replace(manifest, files=files, signature=signature)
    replace_file(folder / MANIFEST_NAME, changed.to_bytes())
    return changed


def verify_artifact(folder: Path) -> Manifest:
    """Read the manifest and compare every file with it.

    Raises:
        ArtifactCorrupt: a file is missing, extra, a link, or differs from the manifest; or the manifest is damaged.
        ArtifactUnsupported: another format version.
        ArtifactError: a file in it is an archive that would unpack to too much.
    """
    manifest = Manifest.from_bytes(_read(folder / MANIFEST_NAME, "the artifact has no manifest"))
    present = set(_files_in(folder)) - {MANIFEST_NAME, SIGNATURE_NAME}
    for problem, paths in (
        ("lacks files that its manifest lists", set(manifest.files) - present),
        ("has files that its manifest does not list", present - set(manifest.files)),
    ):
        if paths:
            raise ArtifactCorrupt(f"the artifact {problem}: {', '.join(sorted(paths)[:5])}", files=sorted(paths)[:100])
    for path, entry in manifest.files.items():
        size = (folder / path).stat().st_size
        if size != entry.size:
            raise ArtifactCorrupt(f"{path} has {size} bytes, the manifest says {entry.size}", files=[path])
        if sha256_file(folder / path) != entry.sha256:
            raise ArtifactCorrupt(f"{path} does not match its digest in the manifest", files=[path])
    check_inside(folder)
    return manifest


def sign_artifact(folder: Path, key: SigningKey) -> None:
    """Verify the artifact, then sign its manifest: from now on platforms that trust `key` load the code it carries.

    Raises:
        ArtifactError: as `verify_artifact`.
    """
    verify_artifact(folder)
    content = _read(folder / MANIFEST_NAME, "the artifact has no manifest")
    replace_file(folder / SIGNATURE_NAME, json.dumps(key.sign(content).to_json(), sort_keys=True).encode() + b"\n")


def is_trusted(folder: Path, trusted: Sequence[PublicKey]) -> bool:
    """Return True if one of the `trusted` keys signed this manifest; False if unsigned, or signed by an unknown key.

    Raises:
        ArtifactCorrupt: the signature file is damaged.
        ArtifactUntrusted: the signature names a trusted key, which did not sign this manifest.
    """
    path = folder / SIGNATURE_NAME
    if not path.exists():
        return False
    try:
        signature = Signature.from_json(json.loads(_read(path, "the signature is gone")))
    except (ValueError, RecursionError) as error:
        raise ArtifactCorrupt(f"{SIGNATURE_NAME} is not a signature: {error}") from error
    key = next((key for key in trusted if key.key_id == signature.key_id), None)
    if key is None:
        return False
    if not key.verify(_read(folder / MANIFEST_NAME, "the artifact has no manifest"), signature):
        raise ArtifactUntrusted(
            f"the signature by key {signature.key_id} is not over this manifest; the artifact was changed after it was "
            "signed, or its signature was taken from another one"
        )
    return True


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256_file(path), path.stat().st_size)


def _files_in(folder: Path) -> list[str]:
    found: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ArtifactCorrupt(f"the artifact holds a link or a device: {path.relative_to(folder).as_posix()}")
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files]
    return sorted(found)


def _read(path: Path, otherwise: str) -> bytes:
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ArtifactCorrupt(f"{path.name} is a link, or larger than any manifest")
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ArtifactCorrupt(f"{otherwise}: {path.name} is missing") from error
    except OSError as error:
        raise StorageFailed(f"cannot read {path}: {error}") from error
