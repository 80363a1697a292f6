"""The platform key: one for all processes of a state directory, never in Ray's hands."""

from __future__ import annotations

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import ConfigError, StorageFailed
from streamb.security.platform_key import PlatformKey


def test_all_processes_of_a_state_directory_have_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(PlatformKey.create, [tmp_path] * 32))
    keys.append(PlatformKey.load(tmp_path))
    assert len({key.link_secret("r1") for key in keys}) == 1
    assert stat.S_IMODE((tmp_path / "keys" / "platform.key").stat().st_mode) == 0o600


def test_each_replica_and_each_platform_has_a_secret_of_its_own(tmp_path):
    keys = [PlatformKey.create(tmp_path / name) for name in "ab"]
    secrets = {key.link_secret(replica) for key in keys for replica in ("r1", "r2", "")}
    assert len(secrets) == 6
    assert {len(secret) for secret in secrets} == {32}


def test_a_key_that_is_not_there(tmp_path):
    with pytest.raises(StorageFailed, match="on every node"):
        PlatformKey.load(tmp_path)


def test_a_file_that_holds_no_key(tmp_path):
    PlatformKey.create(tmp_path)
    (tmp_path / "keys" / "platform.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="does not hold a platform key"):
        PlatformKey.create(tmp_path)


@given(secret=st.binary(max_size=100))
def test_what_is_sealed_can_be_opened_and_does_not_show(secret):
    key = PlatformKey(bytes(32))
    sealed = key.seal(secret)
    assert key.open(sealed) == secret
    assert key.seal(secret) == sealed
    assert len(secret) < 4 or secret not in sealed


@given(secret=st.binary(min_size=1, max_size=40), place=st.integers(0, 1_000), bit=st.integers(0, 7))
def test_what_was_changed_or_sealed_by_another_is_refused(secret, place, bit):
    sealed = bytearray(PlatformKey(bytes(32)).seal(secret))
    with pytest.raises(ConfigError, match="another platform key"):
        PlatformKey(bytes(31) + b"1").open(bytes(sealed))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises(ConfigError, match="another platform key"):
        PlatformKey(bytes(32)).open(bytes(sealed))


def test_it_does_not_leave_its_process():
    with pytest.raises(TypeError, match="must not leave"):
        pickle.dumps(PlatformKey(bytes(32)))
