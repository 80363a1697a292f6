"""A deployment that waits longer than it should says for what; one that waits for people does not."""

import dataclasses

import pytest

from streamb.rollouts.deployment import Deployment, DeploymentState, Phase, stuck
from streamb.rollouts.evidence import Limits
from tests.rollouts.test_decide import canary

LIMITS = Limits(start_s=60, acknowledge_s=10)


def at(phase: Phase, state: str = "progressing") -> Deployment:
    return canary(phase, state=DeploymentState(state), phase_since=1000.0, back_to="0.8.0")


@pytest.mark.parametrize(
    ("phase", "after", "said"),
    [
        (Phase.GATE, 31, "nothing has begun for 31 s"),
        (Phase.CAPACITY, 91, "version 1.0.0 has not started for 91 s"),
        (Phase.RESTORE, 91, "version 0.8.0 has not started for 91 s"),
        (Phase.SHIFT, 41, "the gateways have not taken the present table for 41 s"),
        (Phase.REVERT, 11, "a gateway has not taken the present table for 11 s"),
        (Phase.OBSERVE, 91, "it is watched at 10 % for 91 s"),
    ],
)
def test_every_phase_has_its_time(phase, after, said):
    assert stuck(at(phase), 1000.0 + after, LIMITS) == said
    assert stuck(at(phase), 1000.0 + after - 1, LIMITS) == ""


@pytest.mark.parametrize("state", ["paused", "awaiting_approval", "completed", "failed"])
@pytest.mark.parametrize("phase", [*Phase])
def test_who_waits_for_people_or_has_ended_is_not_stuck(state, phase):
    assert stuck(at(phase, state), 1e9, LIMITS) == ""


def test_when_an_approval_comes_too_late():
    waiting = at(Phase.OBSERVE, "awaiting_approval")
    assert waiting.approval_expires_at == 1000.0 + 86_400
    assert dataclasses.replace(waiting, state=DeploymentState.PAUSED).approval_expires_at is None
