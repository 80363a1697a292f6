"""Groups: alerts that one receiver is notified of together, and when. Pure.

A group waits `wait_s` for alerts that start together, sends at most one notification every `interval_s`, and repeats
it after `repeat_s` while any alert fires (Alertmanager's group_wait, group_interval, repeat_interval). It remembers
what its receiver was told about each alert: nothing is sent twice, and a firing alert that was sent is also sent as
resolved, silenced or not.
Unlike Alertmanager, a group sends at most `most_per_hour` changes of one alert within an hour, unless the alert gets
worse. Later changes wait; then the state at that time is sent, if it differs from what the receiver was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from streamb.monitoring.alerts.alert import ALERT_NAME, Severity, worst
from streamb.monitoring.alerts.catalog import is_information
from streamb.monitoring.alerts.notification import (
    FIRING,
    RESOLVED,
    Notification,
    NotifiedAlert,
    common,
    digest_of,
)
from streamb.monitoring.alerts.routing import AlertConfig, Grouping
from streamb.monitoring.alerts.state import AlertState

_HOUR_S: Final = 3_600.0
FLAPPING: Final = "flapping"


class Told(NamedTuple):
    """What a receiver was told about one alert; stored as a list of these four fields.

    Attributes:
        firing: the receiver was told that the alert fires, and not yet that it is resolved.
        severity: the worst severity that was sent within the last hour.
        state: the alert as it was last sent; kept to send its end if the alert itself is forgotten.
        sent: the times at which it was sent, within the last hour.
    """

    firing: bool
    severity: Severity
    state: AlertState
    sent: tuple[float, ...] = ()

    def recent(self, now: float) -> tuple[float, ...]:
        """Return the times at which the alert was sent within the hour before `now`."""
        return tuple(at for at in self.sent if at > now - _HOUR_S)


@dataclass(frozen=True, slots=True)
class Group:
    """One receiver's view of the alerts of a group. Times are seconds since the epoch.

    Attributes:
        receiver: the name of a channel.
        key: the group's name within its receiver.
        labels: the labels that all its alerts share, by which they were grouped.
        waiting_since: when the first alert came that was not sent yet; None if there is no such alert.
        told_at: when the last notification was created; None before the first one.
        dedup_key: identifies the open incident; "" if no incident is open.
        sequence: the number of notifications so far.
        told: what the receiver was told about each alert, by fingerprint.
    """

    receiver: str
    key: str
    labels: Mapping[str, str]
    waiting_since: float | None = None
    told_at: float | None = None
    dedup_key: str = ""
    sequence: int = 0
    told: Mapping[str, Told] = field(default_factory=dict)

    @property
    def group_id(self) -> str:
        """The group's key in the store."""
        return digest_of(self.receiver, self.key)

    def not_after(self, now: float) -> Group:
        """Return a copy whose times are at most `now`: a clock that was set back leaves later ones behind."""
        times = [self.waiting_since or 0.0, self.told_at or 0.0, *(at for one in self.told.values() for at in one.sent)]
        if max(times) <= now:
            return self
        return replace(
            self,
            waiting_since=None if self.waiting_since is None else min(self.waiting_since, now),
            told_at=None if self.told_at is None else min(self.told_at, now),
            told={key: one._replace(sent=tuple(min(at, now) for at in one.sent)) for key, one in self.told.items()},
        )

    def empty(self, now: float) -> bool:
        """Return whether the group can be forgotten: nothing open, waiting or sent within the last hour."""
        quiet = self.told_at is None or now >= self.told_at + _HOUR_S
        return quiet and self.waiting_since is None and not self.told and not self.dedup_key


@dataclass(frozen=True, slots=True)
class Member:
    """A firing alert of a group; a muted one causes no notification."""

    state: AlertState
    muted: bool


@dataclass(frozen=True, slots=True)
class _News:
    """What the receiver was not told yet: fingerprints of alerts that are new, got worse, or are resolved."""

    fresh: frozenset[str]
    worse: frozenset[str]
    over: frozenset[str]


def look(
    group: Group,
    members: Mapping[str, Member],
    ended: Mapping[str, AlertState],
    config: AlertConfig,
    grouping: Grouping,
    now: float,
) -> tuple[Group, Notification | None]:
    """Return the group's next state, and the notification to send now (None if there is nothing to send).

    Args:
        group: the group before this look.
        members: its alerts that fire now, by fingerprint.
        ended: resolved alerts, by fingerprint; an alert in neither mapping was forgotten, and ends now.
        config: how much the group sends.
        grouping: when it sends.
        now: seconds since the epoch.
    """
    news = _news(group, members)
    quiet = frozenset(key for key in news.over if not grouping.send_resolved or _needs_nobody(group, key))
    if quiet:
        group, news = _closed_silently(group, news, quiet)
    waiting = now if group.waiting_since is None else group.waiting_since
    group = replace(
        group,
        waiting_since=waiting if news.fresh and not group.dedup_key else None,
        told=_remembered(group.told, now),
    )
    changed = news.fresh | news.over
    causes = news.worse | {key for key in changed if _has_room(group, members, key, config, now)}
    repeats = _repeats(group, members, grouping, now)
    if not (causes or repeats) or not _is_time(group, members, causes, grouping, now):
        return group, None
    firing = {key: one.state for key, one in members.items() if not one.muted or _knows(group, key)}
    over = {key: ended.get(key) or replace(group.told[key].state, ends_at=now) for key in news.over}
    return _telling(group, firing, over, changed | (firing.keys() if repeats else set()), config, now)


