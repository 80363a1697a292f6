"""The registry over every kind of database: what it keeps, what it refuses, and what many callers at once see."""

from __future__ import annotations

import math
import pickle
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, insert

from streamb.clock import ManualClock, SystemClock
from streamb.errors import BadRequest, Conflict, InvalidInput, InvalidTransition, NotFound, StorageFailed
from streamb.registry import STREAM, Artifact, Lineage, ModelVersion, RegisteredModel, Registry, Stage
from streamb.store import Database, open_database
from streamb.store.plain import to_plain
from streamb.store.records import encode_body
from streamb.store.sql_tables import records

ARTIFACT = Artifact("d" * 64, "b" * 64, 1234, "scikit-learn", "classification", {"container": "array"}, False)
OTHER = replace(ARTIFACT, digest="e" * 64, blob="c" * 64)


@pytest.fixture
def registry(database: Database, clock: ManualClock) -> Registry:
    return Registry(database.records, database.journal, clock)


@pytest.fixture
def model(registry: Registry) -> RegisteredModel:
    return registry.create_model("m", name="Model", owner="ann")


def told(database: Database) -> list[dict[str, Any]]:
    return [entry.body for entry in database.journal.read(STREAM, limit=1000).items]


def numbers(registry: Registry, model_id: str = "m") -> list[str]:
    return [version.version for version in registry.list_versions(model_id, 1000).items]


class TestModels:
    def test_a_created_model_is_there(self, registry: Registry):
        made = registry.create_model("m", name="Model", description="What it is.", owner="ann", tags={"team": "a"})
        assert made == registry.get_model("m")
        assert made == RegisteredModel("m", "Model", "What it is.", "ann", 1000.0, 1000.0, {"team": "a"}, {}, None)

    def test_without_a_name_its_id_is_its_name(self, registry: Registry):
        assert registry.create_model("m").name == "m"

    def test_creating_again_changes_only_what_is_given(self, registry: Registry, clock: ManualClock):
        registry.create_model("m", name="Model", description="old", owner="ann", tags={"a": "1", "b": "1"})
        clock.advance(5)
        made = registry.create_model("m", description="new", tags={"b": "2"})
        assert made == RegisteredModel("m", "Model", "new", "ann", 1000.0, 1005.0, {"a": "1", "b": "2"}, {}, None)

    def test_creating_the_same_again_is_nothing_new(self, registry: Registry, database: Database, clock: ManualClock):
        first = registry.create_model("m", name="Model")
        clock.advance(5)
        assert registry.create_model("m", name="Model") == registry.create_model("m") == first
        assert [line["action"] for line in told(database)] == ["model.created"]

    @pytest.mark.parametrize("model_id", ["", ".hidden", "-x", "a/b", "a b", "ä", "x" * 101, "a\n", "../a"])
    def test_an_id_that_cannot_be_one(self, registry: Registry, model_id: str):
        with pytest.raises(InvalidInput):
            registry.create_model(model_id)

    @pytest.mark.parametrize("tags", [{"a": 1}, {"": "x"}, {1: "x"}])
    def test_tags_are_texts(self, registry: Registry, tags: dict[Any, Any]):
        with pytest.raises(InvalidInput):
            registry.create_model("m", tags=tags)

    def test_an_unknown_model(self, registry: Registry):
        for call in (
            lambda: registry.get_model("m"),
            lambda: registry.list_versions("m"),
            lambda: registry.get_version("m", "1.0.0"),
            lambda: registry.resolve("m", "latest"),
            lambda: registry.register_version("m", "1.0.0", ARTIFACT),
            lambda: registry.set_tags("m", {}),
            lambda: registry.delete_alias("m", "champion"),
            lambda: registry.set_stage("m", "1.0.0", Stage.STAGING),
        ):
            with pytest.raises(NotFound, match="no model 'm'"):
                call()

    def test_models_are_listed_by_id_in_pages(self, registry: Registry):
        for model_id in ("b", "c", "a"):
            registry.create_model(model_id)
        first = registry.list_models(2)
        second = registry.list_models(2, first.next_cursor)
        assert [m.model_id for m in first.items + second.items] == ["a", "b", "c"]
        assert second.next_cursor is None

    def test_models_of_one_owner(self, registry: Registry):
        for number in range(7):
            registry.create_model(f"m{number}", owner="ann" if number % 3 == 0 else "bob")
        assert [m.model_id for m in registry.list_models(owner="ann").items] == ["m0", "m3", "m6"]
        first = registry.list_models(2, owner="ann")
        assert [m.model_id for m in first.items] == ["m0", "m3"]
        assert [m.model_id for m in registry.list_models(2, first.next_cursor, owner="ann").items] == ["m6"]
        assert registry.list_models(owner="an").items == ()

    def test_tags_that_are_added_one_by_one_are_bounded_too(self, registry: Registry):
        registry.create_model("m", tags={str(i): "x" for i in range(99)})
        assert len(registry.create_model("m", tags={"98": "y", "99": "x"}).tags) == 100
        with pytest.raises(InvalidInput, match="there may be 100 tags, and these would be 101"):
            registry.create_model("m", tags={"100": "x"})

    def test_set_tags_replaces_all(self, registry: Registry):
        registry.create_model("m", tags={"a": "1"})
        assert registry.set_tags("m", {"b": "2"}).tags == {"b": "2"}


