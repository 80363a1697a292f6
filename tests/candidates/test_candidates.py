"""Every candidate of the zoo on a running platform: its end, its reason, whom it hurt, and what it leaves behind."""

import pytest

from streamb import ProductionMLManager
from tests.candidates.harness import Harness
from tests.candidates.results import keep, table
from tests.candidates.zoo import ZOO

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def harness(platform, ray_cluster, state_dir):
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        yield Harness(platform, manager)


def tried(quick: bool) -> list:
    return [pytest.param(one, id=one.name) for one in ZOO if one.quick == quick]


@pytest.mark.parametrize("candidate", tried(quick=True))
def test_one_of_each_kind_ends_as_it_must(harness, candidate):
    outcome = harness.run(candidate)
    keep(outcome, candidate)
    assert not outcome.complaints(candidate), outcome


@pytest.mark.soak
@pytest.mark.parametrize("candidate", tried(quick=False))
def test_every_other_ends_as_it_must(harness, candidate):
    outcome = harness.run(candidate)
    keep(outcome, candidate)
    assert not outcome.complaints(candidate), outcome


def test_the_table_of_what_became_of_them(capsys):
    with capsys.disabled():
        print(f"\n{table()}")
