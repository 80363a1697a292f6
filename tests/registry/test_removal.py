"""Deleting versions: what prevents it, what is left of them, and when their bytes go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from streamb.clock import ManualClock
from streamb.errors import Conflict, InvalidInput, NotFound, StorageFailed, Unavailable
from streamb.registry import STREAM, Artifact, Lineage, Registry
from streamb.store import Blob, Database, FsspecBlobs, open_blobs

pytestmark = pytest.mark.slow

ARTIFACT = Artifact("d" * 64, "b" * 64, 1234, "scikit-learn", "classification", {"container": "array"}, False)
OTHER = replace(ARTIFACT, digest="e" * 64, blob="c" * 64)


@pytest.fixture
def registry(database: Database, clock: ManualClock) -> Registry:
    registry = Registry(database.records, database.journal, clock)
    registry.create_model("m")
    return registry


def test_a_deleted_version_is_gone(registry: Registry, database: Database) -> None:
    made, _ = registry.register_version("m", "1.0.0", ARTIFACT)
    assert registry.delete_version("m", "1.0.0", by="ada") == made
    assert registry.list_versions("m").items == ()
    for name in ("1.0.0", "latest"):
        with pytest.raises(NotFound):
            registry.resolve("m", name)
    with pytest.raises(NotFound):
        registry.delete_version("m", "1.0.0")
    entry = database.journal.read(STREAM, newest_first=True).items[0]
    assert entry.body == {
        "action": "version.deleted",
        "model_id": "m",
        "version": "1.0.0",
        "digest": ARTIFACT.digest,
        "by": "ada",
    }


@pytest.mark.parametrize(
    ("versions", "deleted", "latest"),
    [
        (["1.0.0"], "1.0.0", None),
        (["1.0.0", "2.0.0"], "2.0.0", "1.0.0"),
        (["1.0.0", "2.0.0"], "1.0.0", "2.0.0"),
        (["1.0.0", "3.0.0-rc.1", "2.0.0"], "2.0.0", "1.0.0"),
        (["2.0.0-rc.1", "3.0.0-rc.1", "1.0.0"], "1.0.0", "3.0.0-rc.1"),
    ],
)
def test_the_latest_version_is_found_again(
    registry: Registry, versions: list[str], deleted: str, latest: str | None
) -> None:
    for version in versions:
        registry.register_version("m", version, ARTIFACT)
    registry.delete_version("m", deleted)
    assert registry.get_model("m").latest_version == latest


@pytest.mark.parametrize("name", ["latest", "champion", "1.0", ""])
def test_only_a_number_names_what_is_deleted(registry: Registry, name: str) -> None:
    registry.register_version("m", "1.0.0", ARTIFACT)
    registry.set_alias("m", "champion", "1.0.0")
    with pytest.raises(InvalidInput, match="not a semantic version"):
        registry.delete_version("m", name)


class TestReferences:
    def test_each_is_named_and_nothing_is_deleted(self, registry: Registry) -> None:
        registry.register_version("m", "1.0.0", ARTIFACT)
        for child in ("1.1.0", "1.2.0"):
            registry.register_version("m", child, OTHER, lineage=Lineage(parent_version="1.0.0"))
        registry.set_alias("m", "champion", "1.0.0")
        registry.set_alias("m", "newest", "1.2.0")
        with pytest.raises(Conflict) as refused:
            registry.delete_version("m", "1.0.0", used=["it serves"])
        assert refused.value.details["references"] == [
            "it serves",
            "the alias 'champion' names it (delete or move the alias)",
            "version 1.1.0 was made from it (its parent_version)",
            "version 1.2.0 was made from it (its parent_version)",
        ]
        assert all(reference in refused.value.message for reference in refused.value.details["references"])
        assert registry.get_version("m", "1.0.0").version == "1.0.0"

    def test_without_them_it_is_deleted(self, registry: Registry) -> None:
        registry.register_version("m", "1.0.0", ARTIFACT)
        registry.register_version("m", "1.1.0", OTHER, lineage=Lineage(parent_version="1.0.0"))
        registry.set_alias("m", "champion", "1.0.0")
        registry.create_model("n")
        registry.register_version("n", "2.0.0", OTHER, lineage=Lineage(parent_version="1.0.0"))
        registry.delete_version("m", "1.1.0")
        registry.set_alias("m", "champion", "1.0.0")
        registry.delete_alias("m", "champion")
        registry.delete_version("m", "1.0.0")
        assert registry.get_version("n", "2.0.0").version == "2.0.0", "another model's lineage is its own"


class TestTheNumberStaysTaken:
    def test_for_other_content(self, registry: Registry) -> None:
        registry.register_version("m", "1.0.0", ARTIFACT)
        registry.delete_version("m", "1.0.0")
        with pytest.raises(Conflict, match="was deleted and had other content"):
            registry.register_version("m", "1.0.0", OTHER)
        registry.register_version("m", "1.0.1", OTHER)
        registry.create_model("n")
        registry.register_version("n", "1.0.0", OTHER)

    def test_and_the_same_content_gets_it_again(self, registry: Registry) -> None:
        registry.register_version("m", "1.0.0", ARTIFACT, owner="ann", metadata={"secret": "x"})
        registry.delete_version("m", "1.0.0")
        kept = registry.known("m", "1.0.0")
        assert kept is not None
        assert (kept.digest, kept.metadata) == (ARTIFACT.digest, {}), "only what tells the content apart is kept"
        again, created = registry.register_version("m", "1.0.0", replace(ARTIFACT, blob="f" * 64), owner="bob")
        assert (created, again.owner, again.blob) == (True, "bob", "f" * 64)
        assert registry.known("m", "1.0.0") == registry.resolve("m", "latest") == again
        registry.delete_version("m", "1.0.0")
        with pytest.raises(Conflict, match="was deleted"):
            registry.register_version("m", "1.0.0", OTHER)

    def test_what_never_was_is_not_known(self, registry: Registry) -> None:
        assert registry.known("m", "1.0.0") is None


class Shelf:
    """A registry over a folder of real blobs."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.database = database
        self.blobs = open_blobs(str(folder / "blobs"))
        self.registry = self.reopened()
        self.registry.create_model("m")

    def reopened(self, blobs: FsspecBlobs | None = None) -> Registry:
        clock = ManualClock(start=1000.0)
        return Registry(self.database.records, self.database.journal, clock, blobs=blobs or self.blobs)

    def store(self, content: str) -> Blob:
        path = self.folder / "content"
        path.write_text(content)
        return self.blobs.put_file(path)

    def register(self, version: str, content: str) -> str:
        blob = self.store(content).digest
        self.registry.register_version("m", version, replace(ARTIFACT, digest=blob, blob=blob))
        return blob

    def delete(self, version: str) -> None:
        self.registry.delete_version("m", version)
        self.registry.sweep()