class TestVersions:
    def test_a_registered_version_is_there(self, registry: Registry, model: RegisteredModel):
        version, created = registry.register_version(
            "m",
            "1.0.0",
            ARTIFACT,
            owner="ann",
            metadata={"note": "first"},
            metrics={"accuracy": 0.9},
            hyperparameters={"depth": 3},
            lineage=Lineage(job_id="j1", data_digest="f" * 64),
            tags={"kind": "nightly"},
        )
        assert created
        assert version == registry.get_version("m", "1.0.0")
        assert version == ModelVersion(
            model_id="m",
            version="1.0.0",
            digest="d" * 64,
            blob="b" * 64,
            size_bytes=1234,
            framework="scikit-learn",
            task="classification",
            schema={"container": "array"},
            carries_code=False,
            stage=Stage.DEVELOPMENT,
            owner="ann",
            created_at=1000.0,
            metadata={"note": "first"},
            metrics={"accuracy": 0.9},
            hyperparameters={"depth": 3},
            lineage=Lineage(job_id="j1", data_digest="f" * 64),
            tags={"kind": "nightly"},
        )
        assert pickle.loads(pickle.dumps(version)) == version

    def test_metrics_and_hyperparameters_are_lifted_out_of_the_metadata(self, registry: Registry, model: object):
        metadata = {"metrics": {"a": 1, "b": 2}, "hyperparameters": {"c": 3}, "dataset": "d"}
        version, _ = registry.register_version("m", "1.0.0", ARTIFACT, metadata=metadata, metrics={"b": np.float32(5)})
        assert (version.metrics, version.hyperparameters, version.metadata) == (
            {"a": 1.0, "b": 5.0},
            {"c": 3},
            {"dataset": "d"},
        )
        assert set(metadata) == {"metrics", "hyperparameters", "dataset"}, "the caller's own mapping is left alone"

    @pytest.mark.parametrize("value", [math.nan, math.inf, "0.9", True, None, [1]])
    def test_a_metric_is_a_finite_number(self, registry: Registry, model: object, value: Any):
        with pytest.raises(InvalidInput, match="accuracy"):
            registry.register_version("m", "1.0.0", ARTIFACT, metadata={"metrics": {"accuracy": value}})
        with pytest.raises(NotFound):
            registry.get_version("m", "1.0.0")

    @pytest.mark.parametrize("metadata", [{"metrics": [1]}, {"hyperparameters": "x"}, {"x": {1, 2}}, {"x": math.nan}])
    def test_metadata_is_json(self, registry: Registry, model: object, database: Database, metadata: dict[str, Any]):
        with pytest.raises(InvalidInput):
            registry.register_version("m", "1.0.0", ARTIFACT, metadata=metadata)
        assert numbers(registry) == []
        assert len(told(database)) == 1

    def test_the_same_again_is_the_same(self, registry: Registry, model: object, clock: ManualClock):
        first, _ = registry.register_version("m", "1.0.0", ARTIFACT, owner="ann")
        clock.advance(5)
        again, created = registry.register_version("m", "1.0.0", ARTIFACT, owner="bob", metadata={"other": True})
        assert not created
        assert again == first

    def test_another_environment_under_the_same_version_is_a_conflict(self, registry: Registry, model: object):
        own = replace(ARTIFACT, environment={"pip": ["tiny==1.0"]})
        first, _ = registry.register_version("m", "1.0.0", own)
        assert first.environment == {"pip": ["tiny==1.0"]}
        assert registry.register_version("m", "1.0.0", own) == (first, False)
        with pytest.raises(Conflict, match="another environment"):
            registry.register_version("m", "1.0.0", ARTIFACT)

    def test_other_content_under_the_same_version_is_a_conflict(self, registry: Registry, model: object):
        first, _ = registry.register_version("m", "1.0.0", ARTIFACT)
        with pytest.raises(Conflict, match="never change"):
            registry.register_version("m", "1.0.0", OTHER)
        assert registry.get_version("m", "1.0.0") == first

    def test_the_same_version_of_another_model_is_its_own(self, registry: Registry, model: object):
        registry.create_model("m2")
        registry.create_model("m.x")
        registry.register_version("m", "1.0.0", ARTIFACT)
        registry.register_version("m2", "1.0.0", OTHER)
        registry.register_version("m.x", "1.0.0", OTHER)
        assert numbers(registry) == ["1.0.0"]
        assert registry.get_version("m", "1.0.0").digest == ARTIFACT.digest

    def test_versions_are_listed_highest_first_in_pages(self, registry: Registry, model: object):
        ascending = ["0.9.0", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.2.0", "1.10.0", "2.0.0-alpha", "10.0.0"]
        for version in sorted(ascending):
            registry.register_version("m", version, ARTIFACT)
        found, cursor = [], None
        while True:
            page = registry.list_versions("m", 3, cursor)
            found += [version.version for version in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == ascending[::-1]
        with pytest.raises(BadRequest):
            registry.list_versions("m", 3, "broken")

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ({}, "4.0.0 3.0.0 2.0.0 1.0.0"),
            ({"owner": "ann"}, "3.0.0 1.0.0"),
            ({"owner": ""}, "4.0.0"),
            ({"tags": ["team"]}, "2.0.0 1.0.0"),
            ({"tags": ["team=risk"]}, "1.0.0"),
            ({"tags": ["team=a=b"]}, "2.0.0"),
            ({"tags": ["team", "gold="]}, "1.0.0"),
            ({"tags": ["gold=yes"]}, ""),
            ({"metrics": ["accuracy>=0.9"]}, "3.0.0 2.0.0"),
            ({"metrics": ["accuracy>0.9"]}, "3.0.0"),
            ({"metrics": [" accuracy <= 9e-1 "]}, "2.0.0 1.0.0"),
            ({"metrics": ["accuracy=.9"]}, "2.0.0"),
            ({"metrics": ["accuracy<0.9"]}, "1.0.0"),
            ({"metrics": ["a>=b<0"]}, "3.0.0"),
            ({"metrics": ["speed>0"]}, ""),
            ({"owner": "ann", "metrics": ["accuracy>0.5", "accuracy<0.9"], "tags": ["team"]}, "1.0.0"),
        ],
    )
    def test_versions_are_chosen_by_owner_tags_and_metrics(self, registry: Registry, model: object, filters, found):
        for version, owner, tags, metrics in (
            ("1.0.0", "ann", {"team": "risk", "gold": ""}, {"accuracy": 0.8}),
            ("2.0.0", "bob", {"team": "a=b"}, {"accuracy": 0.9}),
            ("3.0.0", "ann", {}, {"accuracy": 0.95, "a>=b": -1}),
            ("4.0.0", "", {}, {}),
        ):
            registry.register_version("m", version, ARTIFACT, owner=owner, tags=tags, metrics=metrics)
        assert " ".join(one.version for one in registry.list_versions("m", **filters).items) == found

    @pytest.mark.parametrize(
        ("filters", "words"),
        [
            ({"metrics": ["accuracy"]}, "'accuracy' cannot be read: write NAME, one of >= <= > < =, and a number"),
            ({"metrics": ["accuracy>=high"]}, "such as accuracy>=0.9"),
            ({"metrics": ["accuracy>=nan"]}, "cannot be read"),
            ({"metrics": [">=1"]}, "cannot be read"),
            ({"metrics": ["accuracy>>1"]}, "cannot be read"),
            ({"metrics": ["accuracy==0.9"]}, "cannot be read"),
            ({"metrics": ["accuracy=>0.9"]}, "cannot be read"),
            ({"metrics": [""]}, "cannot be read"),
            ({"tags": ["=x"]}, "write KEY or KEY=VALUE"),
            ({"tags": [""]}, "write KEY or KEY=VALUE"),
        ],
    )
    def test_a_filter_that_cannot_be_read(self, registry: Registry, model: object, filters, words):
        with pytest.raises(InvalidInput, match=words):
            registry.list_versions("m", **filters)

    @pytest.mark.parametrize("limit", [1, 2, 3, 50, 200])
    def test_pages_of_chosen_versions_are_full_and_complete(self, registry: Registry, model: object, limit):
        for number in range(130):
            rare = number in (0, 1, 60, 129)
            registry.register_version("m", f"{number}.0.0", ARTIFACT, owner="ann" if rare else "bob")
        pages, cursor = [], None
        while not pages or cursor:
            page = registry.list_versions("m", limit, cursor, owner="ann")
            pages.append([one.version for one in page.items])
            cursor = page.next_cursor
        assert [version for page in pages for version in page] == ["129.0.0", "60.0.0", "1.0.0", "0.0.0"]
        assert all(len(one) == limit for one in pages[:-1])
        common = registry.list_versions("m", limit, owner="bob")
        assert len(common.items) == min(limit, 126)

    def test_not_a_version(self, registry: Registry, model: object):
        with pytest.raises(InvalidInput, match="semantic version"):
            registry.register_version("m", "1.0", ARTIFACT)
        with pytest.raises(NotFound, match=r"'1\.0'"):
            registry.get_version("m", "1.0")


