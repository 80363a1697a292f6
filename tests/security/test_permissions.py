"""The tables of permissions and roles are complete and agree with the settings."""

import pytest

from streamb.clock import ManualClock
from streamb.config.addresses import ROLE_NAMES
from streamb.errors import InvalidInput
from streamb.security.directory import Directory
from streamb.security.permissions import CONSOLE, GATEWAY, MEANINGS, ROLES, Permission, Role
from tests.store.memory import memory_database


def test_the_settings_know_every_role():
    assert tuple(Role) == ROLE_NAMES


def test_every_permission_has_a_meaning_and_every_role_its_permissions():
    assert set(MEANINGS) == set(Permission)
    assert set(ROLES) == set(Role)


def test_only_an_administrator_may_everything():
    assert [role for role in Role if ROLES[role] == frozenset(Permission)] == [Role.ADMIN]


def test_no_role_both_deploys_and_approves_but_the_administrator():
    both = {Permission.DEPLOY, Permission.APPROVE}
    assert [role for role in Role if both <= ROLES[role]] == [Role.ADMIN]


@pytest.mark.parametrize("needed", [*CONSOLE.values(), *GATEWAY.values()], ids=str)
def test_what_is_needed_are_permissions(needed):
    assert set(needed) <= set(Permission)


@pytest.mark.parametrize(
    "name", ["anonymous", "Anonymous", "controller", "CONTROLLER", "monitor", "system", "job:job-1"]
)
def test_nobody_is_called_what_the_history_calls_the_platform(name):
    """What somebody of that name does would look like the platform's own doing, or like nobody's, or like a job's."""
    clock = ManualClock()
    directory = Directory(memory_database(clock).records, clock)
    with pytest.raises(InvalidInput):
        directory.create(name, "person", ["admin"])
