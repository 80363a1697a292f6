"""One look: computes from the rules' results the next state of alerts and groups, and the notifications. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamb.monitoring.alerts.alert import ALERT_NAME, Alert
from streamb.monitoring.alerts.grouping import Group, Member, look
from streamb.monitoring.alerts.inhibition import inhibited
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.alerts.routing import AlertConfig, Grouping
from streamb.monitoring.alerts.silences import Silence
from streamb.monitoring.alerts.state import AlertPhase, AlertState, step

RESOLVED_KEPT_S: Final = 86_400.0
"""How long a resolved alert stays on the list."""
MOST_ALERTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Board:
    """The whole state of alerting.

    Attributes:
        states: all alerts that are not inactive, by fingerprint.
        groups: what each receiver was notified of, by the group's id.
        silences: all silences, by their id.
    """

    states: Mapping[str, AlertState]
    groups: Mapping[str, Group]
    silences: Mapping[str, Silence]

    def silenced_by(self, labels: Mapping[str, str], now: float) -> tuple[str, ...]:
        """Return the ids of the silences that mute an alert with these labels now."""
        return tuple(key for key, one in self.silences.items() if one.mutes(labels, now))


def decide(
    board: Board, alerts: Mapping[str, Alert], config: AlertConfig, now: float
) -> tuple[Board, tuple[Notification, ...]]:
    """Return the next board, and the notifications to send.

    Args:
        board: the state before this look.
        alerts: the results of the rules now, by fingerprint.
        config: the options of alerting.
        now: seconds since the epoch.
    """
    # If the clock was set back, times in the future would otherwise delay everything until the clock passes them.
    before = {key: state.not_after(now) for key, state in board.states.items()}
    states = _stepped(before, alerts, config, now)
    silences = {key: one for key, one in board.silences.items() if not one.forgotten(now)}
    board = Board(states, {key: group.not_after(now) for key, group in board.groups.items()}, silences)
    known, members = _gathered(board, config, now)
    ended = {key: state for key, state in states.items() if state.phase is AlertPhase.RESOLVED}
    groups: dict[str, Group] = {}
    notifications: list[Notification] = []
    for group_id, group in known.items():
        after, notification = look(group, members.get(group_id, {}), ended, config, _grouping_of(group, config), now)
        if notification is not None:
            notifications.append(notification)
        if not after.empty(now):
            groups[group_id] = after
    return Board(states, groups, silences), tuple(notifications)


def _stepped(
    before: Mapping[str, AlertState], alerts: Mapping[str, Alert], config: AlertConfig, now: float
) -> dict[str, AlertState]:
    """Every alert's next state, without those resolved a day ago, and of too many without the least severe."""
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
    """All groups, including new ones, and the firing alerts of each, by the group's id."""
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
    # A worse severity may take an alert off a route: its old receiver must not be notified that it is resolved.
    for group_id, group in board.groups.items():
        for key, told in group.told.items():
            if told.firing and key in firing:
                members.setdefault(group_id, {}).setdefault(key, firing[key])
    return groups, members


def _grouping_of(group: Group, config: AlertConfig) -> Grouping:
    """The grouping of the group's route, or the default if the route no longer exists."""
    routes = (route for route in config.routes if route.receiver == group.receiver)
    same = next((route for route in routes if route.group_key(group.labels) == group.key), None)
    return Grouping() if same is None else same.grouping