class TestReferences:
    @pytest.mark.parametrize(
        ("registered", "latest"),
        [
            (["1.0.0"], "1.0.0"),
            (["1.9.0", "1.10.0", "1.2.0"], "1.10.0"),
            (["1.0.0", "2.0.0-rc.1"], "1.0.0"),
            (["2.0.0-rc.1", "1.0.0"], "1.0.0"),
            (["2.0.0-rc.1", "2.0.0-rc.2"], "2.0.0-rc.2"),
        ],
    )
    def test_latest_is_the_highest_release(self, registry: Registry, model: object, registered: list[str], latest: str):
        for version in registered:
            registry.register_version("m", version, ARTIFACT)
        assert registry.resolve("m", "latest").version == latest
        assert registry.get_model("m").latest_version == latest

    def test_latest_of_nothing(self, registry: Registry, model: object):
        with pytest.raises(NotFound, match="no versions yet"):
            registry.resolve("m", "latest")

    def test_an_alias_moves(self, registry: Registry, model: object):
        for version in ("1.0.0", "2.0.0"):
            registry.register_version("m", version, ARTIFACT)
        registry.set_alias("m", "champion", "1.0.0")
        moved = registry.set_alias("m", "challenger", "latest")
        assert moved.aliases == {"champion": "1.0.0", "challenger": "2.0.0"}
        assert registry.resolve("m", "champion").version == "1.0.0"
        registry.set_alias("m", "champion", "challenger")
        assert registry.resolve("m", "champion").version == "2.0.0"
        assert registry.delete_alias("m", "challenger").aliases == {"champion": "2.0.0"}
        with pytest.raises(NotFound, match="challenger"):
            registry.resolve("m", "challenger")
        with pytest.raises(NotFound, match="challenger"):
            registry.delete_alias("m", "challenger")

    @pytest.mark.parametrize("alias", ["latest", "Latest", "", "1.0.0", "2", "a b", "a/b", "-a", "x" * 101])
    def test_what_cannot_be_an_alias(self, registry: Registry, model: object, alias: str):
        registry.register_version("m", "1.0.0", ARTIFACT)
        with pytest.raises(InvalidInput):
            registry.set_alias("m", alias, "1.0.0")

    def test_an_alias_names_a_version_that_exists(self, registry: Registry, model: object):
        with pytest.raises(NotFound):
            registry.set_alias("m", "champion", "1.0.0")


