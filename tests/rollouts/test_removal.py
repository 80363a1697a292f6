"""A version is deleted only if no traffic needs it, also while it is being deployed by somebody else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamb.errors import Conflict, NotFound
from streamb.registry import Artifact
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House


def delete(house: House, version: str = "1.0.0"):
    return house.rollouts.delete_version("m", version, "ada")


def serving(house: House) -> str:
    house.serve("1.0.0")
    return "it serves"


def kept_warm(house: House) -> str:
    house.serve("1.0.0")
    house.until(house.create("2.0.0", Strategy.BLUE_GREEN, step_seconds=1, hold_seconds=1000).id, "completed")
    return "it is kept warm"


def target(house: House) -> str:
    house.serve("2.0.0")
    return house.create("1.0.0", Strategy.CANARY, approval_required=True).id


def replaced_by_a_deployment_under_way(house: House) -> str:
    house.serve("1.0.0")
    return house.create("2.0.0", Strategy.CANARY, approval_required=True).id


def returned_to(house: House) -> str:
    house.serve("1.0.0")
    second = house.serve("2.0.0")
    house.settle(10)
    house.rollouts.rollback(second.id, "ada")
    return second.id


def leaving(house: House) -> str:
    house.serve("1.0.0")
    house.rollouts.undeploy("m", "ada")
    return "it is being undeployed"


@pytest.mark.parametrize(
    "story", [serving, kept_warm, target, replaced_by_a_deployment_under_way, returned_to, leaving]
)
def test_a_version_that_is_needed_is_not_deleted_and_the_refusal_says_by_what(house, story):
    what = story(house)
    for _ in range(2):
        with pytest.raises(Conflict, match=what) as refused:
            delete(house)
        assert any(what in reference for reference in refused.value.details["references"])
        house.restart()
    assert house.registry.get_version("m", "1.0.0").version == "1.0.0"


def test_when_nothing_needs_it_any_more_it_is_deleted(house):
    house.serve("1.0.0")
    with pytest.raises(Conflict):
        delete(house)
    house.rollouts.undeploy("m", "ada")
    house.settle(10)
    assert delete(house).version == "1.0.0"
    with pytest.raises(NotFound):
        house.create("1.0.0")
    with pytest.raises(NotFound):
        delete(house)


def test_every_reason_is_named_at_once(house):
    house.serve("1.0.0")
    house.registry.set_alias("m", "champion", "1.0.0")
    with pytest.raises(Conflict, match=r"it serves.*the alias 'champion'") as refused:
        delete(house)
    assert len(refused.value.details["references"]) == 2


def test_a_rollback_to_a_version_that_was_deleted_is_refused(house):
    house.serve("1.0.0")
    second = house.serve("2.0.0")
    house.settle(10)
    delete(house)
    with pytest.raises(Conflict, match=r"1\.0\.0 was deleted; name another"):
        house.rollouts.rollback(second.id, "ada")
    with pytest.raises(NotFound):
        house.rollouts.rollback(second.id, "ada", to_version="1.0.0")
    assert house.serving() == "2.0.0"


def test_what_is_registered_again_runs_from_its_new_blob(house):
    first = house.serve("1.0.0")
    house.serve("2.0.0")
    house.settle(10)
    gone = delete(house)
    again = Artifact(gone.digest, "another-blob", 1, "scikit-learn", "other", {}, carries_code=False)
    house.registry.register_version("m", "1.0.0", again)
    third = house.serve("1.0.0")
    assert (house.runtime.specs[first.app].blob, house.runtime.specs[third.app].blob) == (gone.blob, "another-blob")


@pytest.mark.parametrize("order", ["create", "rollback"])
def test_of_a_deletion_and_a_deployment_at_once_one_wins(order):
    for attempt in range(30):
        house = House()
        house.serve("1.0.0")
        second = house.serve("2.0.0")
        house.settle(10)
        barrier = threading.Barrier(2)

        def use(house=house, second=second, barrier=barrier) -> Any:
            barrier.wait(10)
            if order == "create":
                return house.create("1.0.0", Strategy.CANARY)
            return house.rollouts.rollback(second.id, "ada", to_version="1.0.0")

        def remove(house=house, barrier=barrier) -> Any:
            barrier.wait(10)
            return delete(house)

        with ThreadPoolExecutor(2) as pool:
            acts = [use, remove] if attempt % 2 else [remove, use]
            futures = {act: pool.submit(act) for act in acts}
        failed = {act.__name__: futures[act].exception() for act in acts if futures[act].exception() is not None}
        assert len(failed) == 1, failed
        ((loser, error),) = failed.items()
        assert isinstance(error, Conflict if loser == "remove" else NotFound), error
        house.settle(30)  # what was accepted goes on without trouble
        assert (house.registry.known("m", "1.0.0") in house.registry.list_versions("m").items) == (loser == "remove")
