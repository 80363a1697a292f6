"""An alert: what a rule says of a model now, and which alerts are the same one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from streamb.hashing import sha256_hex

ALERT_NAME: Final = "alertname"
MODEL: Final = "model"
VERSION: Final = "version"
SEVERITY: Final = "severity"
_FINGERPRINT_DIGITS: Final = 16
_MOST_CHARS: Final = 4_000


class Severity(StrEnum):
    """How bad it is; they compare by badness, not by spelling."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (critical)."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


def worst(severities: Iterable[Severity]) -> Severity:
    """The worst of some severities; low when there are none."""
    return max(severities, key=lambda one: one.rank, default=Severity.LOW)


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule says at one look.

    Attributes:
        labels: which alert it is: always `alertname`, `model` ("" when it concerns none) and `severity`.
        annotations: for people: `summary`, `description`, `runbook`, `likely_cause`.
        value: the number that was judged, in the rule's own unit; None where there is none.
        active: the threshold is passed now.
        clears: it is calm now (a rule with hysteresis says so below 0.8 of its threshold). Neither active nor clear:
            between the two, or nothing can be said; then nothing changes.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float | None
    active: bool
    clears: bool = False

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.labels.get(ALERT_NAME, "")

    @property
    def severity(self) -> Severity:
        """How bad it is now; low when the label says nothing that is known."""
        return severity_of(self.labels)

    @property
    def fingerprint(self) -> str:
        """Which alert this is: see `fingerprint`."""
        return fingerprint(self.labels)


def severity_of(labels: Mapping[str, str]) -> Severity:
    """The severity that labels carry; low when there is none that is known."""
    try:
        return Severity(labels.get(SEVERITY, ""))
    except ValueError:
        return Severity.LOW


def fingerprint(labels: Mapping[str, str]) -> str:
    """The identity of an alert: 16 hexadecimal digits of its labels but the severity.

    Alertmanager takes all labels. Here an incident that gets worse stays the same incident: it is told again, under
    the same key, instead of once for each severity. An empty value is as good as no label.

    >>> fingerprint({"alertname": "HighErrorRate", "severity": "low"}) == fingerprint({"alertname": "HighErrorRate"})
    True
    """
    text = "".join(f"{len(name)}:{name}{len(value)}:{value}" for name, value in sorted(told_apart(labels).items()))
    return sha256_hex(text.encode("utf-8", "surrogatepass"))[:_FINGERPRINT_DIGITS]


def sound(alert: Alert) -> Alert:
    """The alert with texts and a value that every receiver and every store can hold."""
    return replace(
        alert,
        labels={_text(name): _text(value) for name, value in alert.labels.items()},
        annotations={_text(name): _text(value) for name, value in alert.annotations.items()},
        value=alert.value if alert.value is not None and math.isfinite(alert.value) else None,
    )


def merged(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """Alerts by fingerprint. Of several that are the same one: the worst active one, and clear only if all are."""
    found: dict[str, Alert] = {}
    for alert in map(sound, alerts):
        key = alert.fingerprint
        other = found.get(key)
        found[key] = alert if other is None else _worse(other, alert)
    return found


def told_apart(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that say which alert it is: all but the severity, and none that is empty."""
    return {name: value for name, value in labels.items() if value and name != SEVERITY}


def _worse(left: Alert, right: Alert) -> Alert:
    chosen = max(left, right, key=lambda one: (one.active, one.severity.rank))
    return replace(chosen, clears=left.clears and right.clears)


def _text(value: str) -> str:
    """Text without lone surrogates and control characters (a feature's name may hold anything), of a bounded length."""
    if len(value) <= _MOST_CHARS and value.isprintable():
        return value
    clean = value.encode("utf-8", "replace").decode()
    clean = "".join(character if character >= " " or character in "\n\t" else " " for character in clean)
    return clean if len(clean) <= _MOST_CHARS else clean[: _MOST_CHARS - 1] + "…"