class TestStages:
    def test_a_version_moves_by_the_rules(self, registry: Registry, model: object):
        registry.register_version("m", "1.0.0", ARTIFACT)
        for stage in (Stage.STAGING, Stage.PRODUCTION, Stage.PRODUCTION, Stage.ARCHIVED, Stage.DEVELOPMENT):
            assert registry.set_stage("m", "1.0.0", stage).stage is stage
            assert registry.get_version("m", "1.0.0").stage is stage

    @pytest.mark.parametrize(
        ("path", "refused"),
        [
            ([], Stage.PRODUCTION),
            ([Stage.STAGING, Stage.PRODUCTION], Stage.DEVELOPMENT),
            ([Stage.ARCHIVED], Stage.PRODUCTION),
        ],
    )
    def test_other_moves_are_refused(self, registry: Registry, model: object, path: list[Stage], refused: Stage):
        registry.register_version("m", "1.0.0", ARTIFACT)
        for stage in path:
            registry.set_stage("m", "1.0.0", stage)
        before = registry.get_version("m", "1.0.0")
        with pytest.raises(InvalidTransition):
            registry.set_stage("m", "1.0.0", refused)
        assert registry.get_version("m", "1.0.0") == before


class TestJournal:
    def test_every_change_is_told_once(self, registry: Registry, database: Database):
        registry.create_model("m", owner="ann")
        registry.create_model("m", description="new")
        registry.register_version("m", "1.0.0", ARTIFACT, owner="ann")
        registry.register_version("m", "1.0.0", ARTIFACT)
        registry.set_alias("m", "champion", "1.0.0")
        registry.set_alias("m", "champion", "1.0.0")
        registry.set_tags("m", {"a": "1"})
        registry.set_stage("m", "1.0.0", Stage.STAGING)
        registry.delete_alias("m", "champion")
        assert told(database) == [
            {"action": "model.created", "model_id": "m", "owner": "ann"},
            {"action": "model.updated", "model_id": "m"},
            {"action": "version.registered", "model_id": "m", "version": "1.0.0", "digest": "d" * 64, "owner": "ann"},
            {"action": "alias.set", "model_id": "m", "alias": "champion", "version": "1.0.0"},
            {"action": "model.tagged", "model_id": "m", "tags": {"a": "1"}},
            {"action": "stage.set", "model_id": "m", "version": "1.0.0", "before": "development", "stage": "staging"},
            {"action": "alias.deleted", "model_id": "m", "alias": "champion"},
        ]

    def test_a_change_that_cannot_be_told_does_not_happen(
        self, registry: Registry, model: object, monkeypatch: pytest.MonkeyPatch, database: Database
    ):
        def fail(stream: str, body: dict[str, Any]) -> None:
            raise StorageFailed("the disk is full")

        monkeypatch.setattr(type(database.journal), "append", lambda self, stream, body: fail(stream, body))
        with pytest.raises(StorageFailed):
            registry.register_version("m", "1.0.0", ARTIFACT)
        assert numbers(registry) == []
        assert registry.get_model("m").latest_version is None


