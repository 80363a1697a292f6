"""The health of the platform: one verdict for each part, with reasons. Pure functions of the reports received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from streamb.control.observations import Observations
from streamb.metrics import Snapshot
from streamb.rollouts.controller import Rollouts
from streamb.rollouts.runtime import AppPhase, AppStatus

_RANK: Final = {"healthy": 0, "degraded": 1, "unhealthy": 2}
_UNWELL: Final = frozenset({"degraded", "unhealthy"})


class HealthReport(TypedDict):
    """The health of the platform: `status` is the worst status of any part; `reasons` explain it unless healthy."""

    status: str
    reasons: list[str]
    components: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]


def describe_models(
    rollouts: Rollouts, apps: Mapping[str, AppStatus], observations: Observations, only: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return what runs for each model, by model id.

    Args:
        rollouts: gives the serving version and the weights.
        apps: the state of every app.
        observations: gives the counts of requests.
        only: the id of the only model to describe; None for all.
    """
    routes = rollouts.routes
    snapshots = observations.snapshots()
    names = [only] if only is not None else sorted(routes)
    found: dict[str, dict[str, Any]] = {}
    for model_id in names:
        route = routes.get(model_id)
        weights = _weights(rollouts, model_id)
        found[model_id] = {
            "model_id": model_id,
            "serving_version": route.version if route else None,
            "versions": [
                _describe(app, status, weights) for app, status in apps.items() if app.startswith(f"{model_id}--")
            ],
            "requests": _requests(snapshots, model_id),
        }
    return found


def _requests(snapshots: Sequence[Snapshot], model_id: str) -> dict[str, int]:
    """Return the number of requests of one model by outcome, over all versions."""
    counts: Counter[str] = Counter()
    for snapshot in snapshots:
        if snapshot.model_id == model_id:
            counts.update(snapshot.counts)
    return dict(counts)


def _weights(rollouts: Rollouts, model_id: str) -> dict[str, float]:
    """Return the percent of the model's traffic that each app gets."""
    route = rollouts.table.models.get(model_id)
    if route is None:
        return {}
    ends = route.split.bounds
    shares = [end - begin for begin, end in zip((0, *ends), ends, strict=False)]
    return {
        route.targets[version].app: share / 100 for version, share in zip(route.split.versions, shares, strict=True)
    }


def _describe(app: str, status: AppStatus, weights: Mapping[str, float]) -> dict[str, Any]:
    version = app.rsplit("--", 1)[0].split("--", 1)[1]
    return {
        "version": version,
        "app": app,
        "weight": weights.get(app, 0.0),
        "state": str(status.phase),
        "replicas": status.replicas,
        "reason": status.reason,
    }


def system_health(observations: Observations, models: dict[str, dict[str, Any]], database_error: str) -> HealthReport:
    """Return the health of all parts.

    Args:
        observations: the reports of gateways, consoles and edges.
        models: the result of `describe_models`.
        database_error: why the database does not answer; empty if it does.
    """
    components: dict[str, dict[str, Any]] = {
        "controller": {"status": "healthy", "detail": "answers"},
        "database": {"status": "unhealthy" if database_error else "healthy", "detail": database_error or "answers"},
    }
    for role in ("gateway", "console", "edge"):
        reports = observations.live(role)
        status = "healthy" if reports else "unhealthy"
        components[role] = {
            "status": status,
            "detail": f"{len(reports)} live" if reports else "none has reported",
            "processes": [{"source": r.source, "node": r.node, "pid": r.pid, "detail": r.detail} for r in reports],
        }
    judged = {model_id: _judge(description) for model_id, description in models.items()}
    parts = {**components, **{f"model {model_id}": verdict for model_id, verdict in judged.items()}}
    worst = max((part["status"] for part in parts.values()), key=_RANK.__getitem__)
    reasons = [f"{name}: {part['detail']}" for name, part in parts.items() if part["status"] != "healthy"]
    return HealthReport(status=worst, reasons=reasons, components=components, models=judged)


