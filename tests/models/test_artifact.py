"""Artifacts: every way to spoil one has its typed error, and nothing loads silently as something else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from streamb.crypto import SigningKey
from streamb.errors import ArtifactCorrupt, ArtifactError, ArtifactUnsupported, ArtifactUntrusted, StorageFailed
from streamb.models import Manifest, Model, load_artifact, pack, sign_artifact, unpack, verify_artifact
from streamb.models.adapters.torch_model import TorchModel
from streamb.models.manifest import FileEntry, check_path

X, y = load_iris(return_X_y=True)
KEY = SigningKey.generate()
MIB = 1 << 20


@pytest.fixture(scope="module")
def classifier() -> Model:
    return Model.wrap(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y))


@pytest.fixture
def saved(classifier, tmp_path) -> Path:
    classifier.save(tmp_path / "saved")
    return tmp_path / "saved"


def rewrite(folder: Path, **changes: object) -> None:
    """A manifest that says something else, correctly written."""
    manifest = verify_artifact(folder)
    fields = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__} | changes
    (folder / "manifest.json").write_bytes(Manifest(**fields).to_bytes())


class TestSpoiledFolder:
    def refuses(self, folder: Path, error: type[ArtifactError], match: str | None = None) -> None:
        with pytest.raises(error, match=match) as caught:
            load_artifact(folder, trusted=[KEY.public])
        assert type(caught.value) is error

    def test_truncated_file(self, saved):
        path = saved / "model.skops"
        path.write_bytes(path.read_bytes()[:-10])
        self.refuses(saved, ArtifactCorrupt, "model.skops has")

    def test_flipped_byte(self, saved):
        path = saved / "model.skops"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        self.refuses(saved, ArtifactCorrupt, "does not match its digest")

    def test_missing_file(self, saved):
        (saved / "model.skops").unlink()
        self.refuses(saved, ArtifactCorrupt, "lacks files")

    def test_extra_file(self, saved):
        (saved / "notes").mkdir()
        (saved / "notes" / "evil.py").write_text("boom")
        self.refuses(saved, ArtifactCorrupt, "notes/evil.py")

    def test_link_instead_of_a_file(self, saved, tmp_path):
        (saved / "model.skops").rename(tmp_path / "elsewhere")
        (saved / "model.skops").symlink_to(tmp_path / "elsewhere")
        self.refuses(saved, ArtifactCorrupt, "link")

    def test_no_manifest_or_one_that_is_none(self, saved, tmp_path):
        self.refuses(tmp_path / "nowhere", ArtifactCorrupt, "no manifest")
        for content in (b"", b"{}", b"[1]", b'{"checksum": 3}', b"\xff", b"[" * 100_000):
            (saved / "manifest.json").write_bytes(content)
            self.refuses(saved, ArtifactCorrupt)

    def test_changed_manifest(self, saved):
        text = (saved / "manifest.json").read_text()
        (saved / "manifest.json").write_text(text.replace('"x0"', '"x9"'))
        self.refuses(saved, ArtifactCorrupt, "checksum")
        (saved / "manifest.json").write_text(text + " ")
        self.refuses(saved, ArtifactCorrupt, "canonical")

    def test_other_format_version(self, saved):
        rewrite(saved, format_version=99)
        self.refuses(saved, ArtifactUnsupported, "format version 99")

    def test_unknown_kind_of_model(self, saved):
        rewrite(saved, class_id="quantum")
        self.refuses(saved, ArtifactUnsupported, "quantum")

    @pytest.mark.parametrize(
        "name", [b"NaN", b"1e999", rb'"\ud800"', b'{"a":' * 500 + b"1" + b"}" * 500], ids=["nan", "inf", "half", "deep"]
    )
    def test_what_json_can_say_but_no_manifest(self, saved, name):
        content = (saved / "manifest.json").read_bytes()
        (saved / "manifest.json").write_bytes(content.replace(b'"name": "Pipeline"', b'"name": ' + name))
        self.refuses(saved, ArtifactCorrupt)

    @pytest.mark.parametrize(
        "change",
        [
            {"task": "magic"},
            {"schema": {"features": 3}},
            {"carries_code": 1},
            {"name": None},
            {"versions": {"numpy": 2}},
        ],
    )
    def test_fields_of_a_wrong_kind(self, saved, change):
        rewrite(saved, **change)
        self.refuses(saved, ArtifactCorrupt)

    def test_files_of_another_kind_of_model(self, saved):
        for kind in ("torch", "onnx"):
            rewrite(saved, class_id=kind)
            self.refuses(saved, ArtifactCorrupt)

    @pytest.mark.parametrize(
        "path",
        [
            "../model.skops",
            "/etc/passwd",
            "a/../../b",
            "a\\b",
            "C:model",
            "a//b",
            ".",
            "",
            "a\0b",
            "x" * 256,
            "ü" * 128,
        ],
    )
    def test_manifest_path_that_leaves_the_folder(self, saved, path):
        files = verify_artifact(saved).files
        rewrite(saved, files={path: next(iter(files.values()))})
        self.refuses(saved, ArtifactCorrupt, "no file in its folder can have")
        with pytest.raises(ArtifactCorrupt):
            check_path(path)


class TestSignatures:
    @pytest.fixture
    def forest(self, tmp_path) -> Path:
        """Trees are beyond skops's own safe list, so this needs a signature."""
        Model.wrap(RandomForestClassifier(3, random_state=0).fit(X, y)).save(tmp_path / "forest")
        return tmp_path / "forest"

    def test_a_trusted_signature_opens_it(self, forest):
        assert verify_artifact(forest).carries_code
        sign_artifact(forest, KEY)
        assert load_artifact(forest, trusted=[SigningKey.generate().public, KEY.public]).predict(X[:2]).tolist() == [
            0,
            0,
        ]

    def test_none_a_foreign_one_or_one_over_another_manifest_does_not(self, forest, saved):
        for sign in (lambda: None, lambda: sign_artifact(forest, SigningKey.generate())):
            sign()
            with pytest.raises(ArtifactUntrusted):
                load_artifact(forest, trusted=[KEY.public])
        sign_artifact(saved, KEY)
        (forest / "signature.json").write_bytes((saved / "signature.json").read_bytes())
        with pytest.raises(ArtifactUntrusted, match="not over this manifest"):
            load_artifact(forest, trusted=[KEY.public])

    def test_a_manifest_that_denies_its_code_is_not_believed(self, forest):
        rewrite(forest, carries_code=False)
        with pytest.raises(ArtifactUntrusted, match="safe list"):
            load_artifact(forest, trusted=[KEY.public])

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"\xff\xfe", b'{"scheme": "ed25519", "key_id": "x", "value": "AA=="}']
    )
    def test_a_spoiled_signature_file_is_typed_even_where_none_is_needed(self, saved, content):
        (saved / "signature.json").write_bytes(content)
        with pytest.raises(ArtifactCorrupt):
            load_artifact(saved, trusted=[KEY.public])

    def test_signing_verifies_first(self, saved):
        (saved / "model.skops").write_bytes(b"")
        with pytest.raises(ArtifactCorrupt):
            sign_artifact(saved, KEY)
        assert not (saved / "signature.json").exists()