@pytest.mark.parametrize("database", ["memory", "sqlite", "postgresql"], indirect=True)
class TestManyAtOnce:
    def run(self, count: int, act: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)

        def start(number: int) -> Any:
            barrier.wait(timeout=10)
            try:
                return act(number)
            except Conflict as error:
                return error

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(start, range(count)))

    def test_of_many_that_register_the_same_one_creates(self, registry: Registry, model: object, database: Database):
        answers = self.run(8, lambda _: registry.register_version("m", "1.0.0", ARTIFACT))
        assert sorted(created for _, created in answers) == [False] * 7 + [True]
        assert len({repr(version) for version, _ in answers}) == 1
        assert [line["action"] for line in told(database)] == ["model.created", "version.registered"]

    def test_of_many_that_register_different_content_one_wins(self, registry: Registry, model: object):
        artifacts = [replace(ARTIFACT, digest=f"{number:064}") for number in range(8)]
        answers = self.run(8, lambda number: registry.register_version("m", "1.0.0", artifacts[number]))
        won = [answer for answer in answers if not isinstance(answer, Conflict)]
        assert len(won) == 1
        assert won[0] == (registry.get_version("m", "1.0.0"), True)

    def test_of_different_versions_all_are_created(self, registry: Registry, model: object, database: Database):
        answers = self.run(8, lambda number: registry.register_version("m", f"1.{number}.0", ARTIFACT))
        assert all(created for _, created in answers)
        assert registry.get_model("m").latest_version == "1.7.0"
        assert numbers(registry) == [f"1.{number}.0" for number in range(7, -1, -1)]

    def test_aliases_set_at_once_are_all_kept(self, registry: Registry, model: object):
        registry.register_version("m", "1.0.0", ARTIFACT)
        self.run(8, lambda number: registry.set_alias("m", f"a{number}", "1.0.0"))
        assert registry.get_model("m").aliases == {f"a{number}": "1.0.0" for number in range(8)}


