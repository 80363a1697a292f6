"""The rules: compute the alerts of a version from its health, with severity, runbook and likely cause. Pure.

| alert | active | low | medium | high | critical |
| --- | --- | --- | --- | --- | --- |
| HighErrorRate | error rate above its limit | not proven | 1 | 2 | 5, or half of all |
| HighLatency | p95 above its limit | not proven | 1 | 2 | 4 |
| LowAccuracy | more wrong labels than allowed | not proven | 1 | 1.5 | 2 |
| LowThroughput | fewer answers than required | no more requests came | 1 | 2 | 10 |
| DataDrift, PredictionDrift | a column drifted | 1 | 1.5 | 2.5 | |
| ConceptDrift | the detector's alarm | | always | 2, of the baseline's error | |
| MonitoringStale | health is unknown | | always | no report for 10 minutes | |
| DeliveryFailing | a channel does not accept notifications | | for 2 minutes | 15 minutes | an hour |

The numbers are multiples of the limit that the value must reach. A value above its limit that is not proven
(`metrics.criteria`) counts from 20 samples on. All but the last three are clear at 0.8 of the limit.
While a model's health is unknown, the alerts of the other rules are neither active nor clear. `deployments` has the
rules of deployments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.measures import ENDLESS, times_limit
from streamb.monitoring.alerts import causes
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, VERSION, Alert, Severity, worst
from streamb.monitoring.alerts.catalog import (
    CONCEPT_DRIFT,
    DATA_DRIFT,
    DELIVERY_FAILING,
    HIGH_ERROR_RATE,
    HIGH_LATENCY,
    LOW_ACCURACY,
    LOW_THROUGHPUT,
    MONITORING_STALE,
    PREDICTION_DRIFT,
    Entry,
)
from streamb.monitoring.alerts.causes import Facts
from streamb.monitoring.alerts.outbox import FAILED, Past, Queued
from streamb.monitoring.alerts.routing import CHANNEL
from streamb.monitoring.drift.report import ColumnDrift
from streamb.monitoring.health.checks import CALM
from streamb.monitoring.health.health import Status

_ENOUGH: Final = 20
_HALF: Final = 0.5
_RECENTLY_S: Final = 3_600.0
_CRITERIA: Final[Mapping[str, tuple[Entry, Callable[[Facts, str], str]]]] = {
    "error_rate": (HIGH_ERROR_RATE, causes.of_errors),
    "p95_latency": (HIGH_LATENCY, causes.of_latency),
    "accuracy": (LOW_ACCURACY, causes.of_accuracy),
    "throughput": (LOW_THROUGHPUT, causes.of_throughput),
}


def alerts_of(facts: Facts) -> list[Alert]:
    """Return the results of the rules for one version now: one alert for each rule that has data to judge."""
    known = facts.health.status is not Status.UNKNOWN
    found = [_of_finding(facts, one, known=known) for one in facts.health.findings if one.criterion in _CRITERIA]
    found += _drifts(facts, known=known)
    found += _concept(facts, known=known)
    found.append(_stale(facts, known=known))
    return found


def _of_finding(facts: Facts, finding: Finding, *, known: bool) -> Alert:
    entry, cause = _CRITERIA[finding.criterion]
    ratio = times_limit(finding)
    proven = finding.verdict is Verdict.FAIL
    beyond = ratio > 1.0 and (proven or finding.samples >= _ENOUGH or entry is LOW_THROUGHPUT)
    severity = entry.graded(ratio) if proven else Severity.LOW
    if proven and entry is HIGH_ERROR_RATE and (finding.value or 0.0) >= _HALF:
        severity = Severity.CRITICAL
    return _alert(
        facts,
        entry,
        severity,
        active=known and beyond,
        clears=known and ratio <= CALM,
        value=finding.value,
        description=finding.detail,
        cause=cause(facts, entry.name) if known and beyond else "",
    )


def _drifts(facts: Facts, *, known: bool) -> list[Alert]:
    report = facts.health.drift_status
    if report is None:
        return []
    limits = (one.limit for one in facts.health.findings if one.criterion == "drift_score")
    limit = next((one for one in limits if one is not None), report.threshold)
    inputs = [*report.features.values(), *([report.multivariate] if report.multivariate is not None else [])]
    found = [_drift(facts, DATA_DRIFT, inputs, limit, known=known)]
    if report.outputs:
        found.append(_drift(facts, PREDICTION_DRIFT, list(report.outputs.values()), limit, known=known))
    return found


def _drift(facts: Facts, entry: Entry, columns: list[ColumnDrift], limit: float, *, known: bool) -> Alert:
    scores = [one.score for one in columns if one.score is not None]
    drifted = [one for one in columns if one.drifted and (one.score or 0.0) > limit]
    value = max((one.score or 0.0 for one in drifted), default=max(scores, default=None))
    active = known and bool(drifted)
    ratio = ENDLESS if value and limit <= 0 else (value or 0.0) / (limit or 1.0)
    what = "the inputs" if entry is DATA_DRIFT else "the predictions"
    description = f"{what}: {len(drifted)} of {len(columns)} columns drifted from the baseline"
    if value is not None:
        description += f"; the highest score is {value:.2f}, the limit is {limit:g}"
    return _alert(
        facts,
        entry,
        entry.graded(ratio),
        active=active,
        clears=known and value is not None and not drifted and value <= CALM * limit,
        value=value,
        description=description,
        cause=causes.of_drift(facts, entry.name, drifted) if active else "",
    )


def _concept(facts: Facts, *, known: bool) -> list[Alert]:
    report = facts.health.concept
    if report is None:
        return []
    ratio = report.current / report.baseline if report.current is not None and report.baseline > 0 else 1.0
    alert = _alert(
        facts,
        CONCEPT_DRIFT,
        CONCEPT_DRIFT.graded(ratio),
        active=known and report.drifted,
        clears=known and not report.drifted,  # the detector has a hysteresis of its own
        value=report.evidence,
        description=report.summary,
        cause=causes.of_accuracy(facts, CONCEPT_DRIFT.name) if known and report.drifted else "",
    )
    return [alert]


def _stale(facts: Facts, *, known: bool) -> Alert:
    return _alert(
        facts,
        MONITORING_STALE,
        MONITORING_STALE.graded(facts.silent_s or 0.0),
        active=not known,
        clears=known,
        value=facts.silent_s,
        description="; ".join(facts.health.reasons) if not known else "reports arrive",
        cause="" if known else causes.of_silence(facts, MONITORING_STALE.name),
    )


def _alert(
    facts: Facts,
    entry: Entry,
    severity: Severity,
    *,
    active: bool,
    clears: bool,
    value: float | None,
    description: str,
    cause: str,
) -> Alert:
    labels = {ALERT_NAME: entry.name, MODEL: facts.model_id, VERSION: facts.version, SEVERITY: str(severity)}
    what = f"{facts.model_id} {facts.version}"
    return Alert(labels, entry.texts(what, description, cause), value, active, clears)


def delivery_alerts(
    channels: Iterable[str], queued: Iterable[Queued], latest: Mapping[str, Past], now: float
) -> list[Alert]:
    """Return an alert for each channel, active while the channel does not accept notifications.

    Args:
        channels: the names of the channels.
        queued: the notifications that wait (`Outbox.queued`).
        latest: the outcome of the last notification of each channel (`Outbox.latest`).
        now: seconds since the epoch.
    """
    waiting = [one for one in queued if one.attempts]
    return [_delivery(name, waiting, latest.get(name), now) for name in channels]


def _delivery(channel: str, waiting: list[Queued], last: Past | None, now: float) -> Alert:
    stuck = [one for one in waiting if one.notification.receiver == channel]
    age = max((now - one.notification.created_at for one in stuck), default=0.0)
    lost = last if last is not None and last.outcome == FAILED and last.at > now - _RECENTLY_S else None
    active = age >= DELIVERY_FAILING.steps[Severity.MEDIUM] or lost is not None
    reason = stuck[0].last_error if stuck else lost.reason if lost is not None else ""
    description = f"{len(stuck)} notifications wait, the oldest for {age:,.0f} seconds" if stuck else "none waits"
    if lost is not None:
        description += "; the last notification was given up"
    labels = {ALERT_NAME: DELIVERY_FAILING.name, MODEL: "", CHANNEL: channel}
    labels[SEVERITY] = str(worst((DELIVERY_FAILING.graded(age), Severity.MEDIUM)))
    annotations = DELIVERY_FAILING.texts(channel, description, reason)
    return Alert(labels, annotations, age, active, clears=not stuck and lost is None)
