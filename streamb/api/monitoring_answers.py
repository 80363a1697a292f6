"""What goes out about monitoring and alerts: one model per answer.

Shares are 0 to 1; times are seconds since the Unix epoch, or ISO 8601 (UTC) where they are text.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from streamb.api.answers import Answer, FiniteOrNull


class _Open(Answer):
    """An answer that may have more fields than are listed."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _in_json(cls, value: Any) -> Any:
        """What the Monitor hands out knows how it is told to people."""
        return value.to_json() if hasattr(value, "to_json") else value


class ColumnDriftAnswer(_Open):
    """How far one feature, one output, or all features together are from the baseline."""

    name: str
    kind: str = Field(description="feature, output or multivariate.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    score: FiniteOrNull = Field(description="0 to 1; 0.3 is the shift that the sensitivity names. Null: too few rows.")
    drifted: bool = Field(description="The score is above the threshold, and that is more than chance explains.")
    p_value: FiniteOrNull = Field(description="How probable so large a difference is by chance.")
    shift: FiniteOrNull = Field(description="In standard deviations of a normal distribution that moves as far.")
    rows: int
    missing_rate: FiniteOrNull = Field(description="Share of rows without a value.")
    unseen_rate: FiniteOrNull = Field(description="Share of values that the baseline has none like.")
    detail: str = Field(description="The same in words.")


class DriftAnswer(_Open):
    """The newest traffic of a version beside its baseline."""

    model_id: str
    version: str
    minutes: int = Field(description="Length of the window.")
    status: str = Field(description="stable, drifted or insufficient_data.")
    overall_drift_score: float = Field(description="The highest score.")
    features: dict[str, ColumnDriftAnswer]
    outputs: dict[str, ColumnDriftAnswer]
    multivariate: ColumnDriftAnswer | None = Field(description="How the features hang together.")
    rows: int
    sensitivity: str = Field(description="low, medium or high.")
    threshold: float
    summary: str


class DriftSummary(_Open):
    """Drift as a part of health."""

    status: str
    overall_drift_score: float
    summary: str
    rows: int
    drifted: list[str] = Field(description="The columns that drifted.")


class ModelHealthAnswer(_Open):
    """How a version does in service."""

    model_id: str
    version: str
    status: str = Field(description="healthy, degraded, unhealthy; or unknown: nothing was heard of it lately.")
    reasons: list[str]
    current_metrics: dict[str, Any] = Field(
        description="Of the last minutes: `average_latency_ms`, `p95_latency_ms`, `error_rate`, `throughput`, …"
    )
    drift_status: DriftSummary | None = Field(description="Null: there is no baseline.")
    concept: dict[str, Any] | None = Field(
        description="What labels say against those of the baseline; null: it has none."
    )
    estimated_accuracy: dict[str, Any] | None = Field(description="Expected from confidences, not measured.")
    rows: dict[str, int] = Field(
        description="Since monitoring began: `rows` counted; not counted are those `dropped` (more came than could be "
        "counted), `unreadable` (they do not fit the baseline), `late` and `damaged`."
    )
    silence_s: FiniteOrNull = Field(description="Seconds since a replica was heard of; null: none is there.")
    updated_at: float


class BaselineAnswer(_Open):
    """One baseline of one version."""

    model_id: str
    version: str
    number: int = Field(description="1, 2, 3… per version; the highest is in force.")
    baseline_id: str = Field(description="Digest of its content.")
    rows: int
    columns: list[str]
    origin: str = Field(description="upload or live.")
    author: str
    created_at: float
    active: bool
    learning: bool = Field(description="Made of live traffic, and not complete yet: nothing is compared so far.")


class BaselinesAnswer(Answer):
    """The baselines of a model's versions."""

    items: list[BaselineAnswer]


class ThresholdsAnswer(_Open):
    """What a model's health is judged by."""

    model_id: str
    thresholds: dict[str, float | None] = Field(description="Null: not judged.")
    origin: str = Field(description="own, or settings: the defaults of the platform.")
    author: str
    at: str | None


class AlertAnswer(_Open):
    """One alert."""

    fingerprint: str = Field(description="Its identity.")
    state: str = Field(description="pending, firing or resolved.")
    severity: str = Field(description="low, medium, high or critical.")
    labels: dict[str, str]
    annotations: dict[str, str] = Field(description="`summary`, `description`, `likely_cause`, `runbook`.")
    value: FiniteOrNull
    active_since: str
    starts_at: str | None = Field(description="Since when it fires.")
    ends_at: str | None
    silenced_by: list[str]
    inhibited_by: str | None = Field(description="The fingerprint of the alert that makes this one superfluous.")
    receivers: list[str]


class SilenceAnswer(_Open):
    """Alerts that nobody is told of for a while."""

    id: str
    state: str = Field(description="pending, active or expired.")
    matchers: list[str]
    author: str
    comment: str
    starts_at: str
    ends_at: str


class ChannelAnswer(_Open):
    """How one channel does."""

    name: str
    waiting: int = Field(description="Notifications that it is still owed.")
    left_alone: bool = Field(description="It kept failing, and is not tried for a while.")
    counts: dict[str, int] = Field(description="Attempts by outcome since the Monitor started.")
    last_delivered_at: str | None
    last_error: str = Field(description="Why the last attempt that failed did; empty: none has.")
    last_error_at: str | None


class ChannelsAnswer(Answer):
    """Every channel."""

    items: list[ChannelAnswer]


class DeliveryAnswer(_Open):
    """What became of one notification."""

    notification_id: str
    channel: str
    title: str
    status: str = Field(description="firing or resolved: what it said.")
    severity: str
    outcome: str = Field(description="delivered, failed (given up) or dropped (too many were waiting).")
    reason: str = Field(description="Why it failed or was dropped.")
    attempts: int
    created_at: str
    at: str = Field(description="When that was.")


class TrialAnswer(_Open):
    """What became of a test alert."""

    channel: str
    delivered: bool
    detail: str = Field(description="Why it did not arrive; empty when it did.")
