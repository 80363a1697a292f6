"""The manifest: the file that describes an artifact and lists every other file with its digest.

Its bytes on disk are canonical and carry a checksum of themselves, so that a single changed byte is noticed even where
nothing is signed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, InvalidInput
from streamb.hashing import sha256_hex
from streamb.models.environment import Environment
from streamb.models.schema import FeatureSchema
from streamb.models.signature import Signature
from streamb.store.plain import from_plain

FORMAT_VERSION: Final = 1
"""The version of the artifact format that this build writes and reads."""

MANIFEST_NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "signature.json"
GOLDEN_NAME: Final = "golden.json"
"""Example rows with the answers that the model gave for them; not part of the digest."""

TASKS: Final = ("classification", "regression", "other")

_OPTIONAL: Final = ("signature", "modules")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_UNSAFE_CHARACTERS: Final = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]')
_MAX_PATH: Final = 400
_MAX_NAME_BYTES: Final = 255  # the limit of file systems


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact: SHA-256 (hex) and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of an artifact.

    Attributes:
        framework: "scikit-learn", "torch", "onnx", "python"; for people.
        class_id: the adapter that reads the files (`catalog`); MODULE:CLASS for an adapter from outside streamb.
        task: "classification", "regression" or "other".
        schema: `FeatureSchema.to_json()`; `{}` when any rectangular rows are taken.
        files: path below the artifact's folder, with `/` -> digest and size.
        carries_code: whether loading runs code from the files, or builds types beyond the safe list.
        name: the model's name for people; not part of the digest.
        versions: the versions of Python, streamb and every distribution that the model needs, at saving; not part of
            the digest.
        modules: distribution -> the module that it provides, where their names differ; not part of the digest.
        signature: `Signature.to_json()`, learned from an example when the version was tried; `{}` if it was not; not
            part of the digest.
    """

    framework: str
    class_id: str
    task: str
    schema: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    carries_code: bool
    name: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    signature: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Environment:
        """What the model was saved with."""
        return Environment(self.versions, self.modules)

    @property
    def digest(self) -> str:
        """SHA-256 of the model's content: the same content saved twice, anywhere, has the same digest."""
        body = self._body()
        del body["name"], body["versions"]
        for optional in _OPTIONAL:
            body.pop(optional, None)
        body["files"].pop(GOLDEN_NAME, None)
        return sha256_hex(_canonical(body))

    @property
    def interface(self) -> Signature:
        """The inputs and outputs as far as they are known: by the signature, else by the model's own schema."""
        return Signature.from_json(self.signature or {"inputs": self.schema})

    def to_bytes(self) -> bytes:
        """Return the bytes of the manifest file."""
        body = self._body()
        body["checksum"] = sha256_hex(_canonical(body))
        return _canonical(body)

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read the bytes of a manifest file.

        Raises:
            ArtifactCorrupt: they are not exactly what `to_bytes` writes, or list a path outside the artifact.
            ArtifactUnsupported: they are of another format version.
        """
        try:
            body = json.loads(content)
            checksum = body.pop("checksum")
            canonical = _canonical(body)  # refuses numbers that are not finite
            json.dumps(body, ensure_ascii=False).encode()  # refuses half characters (surrogates)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} is not a manifest: {type(error).__name__}: {error}") from error
        if checksum != sha256_hex(canonical):
            raise ArtifactCorrupt(f"{MANIFEST_NAME} was changed after it was written: its checksum does not match")
        if body.get("format_version") != FORMAT_VERSION:
            raise ArtifactUnsupported(
                f"the artifact has format version {body.get('format_version')!r}, this build reads {FORMAT_VERSION}; "
                "save the model again with this version of streamb"
            )
        manifest = cls._from_body(body)
        if manifest.to_bytes() != content:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} is not in its canonical form")
        return manifest

    @classmethod
    def _from_body(cls, body: Mapping[str, Any]) -> Manifest:
        try:
            manifest = from_plain(cls, body)  # what it turns into another type, `from_bytes` finds by the bytes
            FeatureSchema.from_json(manifest.schema)
            if manifest.signature:
                Signature.from_json(manifest.signature)
        except (ValueError, InvalidInput) as error:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} lacks a field or has one of a wrong type: {error}") from error
        for path in manifest.files:
            check_path(path)
        if is_outside(manifest.class_id) and not manifest.carries_code:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} names code ({manifest.class_id[:100]!r}) and denies that it does")
        if manifest.task not in TASKS:
            raise ArtifactCorrupt(f"{MANIFEST_NAME}: the task is one of {', '.join(TASKS)}, got {manifest.task!r}")
        if not all(_DIGEST.fullmatch(entry.sha256) and entry.size >= 0 for entry in manifest.files.values()):
            raise ArtifactCorrupt(f"{MANIFEST_NAME} lists a file whose digest or size is not valid")
        return manifest

    def _body(self) -> dict[str, Any]:
        files = {path: asdict(entry) for path, entry in self.files.items()}
        body = {**{name: getattr(self, name) for name in self.__slots__}, "files": files}
        for optional in _OPTIONAL:
            if not body[optional]:  # artifacts of before have no such field
                del body[optional]
        return body


def is_outside(class_id: str) -> bool:
    """Return whether the id names an adapter from outside streamb, whose code runs when the artifact is loaded.

    >>> is_outside("sklearn"), is_outside("forecasts.adapter:Forecast")
    (False, True)
    """
    return ":" in class_id


def check_path(path: str) -> str:
    """Return the path unchanged if it is a plain relative path that stays below its folder.

    >>> check_path("code/net.py")
    'code/net.py'

    Raises:
        ArtifactCorrupt: it is absolute, has `..`, a backslash, a drive letter, a control character or half a
            character (a surrogate), or it or a name in it is very long.
    """
    if (
        not isinstance(path, str)
        or len(path) > _MAX_PATH
        or _UNSAFE_CHARACTERS.search(path)
        # "", ".", ".." and what some systems read as them
        or not all(part.strip(" .") and len(part.encode()) <= _MAX_NAME_BYTES for part in path.split("/"))
    ):
        raise ArtifactCorrupt(f"the artifact names a path that no file in its folder can have: {str(path)[:100]!r}")
    return path


def _canonical(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"
