"""An alert: the result of a rule for a model now, and which alerts count as the same one."""

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
DEPLOYMENT: Final = "deployment"
CAUSE: Final = "cause"
"""The label that tells apart what one deployment is told of several times: the gates at which it waits, one by one."""
SEVERITY: Final = "severity"
_FINGERPRINT_DIGITS: Final = 16
_MOST_CHARS: Final = 4_000


class Severity(StrEnum):
    """How severe an alert is. Compare severities by `rank`, not by their text."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The severity as a number, from 0 (low) to 3 (critical)."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the worst of the severities, or LOW if there are none."""
    return max(severities, key=lambda one: one.rank, default=Severity.LOW)


@dataclass(frozen=True, slots=True)
class Alert:
    """The result of a rule at one look.

    Attributes:
        labels: identify the alert: always `alertname`, `model` ("" if it concerns no model) and `severity`.
        annotations: texts for people: `summary`, `description`, `runbook`, `likely_cause`.
        value: the number that was judged, in the rule's own unit; None if there is no number.
        active: the value exceeds its limit now.
        clears: the value is well within its limit now (with hysteresis: at most 0.8 of it). If an alert is neither
            active nor clear, the value is in between or unknown, and the alert's state does not change.
        ended: why the alert is over at once, whatever its policy: what it was about is gone. "" if it is not.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float | None
    active: bool
    clears: bool = False
    ended: str = ""

    @property
    def name(self) -> str:
        """The rule's name, from the label `alertname`."""
        return self.labels.get(ALERT_NAME, "")

    @property
    def severity(self) -> Severity:
        """The severity now; LOW if the label is missing or unknown."""
        return severity_of(self.labels)

    @property
    def fingerprint(self) -> str:
        """The alert's identity: see the function `fingerprint`."""
        return fingerprint(self.labels)


def severity_of(labels: Mapping[str, str]) -> Severity:
    """Return the severity in the labels, or LOW if it is missing or unknown."""
    try:
        return Severity(labels.get(SEVERITY, ""))
    except ValueError:
        return Severity.LOW


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return the identity of an alert: 16 hexadecimal digits of a hash of all its labels except the severity.

    Alertmanager hashes all labels. Here an incident that gets worse stays the same incident: it is notified again
    under the same key, instead of once for each severity. A label with an empty value counts as missing.

    >>> fingerprint({"alertname": "HighErrorRate", "severity": "low"}) == fingerprint({"alertname": "HighErrorRate"})
    True
    """
    text = "".join(f"{len(name)}:{name}{len(value)}:{value}" for name, value in sorted(told_apart(labels).items()))
    return sha256_hex(text.encode("utf-8", "surrogatepass"))[:_FINGERPRINT_DIGITS]


def sound(alert: Alert) -> Alert:
    """Return the alert with cleaned texts and a finite value, so that every receiver and store accepts it."""
    return replace(
        alert,
        labels={_text(name): _text(value) for name, value in alert.labels.items()},
        annotations={_text(name): _text(value) for name, value in alert.annotations.items()},
        value=alert.value if alert.value is not None and math.isfinite(alert.value) else None,
    )


def merged(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """Return the alerts by fingerprint. Duplicates become one: the worst active one, clear only if all are clear."""
    found: dict[str, Alert] = {}
    for alert in map(sound, alerts):
        key = alert.fingerprint
        other = found.get(key)
        found[key] = alert if other is None else _worse(other, alert)
    return found


def told_apart(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that identify an alert: all that are not empty, except the severity."""
    return {name: value for name, value in labels.items() if value and name != SEVERITY}


def _worse(left: Alert, right: Alert) -> Alert:
    chosen = max(left, right, key=lambda one: (one.active, one.severity.rank))
    return replace(chosen, clears=left.clears and right.clears)


def _text(value: str) -> str:
    """Remove lone surrogates and control characters (feature names may contain any), and cut to `_MOST_CHARS`."""
    if len(value) <= _MOST_CHARS and value.isprintable():
        return value
    clean = value.encode("utf-8", "replace").decode()
    clean = "".join(character if character >= " " or character in "\n\t" else " " for character in clean)
    return clean if len(clean) <= _MOST_CHARS else clean[: _MOST_CHARS - 1] + "…"
