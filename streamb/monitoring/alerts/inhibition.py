"""Inhibition: a firing alert mutes less severe ones that concern the same thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamb.monitoring.alerts.matchers import Matcher, matches_all
from streamb.monitoring.alerts.state import AlertState


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert that matches `source` fires, alerts that match `target` are muted.

    Attributes:
        source: conditions on the alert that mutes.
        target: conditions on the alerts that are muted.
        equal: names of labels whose values must be equal in both; a missing label has the value "".
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def mutes(self, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
        """Return whether an alert with the labels `source` mutes one with the labels `target`."""
        if not (matches_all(self.source, source) and matches_all(self.target, target)):
            return False
        # As in Alertmanager: two alerts that match both sides would mute each other, and neither would be sent.
        if matches_all(self.target, source) and matches_all(self.source, target):
            return False
        return all(source.get(name, "") == target.get(name, "") for name in self.equal)


def inhibited(states: Mapping[str, AlertState], rules: Iterable[Inhibition]) -> dict[str, str]:
    """Return the firing alerts that others mute: fingerprint of the muted alert -> of the one that mutes it."""
    firing = {key: state for key, state in states.items() if state.firing}
    muted: dict[str, str] = {}
    for rule in rules:
        sources = [(key, state.labels) for key, state in firing.items() if matches_all(rule.source, state.labels)]
        if not sources:
            continue
        for target, state in firing.items():
            by = next((key for key, labels in sources if key != target and rule.mutes(labels, state.labels)), None)
            if by is not None:
                muted.setdefault(target, by)
    return muted
