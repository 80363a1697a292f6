"""The life of an alert, step by step and for any sequence of looks."""

from __future__ import annotations

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.monitoring.alerts.state import ALERT_LIFE, FLAP_CALM_S, AlertPhase, AlertState, Policy, step
from streamb.store.plain import from_plain, to_plain
from tests.monitoring.alerts.incidents import alert

POLICY = Policy(for_s=60, keep_firing_s=120, calm_looks=3, resolve_timeout_s=300)


def life(looks: str, policy: Policy = POLICY, every: float = 30.0) -> str:
    """The phases (i, p, f, r) after looks: a(ctive), b(and), c(lear), - (no rule says anything)."""
    names = {"a": "active", "b": "band", "c": "clear"}
    state, out = None, ""
    for number, look in enumerate(looks):
        state = step(state, alert(names[look]) if look in names else None, policy, number * every)
        out += "i" if state is None else state.phase[0]
    return out


class TestLife:
    def test_fires_after_for_and_not_before(self):
        assert life("aaaa") == "ppff"

    def test_a_break_starts_the_wait_anew(self):
        assert life("aacaaa") == "ppippf"
        assert life("aabaaa") == "ppippf"

    def test_without_for_it_fires_at_once(self):
        assert life("a", Policy(for_s=0)) == "f"

    def test_is_resolved_after_calm_looks_and_keep_firing(self):
        assert life("aaacccc") == "ppffffr"  # three clear looks are there at 90 s, but not two minutes of calm
        assert life("aaaccc", Policy(for_s=60, keep_firing_s=0, calm_looks=3)) == "ppfffr"

    def test_the_band_between_keeps_it_firing(self):
        assert life("aaabbbbbbbbbb") == "pp" + "f" * 11
        assert life("aaaccbcccc") == "pp" + "f" * 7 + "r"

    def test_an_alert_of_which_nothing_is_said_stays_for_a_while(self):
        assert life("aaa" + "-" * 10) == "pp" + "f" * 10 + "r"
        assert life("aa" + "-" * 10) == "p" * 11 + "i"

    def test_a_pending_alert_that_nobody_looked_at_for_long_starts_anew(self):
        pending = step(None, alert(), POLICY, 0.0)
        again = step(pending, alert(), POLICY, 1_000.0)
        assert again is not None
        assert (again.phase, again.active_since) == (AlertPhase.PENDING, 1_000.0)

    def test_fires_again_after_it_was_resolved(self):
        assert life("aaacccc" + "aaa") == "ppffffr" + "ppf"

    def test_severity_only_rises_within_an_incident(self):
        state = None
        for number, severity in enumerate(("low", "critical", "medium")):
            state = step(state, alert(severity=severity), Policy(), float(number))
        assert state is not None
        assert state.severity == "critical"

    def test_flapping_needs_a_calm_hour(self):
        quick = Policy(for_s=0, keep_firing_s=0, calm_looks=1)
        assert life("acacacccc", quick).startswith("frfrff")
        calm_looks = int(FLAP_CALM_S / 30)
        assert life("acac" + "a" + "c" * calm_looks, quick)[-2:] == "fr"

    def test_survives_the_store(self):
        state = step(step(None, alert(), POLICY, 0.0), alert(), POLICY, 90.0)
        assert state is not None
        assert from_plain(AlertState, json.loads(json.dumps(to_plain(state)))) == state


LOOKS = st.lists(st.tuples(st.sampled_from(["active", "band", "clear", "none"]), st.floats(0, 200)), max_size=60)


@settings(max_examples=50)
@given(LOOKS, st.sampled_from([0.0, 60.0]), st.sampled_from([0.0, 120.0]), st.integers(1, 3))
def test_any_life_is_a_lawful_one(looks, for_s, keep_firing_s, calm_looks):
    policy = Policy(for_s, keep_firing_s, calm_looks)
    state, now, active_since, calm, unclear = None, 0.0, None, 0, 0.0
    for look, seconds in looks:
        now += seconds
        before = state
        state = step(before, None if look == "none" else alert(look), policy, now)
        was = before.phase if before else AlertPhase.INACTIVE
        phase = state.phase if state else AlertPhase.INACTIVE
        if look != "none":
            active_since = (now if active_since is None else active_since) if look == "active" else None
            calm = calm + 1 if look == "clear" else 0
            unclear = unclear if look == "clear" else now
        if phase is not was:
            hops = itertools.pairwise((was, AlertPhase.PENDING, phase))  # without `for` it passes through pending
            assert phase in ALERT_LIFE.allowed[was] or all(b in ALERT_LIFE.allowed[a] for a, b in hops)
        if phase is AlertPhase.FIRING and was is not AlertPhase.FIRING:
            assert look == "active"
            assert now - active_since >= for_s
        if phase is AlertPhase.RESOLVED and was is AlertPhase.FIRING and look != "none":
            assert calm >= calm_looks
            assert now - unclear >= keep_firing_s
        if phase is AlertPhase.PENDING:
            assert look in {"active", "none"}
        assert state is None or (state.ends_at is not None) == (phase is AlertPhase.RESOLVED)