def with_monitoring(report: HealthReport, said: Mapping[str, Mapping[str, Any]], trouble: str) -> HealthReport:
    """Return `report` with the Monitor's verdicts added.

    Args:
        report: the health without the Monitor.
        said: `status` and `reasons` of the serving version of each model that the Monitor knows. A model that it does
            not know, for example without traffic, makes the health no worse.
        trouble: why the Monitor does not answer; empty if it does.
    """
    monitor = {"status": "degraded" if trouble else "healthy", "detail": trouble or "answers"}
    models = {name: _joined(part, said.get(name)) for name, part in report["models"].items()}
    reasons = [f"monitor: {trouble}"] if trouble else []
    for name, part in models.items():
        if part["monitoring"]["status"] in _UNWELL:
            reasons += [f"model {name}: {reason}" for reason in part["monitoring"]["reasons"]]
    parts = [report["status"], monitor["status"], *(part["status"] for part in models.values())]
    return HealthReport(
        status=max(parts, key=_RANK.__getitem__),
        reasons=[*report["reasons"], *reasons],
        components={**report["components"], "monitor": monitor},
        models=models,
    )


def _joined(part: Mapping[str, Any], said: Mapping[str, Any] | None) -> dict[str, Any]:
    monitoring = {"status": "unknown", "reasons": []} if said is None else dict(said)
    if monitoring["status"] not in _UNWELL:
        return {**part, "monitoring": monitoring}
    status = max(part["status"], monitoring["status"], key=_RANK.__getitem__)
    return {
        **part,
        "status": status,
        "detail": "; ".join([part["detail"], *monitoring["reasons"]]),
        "monitoring": monitoring,
    }


@dataclass(frozen=True, slots=True)
class Unserved:
    """A model that should answer and does not.

    Attributes:
        sentence: which one and why, for example "model iris: 1.0.0 failed: no node has 2 free CPUs".
        coming: whether it may still come by itself: it is starting, or not ordered yet. False if it failed.
    """

    sentence: str
    coming: bool


def unserved(models: Mapping[str, Mapping[str, Any]], out_of_reach: Collection[str] = ()) -> list[Unserved]:
    """Return the models that should answer and do not.

    Args:
        models: the part of that name of a `HealthReport`.
        out_of_reach: models whose version runs, but some gateway has no link to it.
    """
    found = []
    for name, model in models.items():
        if not model["serving_version"]:
            continue
        if model["phase"] != AppPhase.RUNNING:
            found.append(Unserved(f"model {name}: {model['detail']}", model["phase"] != AppPhase.FAILED))
        elif name in out_of_reach:
            found.append(Unserved(f"model {name}: the gateways connect to {model['serving_version']}", coming=True))
    return found


def _judge(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return one model's health: its serving version must run."""
    version = model["serving_version"]
    serving = [v for v in model["versions"] if v["version"] == version]
    found = {v["state"]: v for v in serving}
    if running := found.get(AppPhase.RUNNING):
        verdict = {"phase": AppPhase.RUNNING, "status": "healthy"}
        verdict["detail"] = f"{running['replicas']} replica(s) of {version}"
    elif AppPhase.FAILED in found:
        why = found[AppPhase.FAILED]["reason"] or "no reason given"
        verdict = {"phase": AppPhase.FAILED, "status": "unhealthy", "detail": f"{version} failed: {why}"}
        if AppPhase.STARTING in found:
            verdict |= {"phase": AppPhase.STARTING, "detail": f"{version} failed and is started again: {why}"}
    elif AppPhase.STARTING in found:
        verdict = {"phase": AppPhase.STARTING, "status": "degraded", "detail": f"{version} is starting"}
        if why := found[AppPhase.STARTING]["reason"]:
            verdict["detail"] += f": {why}"
    else:
        verdict = {"phase": "absent", "status": "unhealthy", "detail": f"{version} does not run: it is not ordered yet"}
    return {**verdict, "serving_version": version, "requests": model["requests"]}
