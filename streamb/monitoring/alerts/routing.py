"""Routing: which receivers are told of an alert, by its severity and its other labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, SEVERITY, VERSION, Severity, severity_of
from streamb.monitoring.alerts.catalog import DELIVERY_FAILING, policy_of
from streamb.monitoring.alerts.inhibition import Inhibition
from streamb.monitoring.alerts.matchers import Matcher, Operator, matches_all
from streamb.monitoring.alerts.state import Policy

CHANNEL: Final = "channel"
"""The label of an alert about a channel of ours."""
EVERY_SEVERITY: Final = frozenset(Severity)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How alerts become notifications; the names are Alertmanager's, and so are the defaults.

    Attributes:
        by: alerts with the same values of these labels are told together.
        wait_s: after the first alert of a group, how long to wait for others before anything is told.
        interval_s: the shortest time between two notifications of one group.
        repeat_s: what still fires is told again after so long.
        send_resolved: tell the end of an incident too.
    """

    by: tuple[str, ...] = (ALERT_NAME, MODEL)
    wait_s: float = 30.0
    interval_s: float = 300.0
    repeat_s: float = 4 * 3_600.0
    send_resolved: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """Alerts that match go to a receiver.

    Attributes:
        receiver: the name of a channel.
        severities: only alerts of these.
        matchers: and only those that match all of these.
        grouping: how they are put together.
        proceed: later routes may match the same alert too (Alertmanager's `continue`).
    """

    receiver: str
    severities: frozenset[Severity] = EVERY_SEVERITY
    matchers: tuple[Matcher, ...] = ()
    grouping: Grouping = field(default_factory=Grouping)
    proceed: bool = False

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels goes this way."""
        return severity_of(labels) in self.severities and matches_all(self.matchers, labels)

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels, with their values, of the group that an alert belongs to."""
        return {name: labels[name] for name in self.grouping.by if labels.get(name)}

    def group_key(self, group_labels: Mapping[str, str]) -> str:
        """A group's name within its receiver, as Alertmanager writes it: `{}:{alertname="DataDrift", model="iris"}`."""
        conditions = ", ".join(map(str, self.matchers))
        if self.severities != EVERY_SEVERITY:
            severities = "|".join(one for one in Severity if one in self.severities)
            conditions = ", ".join(filter(None, (str(Matcher(SEVERITY, Operator.MATCHES, severities)), conditions)))
        values = ", ".join(str(Matcher(name, Operator.EQUAL, value)) for name, value in group_labels.items())
        return f"{{{conditions}}}:{{{values}}}"


_CRITICAL: Final = (Matcher(SEVERITY, Operator.EQUAL, Severity.CRITICAL),)
_LESSER: Final = (Matcher(SEVERITY, Operator.NOT_EQUAL, Severity.CRITICAL),)
CRITICAL_MUTES_LESSER: Final = Inhibition(_CRITICAL, _LESSER, (MODEL, VERSION, CHANNEL))
"""While something critical is wrong with a version of a model (or a channel), what is less than that is not told."""


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """Everything that may be said about how alerts are told.

    Attributes:
        routes: tried in order.
        inhibitions: which alerts make others superfluous.
        policies: how fast alerts fire and are resolved, by name, where it differs from the catalog.
        most_per_hour: changes of one alert that one receiver is told within an hour.
        most_alerts: alerts that one notification lists; it counts the others.
        external_url: where streamb's own pages are, for links.
    """

    routes: tuple[Route, ...] = ()
    inhibitions: tuple[Inhibition, ...] = (CRITICAL_MUTES_LESSER,)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    most_per_hour: int = 2
    most_alerts: int = 50
    external_url: str = ""

    @classmethod
    def for_receivers(
        cls, receivers: Sequence[str], severities: Mapping[str, frozenset[Severity]] | None = None
    ) -> AlertConfig:
        """Every receiver is told of everything, or of the severities given for it; without any, nobody is told."""
        wanted = severities or {}
        routes = [Route(one, wanted.get(one, EVERY_SEVERITY), proceed=True) for one in receivers]
        return cls(routes=tuple(routes))

    def policy(self, name: str) -> Policy:
        """How fast the alert of this name fires and is resolved."""
        return self.policies.get(name) or policy_of(name)

    def routes_of(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes of an alert, at most one for each receiver.

        That a channel does not deliver is told through the others, where there are any.
        """
        found: dict[str, Route] = {}
        for route in self.routes:
            if route.takes(labels):
                found.setdefault(route.receiver, route)
                if not route.proceed:
                    break
        if labels.get(ALERT_NAME) != DELIVERY_FAILING:
            return list(found.values())
        sound = [route for route in self.routes if route.receiver != labels.get(CHANNEL)]
        return [route for route in found.values() if route in sound] or sound[:1] or list(found.values())
