"""What the gateways are told of keys: what each allows, and never an older state after a newer one."""

from __future__ import annotations

import threading

import pytest

from streamb.clock import ManualClock
from streamb.config import load_settings
from streamb.control.platform import PolicyDesk, gateway_policy
from streamb.errors import StorageFailed
from streamb.security.directory import Directory
from streamb.security.keys import KeyRing, digest
from streamb.security.permissions import ROLES, Permission, Role
from streamb.traffic import GatewayPolicy
from tests.store.memory import MemoryRecords


@pytest.fixture
def ring():
    clock = ManualClock(start=1_000.0)
    records = MemoryRecords(clock)
    directory = Directory(records, clock)
    directory.create("ci", "service", [Role.OPERATOR])
    directory.create("nobody", "person", [])
    return KeyRing(records, clock, directory)


@pytest.mark.parametrize("checked", [True, False])
def test_a_key_allows_what_its_principal_may_and_at_most_its_scopes(ring, tmp_path, checked):
    settings = load_settings(state_dir=tmp_path, enable_authorization=checked)
    whole, narrowed, for_some = (
        ring.create("ci")[0],
        ring.create("ci", scopes=["predict", "admin"])[0],
        ring.create("ci", models=["energy-*"], expires_at=1_060.0)[0],
    )
    useless = ring.create("nobody")[0]
    policy = gateway_policy(settings, ring, b"")
    assert (policy.check_permissions, policy.api_key_required) == (True, checked)
    told = {plain: policy.keys[digest(plain)] for plain in (whole, narrowed, for_some, useless)}
    assert told[whole].permissions == (ROLES[Role.OPERATOR] if checked else set(Permission))
    assert told[narrowed].permissions == {"predict"}
    assert told[for_some].permissions == ROLES[Role.OPERATOR]
    assert (told[for_some].models, told[for_some].expires_at) == (("energy-*",), 1_060.0)
    assert told[useless].permissions == (set() if checked else set(Permission))


def test_the_end_of_an_old_secret_is_told(ring, tmp_path):
    old, record = ring.create("ci", expires_at=2_000.0)
    new, _ = ring.rotate(record.key_id, grace_s=60)
    keys = gateway_policy(load_settings(state_dir=tmp_path), ring, b"").keys
    assert (keys[digest(old)].expires_at, keys[digest(new)].expires_at) == (1_060.0, 2_000.0)


def test_no_older_policy_is_published_after_a_newer_one():
    """Two changes at once: the one that read first must not publish last."""
    state, published, slow = [0], [], threading.Event()

    def make() -> GatewayPolicy:
        read = state[0]
        if read == 1:
            slow.wait(10)
        return GatewayPolicy(keys_last_s=float(read))

    desk = PolicyDesk(make)
    desk.publish = lambda policy: published.append(policy.keys_last_s)
    state[0] = 1
    first = threading.Thread(target=desk.changed)
    first.start()
    state[0] = 2
    second = threading.Thread(target=desk.changed)
    second.start()
    slow.set()
    first.join(10)
    second.join(10)
    assert published == sorted(published)
    assert published[-1] == 2.0


def test_what_could_not_be_published_is_published_later(caplog):
    fails, published = [True], []

    def publish(policy: GatewayPolicy) -> None:
        if fails[0]:
            raise StorageFailed("locked")
        published.append(policy)

    desk = PolicyDesk(GatewayPolicy)
    desk.changed()  # before there is anything to tell
    desk.publish = publish
    desk.changed()
    assert "stored, but not published" in caplog.text
    with pytest.raises(StorageFailed):
        desk.settle()
    fails[0] = False
    desk.settle()
    desk.settle()
    assert len(published) == 1
