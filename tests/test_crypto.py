"""Signatures: what verifies, what never does, and that a key file is made once and kept private."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.crypto import PublicKey, Signature, SigningKey
from streamb.errors import ConfigError, StorageFailed


def test_a_key_verifies_its_own_signature_and_no_other():
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"digest")
    assert key.public.verify(b"digest", signature)
    assert not key.public.verify(b"digest!", signature)
    assert not other.public.verify(b"digest", signature)
    assert not other.public.verify(b"digest", Signature(other.public.key_id, signature.value))


KEY = SigningKey.generate()


@settings(deadline=None)
@given(data=st.binary(max_size=64), bit=st.integers(0, 64 * 8 - 1))
def test_one_flipped_bit_spoils_a_signature(data, bit):
    signature = KEY.sign(data)
    value = bytearray(signature.value)
    value[bit // 8] ^= 1 << bit % 8
    assert not KEY.public.verify(data, Signature(signature.key_id, bytes(value)))


def test_a_signature_comes_back_from_its_json_form():
    signature = KEY.sign(b"x")
    assert Signature.from_json(signature.to_json()) == signature
    assert PublicKey(KEY.public.raw) == KEY.public
    assert len(KEY.public.key_id) == 16


@pytest.mark.parametrize("raw", [b"", b"AAAA", bytes(33)])
def test_bytes_that_are_no_public_key_are_refused(raw):
    with pytest.raises(ConfigError):
        PublicKey(raw)


@pytest.mark.parametrize("body", [None, [], {}, {"scheme": "rsa"}, {"scheme": "ed25519", "key_id": "k", "value": "*"},
                                  {"scheme": "ed25519", "key_id": "k", "value": "AAAA"},
                                  {"scheme": "ed25519", "key_id": "k", "value": 7}])  # fmt: skip
def test_json_that_is_no_signature_is_refused(body):
    with pytest.raises(ValueError):
        Signature.from_json(body)


def test_the_key_file_is_made_once_private_and_read_again(tmp_path):
    path = tmp_path / "keys" / "signing.pem"
    first = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).public == first.public
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.pem"]


def test_many_starters_at_once_agree_on_one_key(tmp_path):
    path = tmp_path / "signing.pem"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: SigningKey.load_or_create(path).public, range(32)))
    assert len(set(keys)) == 1


def test_a_spoiled_or_unreadable_key_file_says_what_to_do(tmp_path):
    path = tmp_path / "signing.pem"
    path.write_bytes(b"not a key")
    with pytest.raises(ConfigError, match="restore it or remove it"):
        SigningKey.load_or_create(path)
    with pytest.raises(StorageFailed):
        SigningKey.load_or_create(tmp_path / "signing.pem" / "below-a-file")
