"""What a platform needs and whether it fits: arithmetic, and words that people can act on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.config import load_settings
from streamb.control.sizing import PLATFORM_MB, PROCESS_MB, Need, Room, Share, refusal, shortages
from streamb.rollouts.runtime import Resources


def need(*shares: Share, gateways: int = 1) -> Need:
    return Need(shares, gateways, 1, 0.1, 5)


def test_five_models_of_production_are_what_was_measured():
    settings = load_settings(environment="production", host="127.0.0.1")
    found = Need.of(settings, [Share(f"m{number} 1.0.0", settings.min_instances) for number in range(5)])
    assert found.replicas == 25
    assert found.memory_mb == PLATFORM_MB + (25 + 1) * PROCESS_MB
    assert 0.6 < found.cores_at_rest < 1.0
    assert found.cpus == 2.5


def test_the_size_that_a_trial_measured_counts_and_an_unknown_one_is_named():
    found = need(Share("big 1.0.0", 2, 4_000.0), Share("small 1.0.0", 2, 90.0), Share("odd 1.0.0", 2))
    assert found.memory_mb == PLATFORM_MB + 8_000 + 4 * PROCESS_MB, "a process takes what it takes, however small"
    assert found.unknown == ["odd 1.0.0"]
    assert "the size of odd 1.0.0 is unknown" in found.words()
    assert "unknown" not in need(Share("big 1.0.0", 2, 4_000.0)).words()


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (Room("here", memory_mb=16_000, cpus=8, cores=4), []),
        (Room("here", memory_mb=2_000, cpus=8, cores=4), ["memory: 3.2 GB are needed and 2.0 GB are there"]),
        (Room("here", memory_mb=16_000, cpus=0.9, cores=4), ["CPUs: 1 are reserved and 0.9 are there"]),
        (Room("here", memory_mb=16_000, cpus=8, cores=0.5), ["at rest 0.4 of 0.5 cores would be busy"]),
    ],
)
def test_what_is_not_enough_is_said_in_numbers(room, words):
    found = need(Share("m 1.0.0", 10, 100.0))
    assert shortages(found, room) == words
    told = refusal(found, room, "--yes")
    assert bool(told) is bool(words)
    for part in (*words, *(["ML_MIN_INSTANCES", "ML_GATEWAY_REPLICAS", "--yes goes on"] if words else [])):
        assert part in told


def test_what_deployments_reserve_counts_and_is_named():
    shares = (Share("big 1.0.0", 2, 100.0, Resources(3.0, 4_000, 0.5)), Share("small 1.0.0", 5, 100.0))
    found = need(*shares)
    assert (found.cpus, found.gpus) == (6.5, 1.0)
    assert found.memory_mb == PLATFORM_MB + 8_000 + 5 * PROCESS_MB
    assert "6.5 CPUs and 1 GPUs reserved" in found.words()
    assert "GPU" not in need(shares[1]).words()
    assert need(Share("odd 1.0.0", 1, None, Resources(memory_mb=10))).unknown == []
    room = Room("here", memory_mb=9_000, cpus=6, gpus=0)
    assert shortages(found, room) == [
        "memory: 10.3 GB are needed and 9.0 GB are there",
        "CPUs: 6.5 are reserved and 6 are there",
        "GPUs: 1 are reserved and 0 are there",
    ]
    assert "resources of the deployment" in refusal(found, room, "--yes")
    assert found.facts(room)["gpus"] == 1.0


@given(st.integers(0, 10_000), st.floats(0, 1e6) | st.none())
def test_where_it_is_not_known_what_there_is_nothing_is_refused(replicas, memory):
    assert refusal(need(Share("m 1.0.0", replicas, memory)), Room("somewhere"), "--yes") == ""


@given(st.integers(0, 100), st.floats(0, 1e5), st.floats(1, 1e6))
def test_more_replicas_never_fit_better(replicas, memory, there):
    room = Room("here", memory_mb=there)
    few, more = need(Share("m", replicas, memory)), need(Share("m", replicas + 1, memory))
    assert len(shortages(few, room)) <= len(shortages(more, room))