@pytest.fixture
def shelf(database: Database, tmp_path: Path) -> Shelf:
    return Shelf(database, tmp_path)


class TestBytes:
    def test_they_go_with_the_last_version_that_uses_them(self, shelf: Shelf) -> None:
        blob, other = shelf.register("1.0.0", "same"), shelf.register("3.0.0", "other")
        assert shelf.register("2.0.0", "same") == blob
        shelf.delete("1.0.0")
        assert shelf.blobs.exists(blob)
        shelf.delete("2.0.0")
        assert (shelf.blobs.exists(blob), shelf.blobs.exists(other)) == (False, True)

    def test_what_is_registered_again_before_they_go_keeps_them(self, shelf: Shelf) -> None:
        blob = shelf.register("1.0.0", "same")
        shelf.registry.delete_version("m", "1.0.0")
        shelf.register("1.0.0", "same")
        shelf.registry.sweep()
        assert shelf.blobs.exists(blob)

    def test_an_upload_that_found_bytes_which_went_is_asked_for_again(self, shelf: Shelf) -> None:
        blob = shelf.register("1.0.0", "same")
        found = shelf.store("same")
        shelf.delete("1.0.0")
        for version in ("1.0.0", "2.0.0"):
            with pytest.raises(Unavailable, match="upload it again"):
                shelf.registry.register_version("m", version, replace(ARTIFACT, digest=blob, blob=found.digest))
        assert shelf.registry.list_versions("m").items == ()
        with pytest.raises(Conflict):  # of no use to upload that again
            shelf.registry.register_version("m", "1.0.0", replace(ARTIFACT, blob=found.digest))
        assert shelf.register("1.0.0", "same") == blob

    def test_a_registry_that_died_in_between_leaves_them_to_the_next(self, shelf: Shelf) -> None:
        blob = shelf.register("1.0.0", "same")
        shelf.registry.delete_version("m", "1.0.0")
        shelf.reopened().sweep()
        assert not shelf.blobs.exists(blob)

    def test_a_store_that_fails_is_tried_again_later(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        blob = shelf.register("1.0.0", "same")

        def fail(self: FsspecBlobs, digest: str) -> None:
            raise StorageFailed("the store does not answer")

        with monkeypatch.context() as broken:
            broken.setattr(FsspecBlobs, "delete", fail)
            shelf.delete("1.0.0")
        assert shelf.blobs.exists(blob)
        shelf.registry.sweep()
        assert not shelf.blobs.exists(blob)


@pytest.mark.parametrize("database", ["memory", "sqlite", "postgresql"], indirect=True)
class TestAtOnce:
    def both(self, *acts: object) -> list[BaseException | None]:
        barrier = threading.Barrier(len(acts))

        def start(act: object) -> None:
            barrier.wait(timeout=10)
            act()  # type: ignore[operator]

        with ThreadPoolExecutor(len(acts)) as pool:
            return [future.exception() for future in [pool.submit(start, act) for act in acts]]

    def test_of_a_deletion_and_an_alias_one_wins(self, registry: Registry) -> None:
        for number in range(10):
            version = f"1.{number}.0"
            registry.register_version("m", version, ARTIFACT)
            deleted, named = self.both(
                lambda version=version: registry.delete_version("m", version),
                lambda version=version, number=number: registry.set_alias("m", f"a{number}", version),
            )
            assert (deleted is None) != (named is None), (deleted, named)
            assert isinstance(deleted, Conflict | None)
            assert isinstance(named, NotFound | None)

    def test_the_latest_version_is_right_after_deletions_and_registrations(self, registry: Registry) -> None:
        registry.register_version("m", "9.0.0", ARTIFACT)
        failed = self.both(
            lambda: registry.delete_version("m", "9.0.0"),
            *(lambda number=number: registry.register_version("m", f"{number}.0.0", OTHER) for number in range(1, 6)),
        )
        assert failed == [None] * 6
        assert registry.get_model("m").latest_version == "5.0.0"

    def test_of_many_that_delete_it_one_does(self, registry: Registry) -> None:
        registry.register_version("m", "1.0.0", ARTIFACT)
        failed = self.both(*[lambda: registry.delete_version("m", "1.0.0")] * 4)
        assert sorted(type(error).__name__ for error in failed) == ["NoneType", "NotFound", "NotFound", "NotFound"]
