"""The rules of deployments: who must act, and what ended, from what the Controller tells. Pure.

| alert | active | severity |
| --- | --- | --- |
| DeploymentNeedsApproval | it waits at a gate, which the label `cause` names | medium |
| DeploymentExpiring | the time for this approval ends soon | high |
| DeploymentStuck | it waits for something longer than it should | high |
| DeploymentRolledBack | it ended so less than half an hour ago | high |
| DeploymentFailed | it ended so less than half an hour ago | medium |
| DeploymentCompleted | it ended so less than half an hour ago | low, for information |

The Controller judges the times, with its own clock. While it is silent, nothing is known, so open alerts stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from streamb.clock import isoformat
from streamb.monitoring.alerts.alert import ALERT_NAME, CAUSE, DEPLOYMENT, MODEL, SEVERITY, VERSION, Alert
from streamb.monitoring.alerts.catalog import (
    DEPLOYMENT_COMPLETED,
    DEPLOYMENT_EXPIRING,
    DEPLOYMENT_FAILED,
    DEPLOYMENT_NEEDS_APPROVAL,
    DEPLOYMENT_ROLLED_BACK,
    DEPLOYMENT_STUCK,
    Entry,
)
from streamb.monitoring.alerts.causes import Happening
from streamb.monitoring.alerts.state import AlertState

_ENDS: Final[Mapping[str, Entry]] = {
    "completed": DEPLOYMENT_COMPLETED,
    "rolled_back": DEPLOYMENT_ROLLED_BACK,
    "failed": DEPLOYMENT_FAILED,
}


@dataclass(frozen=True, slots=True)
class DeploymentNews:
    """What the Controller tells of one deployment. Times are seconds since the epoch.

    Attributes:
        deployment_id, model_id, version: which one.
        state: its public state, such as "awaiting_approval".
        phase: what is done in its step, such as "observe".
        weight: percent of the model's traffic that goes to the version.
        reason: why it is in this state.
        waiting_for: the gate at which it waits; "" for none.
        approval_expires_at: when it is aborted if nobody approves; None if it waits for nobody.
        expiring: whether that is soon.
        stuck: what it waits for longer than it should; "" if it does not.
        ended_at: when it ended, if that was less than half an hour ago; else None.
    """

    deployment_id: str
    model_id: str
    version: str
    state: str
    phase: str
    weight: float
    reason: str
    waiting_for: str = ""
    approval_expires_at: float | None = None
    expiring: bool = False
    stuck: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What the Controller answers to a report of the Monitor.

    Attributes:
        happenings: what was changed in the last half hour, by model.
        deployments: those under way or still judged after completion, and those that ended in the last half hour.
        versions: the model and version of everything that gateways can call.
    """

    happenings: Mapping[str, tuple[Happening, ...]] = field(default_factory=dict)
    deployments: tuple[DeploymentNews, ...] = ()
    versions: frozenset[tuple[str, str]] = frozenset()


def deployment_alerts(deployments: Iterable[DeploymentNews]) -> list[Alert]:
    """Return the alerts of these deployments that are active now."""
    return [alert for one in deployments for alert in _alerts(one)]


def settled(alerts: Iterable[AlertState], judged: Set[str], news: News | None) -> list[Alert]:
    """Return a result for open alerts that no rule has judged at this look: ended with the reason, or kept.

    Args:
        alerts: the alerts that are pending or firing.
        judged: the fingerprints of the rules' results.
        news: what the Controller told; None while it is silent, which ends nothing.
    """
    found = []
    for state in alerts:
        if state.fingerprint in judged:
            continue
        if state.labels.get(DEPLOYMENT):
            ended = "" if news is None else _over(state.labels[DEPLOYMENT], news)
        elif news is not None and _is_gone(state.labels, news):
            ended = _gone(state.labels, news)
        else:
            continue
        found.append(Alert(state.labels, state.annotations, state.value, active=False, ended=ended))
    return found


def _alerts(one: DeploymentNews) -> Iterator[Alert]:
    if one.approval_expires_at is not None:
        until = f"if nobody has approved ({one.waiting_for}) by {isoformat(one.approval_expires_at)}, it is aborted"
        how = f"to approve: streamb deployments approve {one.deployment_id}"
        yield _alert(one, DEPLOYMENT_NEEDS_APPROVAL, f"{one.reason}; {until}; {how}", one.waiting_for)
        if one.expiring:
            yield _alert(one, DEPLOYMENT_EXPIRING, f"{until}; {how}", one.waiting_for)
    if one.stuck:
        yield _alert(one, DEPLOYMENT_STUCK, f"{one.stuck}; {one.reason}", one.phase)
    if one.ended_at is not None and one.state in _ENDS:
        yield _alert(one, _ENDS[one.state], one.reason)


def _alert(one: DeploymentNews, entry: Entry, description: str, cause: str = "") -> Alert:
    labels = {ALERT_NAME: entry.name, MODEL: one.model_id, VERSION: one.version, DEPLOYMENT: one.deployment_id}
    labels |= {CAUSE: cause, SEVERITY: str(entry.graded(0.0))}
    return Alert(labels, entry.texts(f"{one.model_id} {one.version}", description), one.weight, active=True)


def _over(deployment_id: str, news: News) -> str:
    one = next((one for one in news.deployments if one.deployment_id == deployment_id), None)
    return "it was half an hour ago" if one is None else f"it is {one.state.replace('_', ' ')} now: {one.reason}"


def _is_gone(labels: Mapping[str, str], news: News) -> bool:
    return bool(labels.get(VERSION)) and (labels.get(MODEL, ""), labels[VERSION]) not in news.versions


def _gone(labels: Mapping[str, str], news: News) -> str:
    last = max(news.happenings.get(labels[MODEL], ()), key=lambda one: one.at, default=None)
    return f"version {labels[VERSION]} gets no requests any more" + (f": {last.words}" if last is not None else "")