def zip_of(entries: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        for name, content in entries:
            target.writestr(name, content)
    return buffer.getvalue()


def link(name: str, mode: int = stat.S_IFLNK | 0o777) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def lying_bomb() -> bytes:
    """A megabyte of zeros that claims to be ten bytes, in both of its headers."""
    content = zip_of([("a", bytes(MIB))], zipfile.ZIP_DEFLATED)
    return content.replace(MIB.to_bytes(4, "little"), (10).to_bytes(4, "little"))


class TestArchive:
    def unpacks(self, tmp_path: Path, content: bytes, max_bytes: int = 100_000) -> None:
        archive = tmp_path / "in" / "a.zip"
        archive.parent.mkdir(exist_ok=True)
        archive.write_bytes(content)
        before = sorted(tmp_path.rglob("*"))
        try:
            unpack(archive, tmp_path / "out", max_bytes=max_bytes)
        finally:
            if not (tmp_path / "out").exists():
                assert sorted(tmp_path.rglob("*")) == before, "a refused archive left something behind"

    @pytest.mark.parametrize(
        "name",
        ["../a", "a/../../b", "/etc/passwd", "a\\..\\b", "C:/a", "a/./b", "./a", "a\nb", "..", "x" * 500, "x" * 256],
    )
    def test_paths_that_leave_the_folder_are_refused(self, tmp_path, name):
        with pytest.raises(ArtifactCorrupt, match="no file in its folder"):
            self.unpacks(tmp_path, zip_of([("fine", b""), (name, b"boom")]))

    @pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644])
    def test_links_and_devices_are_refused(self, tmp_path, mode):
        with pytest.raises(ArtifactCorrupt, match="link or a device"):
            self.unpacks(tmp_path, zip_of([(link("a", mode), b"/etc/passwd")]))

    def test_the_same_name_twice_is_refused(self, tmp_path):
        content = zip_of([("aa", b"1"), ("bb", b"2")]).replace(b"bb", b"AA")
        with pytest.raises(ArtifactCorrupt, match="twice"):
            self.unpacks(tmp_path, content)

    @pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c")])
    def test_a_file_that_is_also_a_folder_is_refused(self, tmp_path, names):
        with pytest.raises(ArtifactCorrupt, match="as a file and as a folder"):
            self.unpacks(tmp_path, zip_of([(name, b"x") for name in names]))

    def test_bombs_are_refused_whether_they_admit_their_size_or_not(self, tmp_path):
        with pytest.raises(ArtifactError, match="more than 100000 bytes"):
            self.unpacks(tmp_path, zip_of([("a", bytes(MIB))], zipfile.ZIP_DEFLATED))
        with pytest.raises(ArtifactError):
            self.unpacks(tmp_path, lying_bomb())
        with pytest.raises(ArtifactError, match="files"):
            self.unpacks(tmp_path, zip_of([(str(index), b"") for index in range(10_001)]))

    @pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_what_expands_too_much_is_refused_before_it_is_unpacked(self, tmp_path, compression, monkeypatch):
        one = zip_of([("a", bytes(MIB))], compression)
        shared = zip_of([(str(number), bytes(MIB // 64)) for number in range(64)], compression)
        for bomb in (one, shared, zip_of([("noise", os.urandom(1_000)), ("a", bytes(MIB))], compression)):
            monkeypatch.setattr("streamb.models.archive._copy", lambda *_: pytest.fail("a file was unpacked"))
            with pytest.raises(ArtifactError, match="more than 100 times as many"):
                self.unpacks(tmp_path, bomb, max_bytes=100 * MIB)

    def test_what_expands_less_is_unpacked(self, tmp_path):
        content = zip_of([("noise", os.urandom(MIB // 50)), ("a", bytes(MIB))], zipfile.ZIP_DEFLATED)
        self.unpacks(tmp_path, content, max_bytes=100 * MIB)
        assert (tmp_path / "out" / "a").stat().st_size == MIB

    def test_an_archive_inside_an_artifact_is_judged_too(self, saved):
        """A library unpacks it when it loads the model: TorchScript is such a file."""
        content = zip_of([("a", bytes(MIB))], zipfile.ZIP_DEFLATED)
        entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
        rewrite(saved, files={**verify_artifact(saved).files, "inner.pt": entry})
        (saved / "inner.pt").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"inner\.pt would unpack"):
            verify_artifact(saved)

    @pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100, b"\x1f\x8b" + bytes(100)])
    def test_what_is_no_archive_is_corrupt(self, tmp_path, content):
        with pytest.raises(ArtifactCorrupt):
            self.unpacks(tmp_path, content)

    def test_a_truncated_archive_is_corrupt(self, saved, tmp_path):
        pack(saved, tmp_path / "whole.zip")
        content = (tmp_path / "whole.zip").read_bytes()
        for length in (len(content) // 3, len(content) - 30):
            with pytest.raises(ArtifactCorrupt):
                self.unpacks(tmp_path, content[:length])

    def test_a_folder_in_use_or_an_absent_archive_is_a_storage_error(self, saved, tmp_path):
        pack(saved, tmp_path / "a.zip")
        with pytest.raises(StorageFailed, match="not empty"):
            unpack(tmp_path / "a.zip", saved, max_bytes=MIB)
        with pytest.raises(StorageFailed):
            unpack(tmp_path / "absent.zip", tmp_path / "out", max_bytes=MIB)

    def test_packing_depends_on_contents_only(self, saved, tmp_path):
        pack(saved, tmp_path / "1.zip")
        os.utime(saved / "model.skops", (1, 1))
        (saved / "model.skops").chmod(0o600)
        pack(saved, tmp_path / "2.zip")
        assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
        assert json.loads(zipfile.ZipFile(tmp_path / "1.zip").read("manifest.json"))["framework"] == "scikit-learn"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """A signed artifact: "" is its archive, the rest are the files in it."""
    folder = tmp_path_factory.mktemp("flips")
    Model.wrap(LogisticRegression(max_iter=2000).fit(X, y)).save(folder / "saved")
    sign_artifact(folder / "saved", KEY)
    pack(folder / "saved", folder / "a.zip")
    inner = {path.name: path.read_bytes() for path in (folder / "saved").iterdir()}
    return {"": (folder / "a.zip").read_bytes(), **inner}


@pytest.fixture(scope="module")
def flip(files, tmp_path_factory) -> Callable[[str, int, int], None]:
    """Flips bits of one byte and checks what comes of it."""
    expected = LogisticRegression(max_iter=2000).fit(X, y).predict_proba(X)
    parent, runs = tmp_path_factory.mktemp("flip"), count()

    def check(name: str, place: int, mask: int) -> None:
        content = bytearray(files[name])
        content[place % len(content)] ^= mask
        contents = files | {name: bytes(content)}
        archive, folder = parent / "a.zip", parent / str(next(runs))
        archive.write_bytes(contents[""] if not name else zip_of([item for item in contents.items() if item[0]]))
        try:
            unpack(archive, folder, max_bytes=MIB)
            model = load_artifact(folder, trusted=[KEY.public])
        except ArtifactError:
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        np.testing.assert_array_equal(model.predict_proba(X), expected)

    return check


class TestAnyFlippedByte:
    """Flip any byte of the archive, or of any file in it: the same predictions, or a typed error."""

    @settings(max_examples=200, deadline=None)
    @given(place=st.integers(0, 1 << 20), mask=st.integers(1, 255))
    def test_of_the_archive(self, flip, place, mask):
        flip("", place, mask)

    @pytest.mark.parametrize("name", ["manifest.json", "model.skops", "signature.json"])
    def test_of_a_file_in_it(self, flip, name):
        @settings(max_examples=60, deadline=None)
        @given(place=st.integers(0, 1 << 20), mask=st.integers(1, 255))
        def any_flip(place, mask):
            flip(name, place, mask)

        any_flip()


def test_saving_is_all_or_nothing(classifier, tmp_path):
    broken = Model.wrap(LogisticRegression(max_iter=2000).fit(X, y))
    broken.estimator.extra_ = (item for item in ())  # a generator has no stored form
    with pytest.raises(ArtifactUnsupported):
        broken.save(tmp_path / "broken")
    assert list(tmp_path.iterdir()) == []
    classifier.save(tmp_path / "saved")
    with pytest.raises(StorageFailed, match="not empty"):
        classifier.save(tmp_path / "saved")
    with pytest.raises(ArtifactUnsupported, match="holds a SklearnModel"):
        TorchModel.load(tmp_path / "saved")
