"""Likely causes in plain words, found in the data: what drifted, which failures there were, what was changed before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamb.clock import isoformat
from streamb.metrics import Outcome
from streamb.monitoring.alerts.catalog import CONCEPT_DRIFT
from streamb.monitoring.drift.report import ColumnDrift, DriftReport
from streamb.monitoring.health.health import ModelHealth

SHORTLY_S: Final = 1_800.0
"""What was done so long before something began may be why."""
_MOST_COLUMNS: Final = 3
_FAILURES: Final[Mapping[str, str]] = {
    Outcome.MODEL_ERROR: "the model failed on what it was given",
    Outcome.TIMEOUT: "requests ran out of time",
    Outcome.UNAVAILABLE: "no replica answered",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was done to a model, from the history of deployments.

    Attributes:
        at: when, seconds since the epoch.
        words: what, as a clause: "version 1.2.0 took 50 % of the traffic".
    """

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one version of a model at one look.

    Attributes:
        model_id: which model.
        version: which version of it.
        health: how it is judged.
        silent_s: seconds since anything was last heard of it; None where that is not known.
        outcomes: how its requests ended lately, by `Outcome`.
        happenings: what was done to the model lately.
        since: since when each alert of this version is active, by the alert's name (`AlertManager.since`).
    """

    model_id: str
    version: str
    health: ModelHealth
    silent_s: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    happenings: Sequence[Happening] = ()
    since: Mapping[str, float] = field(default_factory=dict)


def of_errors(facts: Facts, name: str) -> str:
    """Why requests fail."""
    failed = {kind: facts.outcomes.get(kind, 0) for kind in _FAILURES}
    total = sum(failed.values())
    kind = max(failed, key=lambda one: failed[one])
    most = f"{failed[kind]:,} of {total:,} failures: {_FAILURES[kind]}" if total else ""
    return _joined([most, *_inputs(facts), _before(facts, name)])


def of_latency(facts: Facts, name: str) -> str:
    """Why requests are slow."""
    metrics = facts.health.current_metrics
    median, tail = metrics.p50_latency_ms, metrics.p95_latency_ms
    words = "requests wait for a free replica: it has too few of them" if metrics.waiting else ""
    if not words and median is not None and tail is not None:
        share = f"p50 {median:,.0f} ms, p95 {tail:,.0f} ms"
        words = f"all requests are slow ({share})" if 2 * median > tail else f"only some requests are slow ({share})"
    return _joined([words, _before(facts, name)])


def of_throughput(facts: Facts, name: str) -> str:
    """Why so few requests are answered."""
    waiting = facts.health.current_metrics.waiting
    words = "requests wait for a free replica" if waiting else "fewer requests come in: look at who sends them"
    return _joined([words, _before(facts, name)])


def of_accuracy(facts: Facts, name: str) -> str:
    """Why predictions are wrong."""
    concept = facts.health.concept
    told = name == CONCEPT_DRIFT  # its description says so already
    changed = concept.summary if concept is not None and concept.drifted and not told else ""
    inputs = _inputs(facts)
    unexplained = "" if inputs else "the inputs look as they did: what they mean may have changed"
    return _joined([changed, *inputs, unexplained, _began(facts, name), _before(facts, name)])


def of_drift(facts: Facts, name: str, columns: Iterable[ColumnDrift]) -> str:
    """Where the drift is, and what came before it."""
    return _joined([drifted_words(columns), _began(facts, name), _before(facts, name)])


def of_silence(facts: Facts, name: str) -> str:
    """Why nothing is heard."""
    silent = "" if facts.silent_s is None else f"nothing was heard for {facts.silent_s:,.0f} seconds"
    return _joined([silent, _before(facts, name) or "its replicas, the gateways or the way from them may be down"])


def drifted_words(columns: Iterable[ColumnDrift]) -> str:
    """The columns that drifted, the furthest first.

    >>> drifted_words([])
    ''
    """
    drifted = sorted((one for one in columns if one.drifted), key=lambda one: (-(one.score or 0.0), one.name))
    if not drifted:
        return ""
    named = [f"{one.name} (score {one.score or 0.0:.2f}: {one.detail})" for one in drifted[:_MOST_COLUMNS]]
    more = len(drifted) - len(named)
    return "the drift is in " + ", ".join(named) + (f" and {more} more" if more else "")


def _inputs(facts: Facts) -> list[str]:
    drift: DriftReport | None = facts.health.drift_status
    words = "" if drift is None else drifted_words(drift.features.values())
    return [f"at the same time {words}"] if words else []


def _began(facts: Facts, name: str) -> str:
    concept = facts.health.concept
    since = concept.since if name == CONCEPT_DRIFT and concept is not None else facts.since.get(name)
    return "" if since is None else f"it began at {_time(since)}"


def _before(facts: Facts, name: str) -> str:
    """What was done last before it began."""
    began = facts.since.get(name, facts.health.updated_at)
    before = [one for one in facts.happenings if began - SHORTLY_S <= one.at <= began]
    if not before:
        return ""
    last = max(before, key=lambda one: one.at)
    return f"{last.words} at {_time(last.at)}"


def _time(timestamp: float) -> str:
    return f"{isoformat(timestamp)[11:16]} UTC"


def _joined(clauses: Iterable[str]) -> str:
    found = [clause for clause in clauses if clause]
    return "; ".join(found) if found else "nothing in the data explains it"
