"""The answers of the Monitor about health and drift, as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.health import Status
from streamb.monitoring.watches import STALE_S, Standing
from streamb.store.plain import to_plain

_RANK: Final[Mapping[str, int]] = {Status.HEALTHY: 0, Status.UNKNOWN: 1, Status.DEGRADED: 2, Status.UNHEALTHY: 3}


def health_answer(standing: Standing) -> dict[str, Any]:
    """Return a version's health; of drift, it has only a summary and the names of the columns that drifted."""
    found = standing.health.to_json()
    report = standing.health.drift_status
    return {
        "model_id": standing.model_id,
        "version": standing.version,
        **found,
        "drift_status": _drift_summary(report) if report is not None else None,
        "baseline": standing.baseline.to_answer(active=True) if standing.baseline is not None else None,
        "silence_s": standing.silence_s,
        "rows": asdict(standing.totals),
    }


def overview_answer(standings: Sequence[Standing]) -> dict[str, dict[str, Any]]:
    """Return for each model the worst status of its versions with traffic (of all, if none has), with reasons."""
    found: dict[str, dict[str, Any]] = {}
    asked = {one.model_id for one in standings if one.health.current_metrics.requests}
    for standing in standings:
        if standing.model_id in asked and not standing.health.current_metrics.requests:
            continue
        health = standing.health
        known = found.setdefault(
            standing.model_id, {"status": str(Status.HEALTHY), "reasons": [], "versions": {}, "updated_at": 0.0}
        )
        known["versions"][standing.version] = str(health.status)
        known["reasons"] += [f"{standing.version}: {reason}" for reason in health.reasons]
        known["status"] = max(known["status"], str(health.status), key=_RANK.__getitem__)
        known["updated_at"] = max(known["updated_at"], health.updated_at)
    return found


def drift_answer(report: DriftReport, model_id: str, version: str, minutes: int, baseline: Any) -> dict[str, Any]:
    """Return a drift report with the model, the version, the window in minutes and the baseline that it is about."""
    described = baseline.to_answer(active=True) if baseline is not None else None
    about = {"model_id": model_id, "version": version, "minutes": minutes, "baseline": described}
    return {**about, **to_plain(report)}


def score_answer(standing: Standing) -> dict[str, Any] | None:
    """Return a version's drift score and whether it is more than chance; None without enough recent rows."""
    report, silence_s = standing.health.drift_status, standing.silence_s
    if report is None or report.score is None or silence_s is None or silence_s > STALE_S:
        return None
    return {
        "model_id": standing.model_id,
        "version": standing.version,
        "score": report.score,
        "proven": report.beyond_chance,
        "rows": report.rows,
    }


def _drift_summary(report: DriftReport) -> dict[str, Any]:
    return {
        "status": report.status,
        "overall_drift_score": round(report.overall_drift_score, 6),
        "summary": report.summary,
        "rows": report.rows,
        "drifted": [one.name for one in report.columns if one.drifted],
    }
