"""Any history of keys and principals, against a model of which plain keys are valid and what they allow."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamb.clock import ManualClock
from streamb.errors import Conflict, NotFound
from streamb.security.directory import Directory
from streamb.security.keys import KeyRing, digest, new_plaintext
from streamb.security.permissions import ROLES, Permission, Role
from streamb.security.principals import Principal
from streamb.traffic import KeyGrant
from tests.store.memory import MemoryRecords

NAMES = st.sampled_from(["ada", "bob", "ci"])
SETS = st.sets(st.sampled_from(Role), max_size=2)
SCOPES = st.none() | st.sets(st.sampled_from(Permission), min_size=1, max_size=3)


class KeyLife(RuleBasedStateMachine):
    """`keys`: for each plain key (id, name, scopes, end); None for the end of one that lasts."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock(start=1_000.0)
        self.records = MemoryRecords(self.clock)
        self.published = 0
        self.directory = Directory(self.records, self.clock, self._changed)
        self.ring = KeyRing(self.records, self.clock, self.directory, self._changed)
        self.roles: dict[str, set[Role]] = {}
        self.keys: dict[str, tuple[str, str, set[Permission] | None, float | None]] = {}
        self.told = {}

    def _changed(self):
        self.told = dict(self.ring.allowed())

    @rule(name=NAMES, roles=SETS)
    def add(self, name, roles):
        if name not in self.roles:
            self.directory.create(name, "person", roles)
            self.roles[name] = roles

    @precondition(lambda self: self.roles)
    @rule(data=st.data(), roles=SETS)
    def change_roles(self, data, roles):
        name = data.draw(st.sampled_from(sorted(self.roles)))
        self.directory.set_roles(name, roles)
        self.roles[name] = roles

    @rule(name=NAMES)
    def remove(self, name):
        with suppress(NotFound):
            self.directory.remove(name)
        self.roles.pop(name, None)
        self.keys = {plain: key for plain, key in self.keys.items() if key[1] != name}

    @precondition(lambda self: self.roles)
    @rule(data=st.data(), scopes=SCOPES, lasts_s=st.none() | st.integers(1, 50))
    def create(self, data, scopes, lasts_s):
        name = data.draw(st.sampled_from(sorted(self.roles)))
        end = None if lasts_s is None else self.clock.now() + lasts_s
        plain, record = self.ring.create(name, scopes, expires_at=end)
        self.keys[plain] = (record.key_id, name, scopes, end)

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), grace_s=st.integers(0, 50))
    def rotate(self, data, grace_s):
        key_id, name, scopes, _ = self.keys[data.draw(st.sampled_from(sorted(self.keys)))]
        if key_id not in {one.key_id for one in self.ring.list()}:
            return
        whole = self.ring.get(key_id).expires_at
        if whole is not None and self.clock.now() >= whole:
            with pytest.raises(Conflict):
                self.ring.rotate(key_id, grace_s)
            return
        newest = self.ring.get(key_id).secrets[0].digest
        plain, _ = self.ring.rotate(key_id, grace_s)
        for old in [one for one, key in self.keys.items() if key[0] == key_id]:
            if digest(old) != newest or not grace_s:
                del self.keys[old]
            else:
                until = self.clock.now() + grace_s
                self.keys[old] = (key_id, name, scopes, until if whole is None else min(until, whole))
        self.keys[plain] = (key_id, name, scopes, whole)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def revoke(self, data):
        key_id = self.keys[data.draw(st.sampled_from(sorted(self.keys)))][0]
        with suppress(NotFound, Conflict):
            self.ring.revoke(key_id)
        self.keys = {plain: key for plain, key in self.keys.items() if key[0] != key_id}
        self.ring.used({key_id: self.clock.now()})  # a gateway's report, which was under way

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.ring.write_uses()

    @rule()
    def start_again(self):
        self.directory = Directory(self.records, self.clock, self._changed)
        self.ring = KeyRing(self.records, self.clock, self.directory, self._changed)

    @invariant()
    def valid_keys_and_no_others_are_accepted(self):
        now = self.clock.now()
        valid = {plain: key for plain, key in self.keys.items() if key[3] is None or now < key[3]}
        for plain, (key_id, name, scopes, _) in self.keys.items():
            may = frozenset().union(*(ROLES[role] for role in self.roles[name]))
            found = self.ring.check(plain)
            if plain in valid:
                assert (found.name, found.key_id) == (name, key_id)
                assert found.permissions == (may if scopes is None else may & scopes)
            else:
                assert found is None
        assert set(self.ring.allowed()) == {digest(plain) for plain in valid}
        assert self.ring.check(new_plaintext()) is None
        assert set(self.ring.allowed()) <= set(self.told), "what gateways were told has all of them"
        assert len({key[0] for key in valid.values()}) * 2 >= len(valid), "no key has three secrets"


KeyLife.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestKeyLife = KeyLife.TestCase

PATTERNS = st.lists(st.text("ab*?[]!-.", min_size=1, max_size=6), min_size=1, max_size=3)


@given(PATTERNS, st.text("abAB-.", min_size=1, max_size=6))
def test_both_doors_read_patterns_in_the_same_way(patterns, model_id):
    models = tuple(patterns)
    grant = KeyGrant("k", "p", frozenset(), models)
    assert grant.covers(model_id) == Principal("p", frozenset(), models=models).covers(model_id)
