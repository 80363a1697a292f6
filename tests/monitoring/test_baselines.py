"""Baselines numbered per version: in force, listed, restored, and gone from the artifact store for a while."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from streamb.clock import ManualClock
from streamb.errors import InvalidFeatures, NotFound, StorageFailed
from streamb.monitoring.baselines import RETRY_S, Baselines
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.tables import check_columns
from streamb.store import open_blobs


def learnt(shift: float = 0.0) -> Baseline:
    rows = np.random.default_rng(0).normal(shift, 1, (300, 2))
    return Baseline.learn({"a": rows[:, 0], "b": rows[:, 1]})


@pytest.fixture
def opened(tmp_path):
    clock = ManualClock(1000.0)

    def open_them() -> Baselines:
        return Baselines(tmp_path / "monitor" / "baselines.json", open_blobs(str(tmp_path / "blobs")), clock)

    return open_them, clock, tmp_path


def test_the_newest_is_in_force_and_all_are_listed(opened):
    open_them, clock, _ = opened
    kept = open_them()
    first = kept.add("m", "1.0.0", learnt(), author="ann", origin="upload")
    clock.advance(5)
    second = kept.add("m", "1.0.0", learnt(1), author="bob", origin="live")
    other = kept.add("m", "2.0.0", learnt(), author="ann", origin="upload")
    assert (first.number, second.number, other.number) == (1, 2, 1)
    for one in (kept, open_them()):
        assert one.active("m", "1.0.0") == learnt(1)
        listed = one.listed("m", "1.0.0")
        assert [(b["number"], b["active"], b["author"]) for b in listed] == [(2, True, "bob"), (1, False, "ann")]
        assert listed[0]["columns"] == ["a", "b"]
        assert len(one.listed("m")) == 3
        assert one.versions() == {("m", "1.0.0"), ("m", "2.0.0")}


def test_the_same_baseline_again_is_no_new_one(opened):
    kept = opened[0]()
    assert kept.add("m", "1.0.0", learnt(), author="a", origin="upload").number == 1
    assert kept.add("m", "1.0.0", learnt(), author="b", origin="upload").number == 1


def test_without_a_baseline_the_answer_says_what_to_do(opened):
    kept = opened[0]()
    assert kept.active("m", "1.0.0") is None
    with pytest.raises(NotFound, match="has no baseline: give it one"):
        kept.need("m", "1.0.0")


def test_a_store_that_is_away_is_asked_again_later(opened):
    open_them, clock, folder = opened
    open_them().add("m", "1.0.0", learnt(), author="a", origin="upload")
    shutil.move(folder / "blobs", folder / "away")
    kept = open_them()
    with pytest.raises(NotFound, match="cannot be read"):
        kept.need("m", "1.0.0")
    shutil.move(folder / "away", folder / "blobs")
    assert kept.active("m", "1.0.0") is None
    clock.advance(RETRY_S)
    assert kept.active("m", "1.0.0") == learnt()


def test_a_baseline_that_cannot_be_listed_is_not_in_force(opened, monkeypatch):
    kept = opened[0]()
    kept.add("m", "1.0.0", learnt(), author="a", origin="upload")

    def full(self, body):
        raise StorageFailed("disk full")

    monkeypatch.setattr("streamb.store.files.JsonFile.save", full)
    with pytest.raises(StorageFailed):
        kept.add("m", "1.0.0", learnt(1), author="a", origin="upload")
    assert kept.active("m", "1.0.0") == learnt()


def test_wrong_columns_are_refused_by_name():
    check_columns(["b", "a"], ["a", "b"], what="m 1.0.0")
    with pytest.raises(InvalidFeatures, match=r"missing: 'age'; unknown: 'größe'") as caught:
        check_columns(["größe"], ["age"], what="m 1.0.0")
    assert caught.value.details["problems"] == ["age: missing", "größe: m 1.0.0 has no such feature"]
