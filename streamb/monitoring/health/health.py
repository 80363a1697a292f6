"""A model's health: healthy, degraded, unhealthy or unknown, with reasons, and without flapping.

It gets worse at once if a look proves it, or after three looks in a row beyond a limit without proof. It gets better
only after three calm looks in a row, at 0.8 of the limit at most. Looks are counted by time, one for each interval, so
that more frequent requests neither speed up nor delay a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from streamb.metrics.criteria import Finding, Verdict
from streamb.metrics.measures import Metrics, metrics_of
from streamb.monitoring.drift.concept_alarm import ConceptReport
from streamb.monitoring.drift.report import DriftReport
from streamb.monitoring.health.checks import Look, Status, Thresholds, looks
from streamb.monitoring.profiles.estimation import Estimate
from streamb.store.plain import from_plain, to_plain

__all__ = ["HealthJudge", "Metrics", "ModelHealth", "Status", "Thresholds", "metrics_of"]

LOOKS: Final = 3
"""The number of looks in a row that are needed to get worse without proof, and to get better."""
STALE_INTERVALS: Final = 3
"""After so many intervals without a report, the health is unknown."""
_RANK: Final[Mapping[Status, int]] = {Status.HEALTHY: 0, Status.DEGRADED: 1, Status.UNHEALTHY: 2}


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """The health of a model, with reasons.

    Attributes:
        status: the worst status of all criteria.
        reasons: one sentence for each criterion that is not healthy.
        current_metrics: errors, latency, throughput, accuracy.
        drift_status: the comparison with the baseline; None if drift is not watched, or there is no baseline.
        concept: whether the labels show more errors than in the baseline; None if the baseline has no labels.
        estimated_accuracy: an estimate without labels; None if there is no baseline.
        findings: the verdict on each criterion at this look.
        updated_at: the time of this look, in seconds since the epoch.
    """

    status: Status
    reasons: tuple[str, ...]
    current_metrics: Metrics
    drift_status: DriftReport | None
    concept: ConceptReport | None
    estimated_accuracy: Estimate | None
    findings: tuple[Finding, ...]
    updated_at: float

    def __str__(self) -> str:
        return f"{self.status}: {'; '.join(self.reasons)}" if self.reasons else str(self.status)

    def to_json(self) -> dict[str, Any]:
        """Return the health as a JSON object."""
        return {**to_plain(self), "current_metrics": self.current_metrics.to_json()}


@dataclass(frozen=True, slots=True)
class _Standing:
    """The state of one criterion over its looks.

    Attributes:
        level: its present status.
        beyond_since: since when it is beyond its limit; None if it is not.
        better_since: since when its looks indicate a better level; None if they do not.
        reason: the sentence of the last look that indicated the level.
        latest: the sentence of the latest look.
    """

    level: Status = Status.HEALTHY
    beyond_since: float | None = None
    better_since: float | None = None
    reason: str = ""
    latest: str = ""

    @property
    def words(self) -> str:
        """The reason for the level, and the latest finding if it differs."""
        return self.reason if self.latest == self.reason else f"{self.reason}; by now: {self.latest}"


class HealthJudge:
    """Judges one model version, look by look. Not thread-safe.

    Args:
        thresholds: the limits of a healthy model.
        interval_s: the time between two looks that count, in seconds.
    """

    def __init__(self, thresholds: Thresholds, *, interval_s: float = 30.0) -> None:
        self.thresholds = thresholds
        self._lasting_s = (LOOKS - 1) * interval_s
        self._standings: dict[str, _Standing] = {}

    def judge(
        self,
        metrics: Metrics,
        drift: DriftReport | None,
        concept: ConceptReport | None,
        *,
        stale: bool,
        now: float,
        estimated: Estimate | None = None,
    ) -> ModelHealth:
        """Take one look, and return the health.

        Args:
            metrics: errors, latency, throughput and accuracy of the version.
            drift: the comparison with the baseline; None: drift is not watched.
            concept: the result of the concept detector; None: it is not watched.
            stale: whether no report has come for `STALE_INTERVALS`; then the metrics are shown, but not judged.
            now: the time of the look, seconds since the epoch.
            estimated: the estimated accuracy, which is shown, but never judged.
        """
        found = looks(self.thresholds, metrics, drift, concept)
        if stale:
            self._standings = {
                # A period without reports counts neither as lasting nor as recovery.
                name: replace(one, beyond_since=None, better_since=None)
                for name, one in self._standings.items()
            }
            status = Status.UNKNOWN
            reasons: tuple[str, ...] = (f"no report for {STALE_INTERVALS} intervals",)
        else:
            self._standings = {look.finding.criterion: self._after(look, now) for look in found}
            status, reasons = self._verdict()
        findings = tuple(look.finding for look in found)
        return ModelHealth(status, reasons, metrics, drift, concept, estimated, findings, now)

    def to_json(self) -> dict[str, Any]:
        """Return the state of all criteria as JSON, for `restore`."""
        return {name: to_plain(one) for name, one in self._standings.items()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a result of `to_json`."""
        self._standings = {name: from_plain(_Standing, one) for name, one in document.items()}

    def _verdict(self) -> tuple[Status, tuple[str, ...]]:
        bad = [one for one in self._standings.values() if one.level is not Status.HEALTHY]
        bad.sort(key=lambda one: -_RANK[one.level])
        return (bad[0].level if bad else Status.HEALTHY), tuple(one.words for one in bad)

    def _after(self, look: Look, now: float) -> _Standing:
        before = self._standings.get(look.finding.criterion, _Standing())
        latest = look.finding.detail
        beyond_since = _since(before.beyond_since, now) if _beyond(look) else None
        lasting = beyond_since is not None and now - beyond_since >= self._lasting_s
        said = self._says(look, lasting=lasting)
        if said is None:
            return replace(before, beyond_since=beyond_since, better_since=None, latest=latest)
        better_since = _since(before.better_since, now) if _RANK[said] < _RANK[before.level] else None
        if better_since is None or now - better_since >= self._lasting_s:
            return _Standing(said, beyond_since, None, latest, latest)
        return replace(before, beyond_since=beyond_since, better_since=better_since, latest=latest)

    @staticmethod
    def _says(look: Look, *, lasting: bool) -> Status | None:
        """The level that a look indicates; None if it indicates no change."""
        if look.finding.verdict is Verdict.FAIL:
            return look.level
        if lasting:
            return Status.DEGRADED
        return Status.HEALTHY if look.calm else None


def _beyond(look: Look) -> bool:
    finding = look.finding
    return look.wears and finding.value is not None and finding.verdict in {Verdict.INCONCLUSIVE, Verdict.FAIL}


def _since(earlier: float | None, now: float) -> float:
    # After the clock was set back, the earlier time may lie in the future.
    return now if earlier is None or earlier > now else earlier