def _news(group: Group, members: Mapping[str, Member]) -> _News:
    audible = {key: one.state for key, one in members.items() if not one.muted}
    known = {key for key, told in group.told.items() if told.firing}
    return _News(
        fresh=frozenset(audible.keys() - known),
        worse=frozenset(k for k in audible.keys() & known if audible[k].severity.rank > group.told[k].severity.rank),
        over=frozenset(known - members.keys()),
    )


def _needs_nobody(group: Group, key: str) -> bool:
    return is_information(group.told[key].state.labels.get(ALERT_NAME, ""))


def _closed_silently(group: Group, news: _News, quiet: frozenset[str]) -> tuple[Group, _News]:
    told = {key: one._replace(firing=False) if key in quiet else one for key, one in group.told.items()}
    still = any(one.firing for one in told.values())
    group = replace(group, told=told, dedup_key=group.dedup_key if still else "")
    return group, replace(news, over=news.over - quiet)


def _remembered(told: Mapping[str, Told], now: float) -> dict[str, Told]:
    """`told` without resolved alerts that were last sent more than an hour ago."""
    return {key: one for key, one in told.items() if one.firing or one.recent(now)}


def _knows(group: Group, key: str) -> bool:
    told = group.told.get(key)
    return told is not None and told.firing


def _has_room(group: Group, members: Mapping[str, Member], key: str, config: AlertConfig, now: float) -> bool:
    """Whether a change of this alert may be sent now."""
    told = group.told.get(key)
    if told is None or len(told.recent(now)) < config.most_per_hour:
        return True
    return key in members and members[key].state.severity.rank > told.severity.rank


def _repeats(group: Group, members: Mapping[str, Member], grouping: Grouping, now: float) -> bool:
    due = group.dedup_key != "" and group.told_at is not None and now >= group.told_at + grouping.repeat_s
    return due and any(not one.muted and _knows(group, key) for key, one in members.items())


def _is_time(
    group: Group, members: Mapping[str, Member], causes: frozenset[str], grouping: Grouping, now: float
) -> bool:
    if group.waiting_since is not None and now < group.waiting_since + grouping.wait_s:
        return False
    critical = any(key in members and members[key].state.severity is Severity.CRITICAL for key in causes)
    return critical or group.told_at is None or now >= group.told_at + grouping.interval_s


def _telling(
    group: Group,
    firing: Mapping[str, AlertState],
    over: Mapping[str, AlertState],
    counted: Set[str],
    config: AlertConfig,
    now: float,
) -> tuple[Group, Notification]:
    """The notification about these alerts, and the group after it was sent."""
    group = replace(group, dedup_key=group.dedup_key or digest_of(group.receiver, group.key, now, group.sequence))
    notification = _notification(group, firing, over, config, now)
    told = dict(group.told)
    for key, state in {**over, **firing}.items():
        before = told.get(key)
        sent = () if before is None else before.recent(now)
        severity = worst((before.severity, state.severity)) if before is not None and sent else state.severity
        told[key] = Told(key in firing, severity, state, (*sent, now) if key in counted else sent)
    group = replace(
        group,
        waiting_since=None,
        told_at=now,
        dedup_key=group.dedup_key if firing else "",
        sequence=group.sequence + 1,
        told=told,
    )
    return group, notification


def _notification(
    group: Group, firing: Mapping[str, AlertState], over: Mapping[str, AlertState], config: AlertConfig, now: float
) -> Notification:
    alerts = [_notified(key, state, FIRING, now) for key, state in firing.items()]
    alerts += [_notified(key, state, RESOLVED, now) for key, state in over.items()]
    alerts.sort(key=lambda one: (one.status != FIRING, -one.severity.rank, one.starts_at, one.fingerprint))
    shown = alerts[: config.most_alerts]
    return Notification(
        notification_id=digest_of(group.dedup_key, group.sequence),
        receiver=group.receiver,
        group_key=group.key,
        status=FIRING if firing else RESOLVED,
        group_labels=group.labels,
        common_labels=common([one.labels for one in alerts]),
        common_annotations=common([one.annotations for one in alerts]),
        alerts=tuple(shown),
        dedup_key=group.dedup_key,
        created_at=now,
        truncated_alerts=len(alerts) - len(shown),
        external_url=config.external_url,
    )


def _notified(key: str, state: AlertState, status: str, now: float) -> NotifiedAlert:
    annotations = dict(state.annotations)
    if state.flapping(now):
        annotations[FLAPPING] = (
            f"it fired {len(state.firings)} times within two hours: it is resolved only after a calm hour"
        )
    return NotifiedAlert(
        status=status,
        labels=state.labels,
        annotations=annotations,
        starts_at=state.starts_at,
        ends_at=state.ends_at if status == RESOLVED else None,
        fingerprint=key,
    )