def test_ten_thousand_versions_do_not_slow_a_page(sqlite_url: str):
    """Counted in steps of SQLite's machine, which no other process slows."""
    database = open_database(sqlite_url, SystemClock())
    registry = Registry(database.records, database.journal, SystemClock())
    registry.create_model("few")
    registry.create_model("many")
    steps: list[int] = []

    @event.listens_for(database.records._transactions._engine, "before_cursor_execute")
    def count(_connection: object, cursor: sqlite3.Cursor, *_statement: object) -> None:
        cursor.connection.set_progress_handler(lambda: steps.append(1), 10)

    def steps_of_a_page(model_id: str) -> int:
        steps.clear()
        assert len(registry.list_versions(model_id, 50).items) == 50
        return len(steps)

    with database.records.batch():
        for number in range(50):
            registry.register_version("few", f"1.0.{number}", ARTIFACT)
    alone = steps_of_a_page("few")
    body = encode_body(to_plain(registry.get_version("few", "1.0.0")))
    row = {"collection": "versions", "body": body, "revision": 1, "created_at": 0.0, "updated_at": 0.0}
    with database.records._transactions.writing() as connection:  # registering one by one would take 10 s
        connection.execute(insert(records), [row | {"key": f"many/{number:06}"} for number in range(10_000)])
    assert 0 < steps_of_a_page("many") < 2 * alone
    assert steps_of_a_page("few") < 2 * alone
    database.close()
