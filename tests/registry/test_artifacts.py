"""Artifacts taken in and brought back: real models, real archives, and disks that really fill up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.crypto import SigningKey
from streamb.errors import ArtifactCorrupt, ArtifactError, ArtifactUnsupported, ArtifactUntrusted, StorageFailed
from streamb.models import Model, pack, save_artifact, verify_artifact
from streamb.models.artifact import seal
from streamb.models.environment import Environment
from streamb.models.manifest import SIGNATURE_NAME
from streamb.registry import ArtifactStore
from streamb.store import FsspecBlobs, open_blobs

X = np.random.default_rng(0).random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)

OWN_MODEL = """
class Doubler:
    def __init__(self):
        self.factor = 2.0

    def predict(self, X):
        return X[:, 0] * self.factor
"""

FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from streamb.clock import SystemClock
from streamb.crypto import SigningKey
from streamb.errors import StorageFailed
from streamb.registry import ArtifactStore, Registry
from streamb.store import open_blobs, open_database
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails instead of killing us
home, archive, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
database = open_database(f"sqlite:///{home}/streamb.db", SystemClock())
registry = Registry(database.records, database.journal, SystemClock())
registry.create_model("m")
store = ArtifactStore(
    open_blobs(str(home / "artifacts")), signing=None, trusted=(), scratch=home / "scratch", max_bytes=1 << 30
)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    registry.register_version("m", "1.0.0", store.ingest(archive, may_carry_code=False))
except StorageFailed as error:
    print(type(error).__name__, error)
print(len(registry.list_versions("m").items), "registered")
"""


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def archived(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    pack(folder, archive)
    return archive


def made_up(
    folder: Path, *, size: int = 1000, carries_code: bool = False, name: str = "made up", class_id: str = "onnx"
) -> Path:
    """An artifact that is sound, and cannot be loaded."""
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"x" * size)
    seal(
        folder,
        framework="python",
        class_id=class_id,
        task="other",
        name=name,
        schema={},
        carries_code=carries_code,
        environment=Environment({}),
    )
    return folder


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "keys" / "signing.pem")


@pytest.fixture
def blobs(tmp_path: Path) -> FsspecBlobs:
    return open_blobs(str(tmp_path / "blobs"))


@pytest.fixture
def store(tmp_path: Path, blobs: FsspecBlobs, key: SigningKey) -> ArtifactStore:
    return ArtifactStore(blobs, signing=key, trusted=[key.public], scratch=tmp_path / "scratch", max_bytes=1 << 20)


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive of a model that brings its own code."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "streamb_test_doubler.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    import streamb_test_doubler  # type: ignore[import-not-found]

    save_artifact(Model.wrap(streamb_test_doubler.Doubler()), tmp_path / "own")
    monkeypatch.delitem(sys.modules, "streamb_test_doubler")
    return archived(tmp_path / "own")


def test_an_environment_is_kept_with_the_version_and_needs_the_same_permission_as_code(
    store: ArtifactStore, tmp_path: Path
):
    archive, environment = archived(made_up(tmp_path / "model")), {"pip": ["tiny==1.0"]}
    with pytest.raises(ArtifactUntrusted, match="installs packages"):
        store.ingest(archive, may_carry_code=False, environment=environment)
    assert store.ingest(archive, may_carry_code=True, environment=environment).environment == environment
    assert store.ingest(archive, may_carry_code=False).environment == {}


def test_a_model_comes_back_and_predicts_the_same(store: ArtifactStore, tmp_path: Path):
    model = Model.wrap(LogisticRegression().fit(X, Y))
    manifest = save_artifact(model, tmp_path / "model")
    artifact = store.ingest(archived(tmp_path / "model"), may_carry_code=False)
    assert artifact.digest == manifest.digest
    assert (artifact.framework, artifact.task, artifact.carries_code) == ("scikit-learn", "classification", False)
    assert artifact.schema == manifest.schema
    np.testing.assert_array_equal(store.load(artifact.blob)[0].predict(X), model.predict(X))
    assert files_below(tmp_path / "scratch") == []


def test_code_from_a_caller_who_may_is_signed_and_runs(store: ArtifactStore, tmp_path: Path, own_model: Path):
    artifact = store.ingest(own_model, may_carry_code=True)
    assert artifact.carries_code
    np.testing.assert_array_equal(store.load(artifact.blob)[0].predict(X), X[:, 0] * 2)
    again = store.ingest(own_model, may_carry_code=True)
    assert again == artifact, "signing is deterministic, so the same archive is the same blob"


def test_code_from_a_caller_who_may_not_is_refused(store: ArtifactStore, tmp_path: Path, own_model: Path):
    with pytest.raises(ArtifactUntrusted):
        store.ingest(own_model, may_carry_code=False)
    assert files_below(tmp_path / "blobs") == files_below(tmp_path / "scratch") == []


def test_code_is_refused_where_there_is_no_key(blobs: FsspecBlobs, tmp_path: Path, own_model: Path):
    keyless = ArtifactStore(blobs, signing=None, trusted=(), scratch=tmp_path / "scratch", max_bytes=1 << 20)
    with pytest.raises(ArtifactUntrusted, match="no key"):
        keyless.ingest(own_model, may_carry_code=True)


