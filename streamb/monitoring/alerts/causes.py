"""Likely causes in plain words, found in the data: what drifted, which failures occurred, what was changed before."""

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
"""A change to a model at most this long before an alert began may be its cause."""
_MOST_COLUMNS: Final = 3
_FAILURES: Final[Mapping[str, str]] = {
    Outcome.MODEL_ERROR: "the model failed on its input",
    Outcome.TIMEOUT: "requests timed out",
    Outcome.UNAVAILABLE: "no replica answered",
}


@dataclass(frozen=True, slots=True)
class Happening:
    """A change that was made to a model, from the history of deployments.

    Attributes:
        at: when it was made, seconds since the epoch.
        words: a clause that describes it: "version 1.2.0 took 50 % of the traffic".
    """

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one version of a model at one look.

    Attributes:
        model_id: the model's name.
        version: the version's number.
        health: the verdict on the version's health.
        silent_s: seconds since a source last reported on the version; None if unknown.
        outcomes: recent requests of the version, counted by `Outcome`.
        happenings: recent changes to the model.
        since: the time at which each alert of this version became active, by its name (`AlertManager.since`).
    """

    model_id: str
    version: str
    health: ModelHealth
    silent_s: float | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    happenings: Sequence[Happening] = ()
    since: Mapping[str, float] = field(default_factory=dict)


def of_errors(facts: Facts, name: str) -> str:
    """Return the likely cause of failed requests."""
    failed = {kind: facts.outcomes.get(kind, 0) for kind in _FAILURES}
    total = sum(failed.values())
    kind = max(failed, key=lambda one: failed[one])
    most = f"{failed[kind]:,} of {total:,} failures: {_FAILURES[kind]}" if total else ""
    return _joined([most, *_inputs(facts), _before(facts, name)])


def of_latency(facts: Facts, name: str) -> str:
    """Return the likely cause of slow requests."""
    metrics = facts.health.current_metrics
    median, tail = metrics.p50_latency_ms, metrics.p95_latency_ms
    words = "requests wait for a free replica: there are too few replicas" if metrics.waiting else ""
    if not words and median is not None and tail is not None:
        share = f"p50 {median:,.0f} ms, p95 {tail:,.0f} ms"
        words = f"all requests are slow ({share})" if 2 * median > tail else f"only some requests are slow ({share})"
    return _joined([words, _before(facts, name)])


def of_throughput(facts: Facts, name: str) -> str:
    """Return the likely cause of a low throughput."""
    waiting = facts.health.current_metrics.waiting
    words = "requests wait for a free replica" if waiting else "fewer requests come in: check the clients"
    return _joined([words, _before(facts, name)])


def of_accuracy(facts: Facts, name: str) -> str:
    """Return the likely cause of wrong predictions."""
    concept = facts.health.concept
    told = name == CONCEPT_DRIFT.name  # the description of that alert has the summary already
    changed = concept.summary if concept is not None and concept.drifted and not told else ""
    inputs = _inputs(facts)
    unexplained = "" if inputs else "the inputs have not drifted: their relation to the labels may have changed"
    return _joined([changed, *inputs, unexplained, _began(facts, name), _before(facts, name)])


def of_drift(facts: Facts, name: str, columns: Iterable[ColumnDrift]) -> str:
    """Return which columns drifted, when that began, and what was changed shortly before."""
    return _joined([drifted_words(columns), _began(facts, name), _before(facts, name)])


def of_silence(facts: Facts, name: str) -> str:
    """Return the likely cause of missing reports."""
    silent = "" if facts.silent_s is None else f"no report arrived for {facts.silent_s:,.0f} seconds"
    return _joined([silent, _before(facts, name) or "its replicas, the gateways or their network may be down"])


def drifted_words(columns: Iterable[ColumnDrift]) -> str:
    """Name the columns that drifted, the highest score first; "" if no column did.

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
    since = concept.since if name == CONCEPT_DRIFT.name and concept is not None else facts.since.get(name)
    return "" if since is None else f"it began at {_time(since)}"


def _before(facts: Facts, name: str) -> str:
    """The last change to the model within `SHORTLY_S` before the alert began."""
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
    return "; ".join(found) if found else "the data shows no cause"
