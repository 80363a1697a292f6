"""One look at everything: what rules say now, into what alerts and groups become and who is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamb.monitoring.alerts.alert import ALERT_NAME, Alert
from streamb.monitoring.alerts.grouping import Group, Member, Rules, look
from streamb.monitoring.alerts.inhibition import inhibited
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.alerts.routing import AlertConfig, Grouping
from streamb.monitoring.alerts.silences import Silence
from streamb.monitoring.alerts.state import AlertPhase, AlertState, step

RESOLVED_KEPT_S: Final = 86_400.0
"""How long an alert that is over stays on the list."""
MOST_ALERTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Board:
    """All that alerting knows.

    Attributes:
        states: alerts that are not inactive, by fingerprint.
        groups: what receivers were told, by the group's id.
        silences: by their id.
    """

    states: Mapping[str, AlertState]
    groups: Mapping[str, Group]
    silences: Mapping[str, Silence]

    def silenced_by(self, labels: Mapping[str, str], now: float) -> tuple[str, ...]:
        """The silences that mute an alert with these labels now."""
        return tuple(key for key, one in self.silences.items() if one.mutes(labels, now))


def decide(
    board: Board, alerts: Mapping[str, Alert], config: AlertConfig, now: float
) -> tuple[Board, tuple[Notification, ...]]:
    """What the board becomes, and the notifications that follow.

    Args:
        board: as it was.
        alerts: what rules say now, by fingerprint.
        config: by which options.
        now: seconds since the epoch.
    """
    # Else a clock that was set back would have everything wait until it is as late again.
    before = {key: state.not_after(now) for key, state in board.states.items()}
    states = _stepped(before, alerts, config, now)
    silences = {key: one for key, one in board.silences.items() if not one.forgotten(now)}
    board = Board(states, {key: group.not_after(now) for key, group in board.groups.items()}, silences)
    known, members = _gathered(board, config, now)
    ended = {key: state for key, state in states.items() if state.phase is AlertPhase.RESOLVED}
    groups: dict[str, Group] = {}
    notifications: list[Notification] = []
    for group_id, group in known.items():
        rules = Rules(_grouping_of(group, config), config.most_per_hour, config.most_alerts, config.external_url)
        after, notification = look(group, members.get(group_id, {}), ended, rules, now)
        if notification is not None:
            notifications.append(notification)
        if not after.empty(now):
            groups[group_id] = after
    return Board(states, groups, silences), tuple(notifications)


def _stepped(
    before: Mapping[str, AlertState], alerts: Mapping[str, Alert], config: AlertConfig, now: float
) -> dict[str, AlertState]:
    """Every alert's next state; forgotten are those that have been over for a day, and the least of too many."""
    states: dict[str, AlertState] = {}
    for key in sorted(before.keys() | alerts.keys()):
        alert, state = alerts.get(key), before.get(key)
        labels = alert.labels if alert is not None else before[key].labels
        after = step(state, alert, config.policy(labels.get(ALERT_NAME, "")), now)
        if after is not None and (after.ends_at is None or now < after.ends_at + RESOLVED_KEPT_S):
            states[key] = after
    if len(states) <= MOST_ALERTS:
        return states
    ranked = sorted(states, key=lambda key: (not states[key].firing, -states[key].severity.rank, key))
    return {key: states[key] for key in ranked[:MOST_ALERTS]}


def _gathered(board: Board, config: AlertConfig, now: float) -> tuple[dict[str, Group], dict[str, dict[str, Member]]]:
    """All groups, new ones too, and by their ids the alerts that fire in each."""
    by_inhibition = inhibited(board.states, config.inhibitions)
    firing = {
        key: Member(state, key in by_inhibition or bool(board.silenced_by(state.labels, now)))
        for key, state in board.states.items()
        if state.firing
    }
    groups = dict(board.groups)
    members: dict[str, dict[str, Member]] = {}
    for key, member in firing.items():
        for route in config.routes_of(member.state.labels):
            labels = route.group_labels(member.state.labels)
            group = Group(route.receiver, route.group_key(labels), labels)
            groups.setdefault(group.group_id, group)
            members.setdefault(group.group_id, {})[key] = member
    # An alert that got worse may have left a route: whoever was told of it there is not told that it is over.
    for group_id, group in board.groups.items():
        for key, told in group.told.items():
            if told.firing and key in firing:
                members.setdefault(group_id, {}).setdefault(key, firing[key])
    return groups, members


def _grouping_of(group: Group, config: AlertConfig) -> Grouping:
    """How a group is told; as usual where its route is gone."""
    routes = (route for route in config.routes if route.receiver == group.receiver)
    same = next((route for route in routes if route.group_key(group.labels) == group.key), None)
    return Grouping() if same is None else same.grouping