def test_code_signed_by_another_platform_does_not_run(
    store: ArtifactStore, blobs: FsspecBlobs, tmp_path: Path, own_model: Path
):
    artifact = store.ingest(own_model, may_carry_code=True)
    other = SigningKey.load_or_create(tmp_path / "other.pem")
    elsewhere = ArtifactStore(blobs, signing=other, trusted=[other.public], scratch=tmp_path / "s", max_bytes=1 << 20)
    with pytest.raises(ArtifactUntrusted):
        elsewhere.load(artifact.blob)


def test_the_same_model_archived_elsewhere_has_the_same_digest(store: ArtifactStore, tmp_path: Path):
    one = store.ingest(archived(made_up(tmp_path / "one", name="here")), may_carry_code=False)
    two = store.ingest(archived(made_up(tmp_path / "two", name="there")), may_carry_code=False)
    assert one.digest == two.digest


def test_a_kind_that_this_build_cannot_load_is_refused_before_it_is_stored(store: ArtifactStore, tmp_path: Path):
    with pytest.raises(ArtifactUnsupported, match="quantum"):
        store.ingest(archived(made_up(tmp_path / "new", class_id="quantum")), may_carry_code=False)
    assert files_below(tmp_path / "blobs") == files_below(tmp_path / "scratch") == []


def test_a_signature_that_came_along_is_dropped(store: ArtifactStore, tmp_path: Path):
    folder = made_up(tmp_path / "plain")
    clean = store.ingest(archived(folder), may_carry_code=False)
    (folder / SIGNATURE_NAME).write_text("somebody's")
    assert store.ingest(archived(folder), may_carry_code=False) == clean


def test_fetch_brings_the_files(store: ArtifactStore, tmp_path: Path):
    artifact = store.ingest(archived(made_up(tmp_path / "plain")), may_carry_code=False)
    manifest = store.fetch(artifact.blob, tmp_path / "fetched")
    assert manifest == verify_artifact(tmp_path / "fetched")
    assert (tmp_path / "fetched" / "data.bin").read_bytes() == b"x" * 1000
    assert manifest.digest == artifact.digest


@pytest.mark.parametrize("damage", ["not a zip", "truncated", "file changed", "file missing", "too large"])
def test_an_archive_that_is_not_sound_is_refused_and_leaves_nothing(store: ArtifactStore, tmp_path: Path, damage: str):
    folder = made_up(tmp_path / "plain", size=(2 << 20) if damage == "too large" else 1000)
    if damage == "file changed":
        (folder / "data.bin").write_bytes(b"y" * 1000)
    if damage == "file missing":
        (folder / "data.bin").unlink()
    archive = archived(folder)
    if damage == "not a zip":
        archive.write_bytes(b"hello")
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ArtifactError):
        store.ingest(archive, may_carry_code=True)
    assert files_below(tmp_path / "blobs") == files_below(tmp_path / "scratch") == []


def test_a_damaged_blob_is_never_loaded(store: ArtifactStore, tmp_path: Path):
    artifact = store.ingest(archived(made_up(tmp_path / "plain")), may_carry_code=False)
    stored = tmp_path / "blobs" / "sha256" / artifact.blob[:2] / artifact.blob
    content = bytearray(stored.read_bytes())
    content[100] ^= 1
    stored.write_bytes(content)
    with pytest.raises(ArtifactCorrupt):
        store.load(artifact.blob)
    with pytest.raises(ArtifactCorrupt):
        store.fetch(artifact.blob, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert files_below(tmp_path / "scratch") == []


def test_a_scratch_folder_that_cannot_be_made(blobs: FsspecBlobs, tmp_path: Path):
    (tmp_path / "file").touch()
    broken = ArtifactStore(blobs, signing=None, trusted=(), scratch=tmp_path / "file" / "scratch", max_bytes=1 << 20)
    with pytest.raises(StorageFailed):
        broken.load("a" * 64)


@pytest.mark.fault
# The limits make the disk fill up while unpacking, and while packing (the archive is larger than its largest file).
@pytest.mark.parametrize("limit", [1_000_000, 3_000_050])
def test_a_disk_that_fills_up_registers_nothing_and_leaves_nothing(tmp_path: Path, limit: int):
    archive = archived(made_up(tmp_path / "large", size=3_000_000))
    command = [sys.executable, "-W", "error", "-c", FILL_THE_DISK, str(tmp_path), str(archive), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("StorageFailed "), done.stdout + done.stderr
    assert done.stdout.endswith("0 registered\n")
    assert done.stderr == ""
    assert files_below(tmp_path / "artifacts") == files_below(tmp_path / "scratch") == []


def test_a_read_only_store_registers_nothing(tmp_path: Path, store: ArtifactStore):
    archive = archived(made_up(tmp_path / "plain"))
    (tmp_path / "blobs").write_text("a file where the store's folder should be")
    with pytest.raises(StorageFailed):
        store.ingest(archive, may_carry_code=False)
    shutil.rmtree(tmp_path / "scratch")


def test_what_a_killed_process_left_is_cleared_after_a_day(store: ArtifactStore, tmp_path: Path):
    old, young = tmp_path / "scratch" / "upload-old", tmp_path / "scratch" / "upload-young"
    for folder, age in ((old, 90_000), (young, 80_000)):
        folder.mkdir(parents=True)
        (folder / "artifact").write_bytes(b"x")
        then = tmp_path.stat().st_mtime - age
        os.utime(folder, (then, then))
    store.ingest(archived(made_up(tmp_path / "new")), may_carry_code=False)
    assert not old.exists()
    assert young.exists()
