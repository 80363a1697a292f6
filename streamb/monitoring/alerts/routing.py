"""Routing: which receivers are notified of an alert, by its severity and its other labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streamb.monitoring.alerts.alert import ALERT_NAME, DEPLOYMENT, MODEL, SEVERITY, VERSION, Severity, severity_of
from streamb.monitoring.alerts.catalog import DELIVERY_FAILING, DEPLOYMENT_COMPLETED, is_information, policy_of
from streamb.monitoring.alerts.inhibition import Inhibition
from streamb.monitoring.alerts.matchers import Matcher, Operator, matches_all
from streamb.monitoring.alerts.state import Policy

CHANNEL: Final = "channel"
"""The label that names the channel in an alert about a channel."""
EVERY_SEVERITY: Final = frozenset(Severity)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How alerts become notifications, with Alertmanager's defaults. Times are in seconds.

    Attributes:
        by: alerts with the same values of these labels go into one notification.
        wait_s: how long the first alert of a group waits for others.
        interval_s: the shortest time between two notifications of one group.
        repeat_s: how long until an alert that still fires is sent again.
        send_resolved: whether the end of an incident is sent too.
    """

    by: tuple[str, ...] = (ALERT_NAME, MODEL)
    wait_s: float = 30.0
    interval_s: float = 300.0
    repeat_s: float = 4 * 3_600.0
    send_resolved: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """Sends the alerts that match to a receiver.

    Attributes:
        receiver: the name of a channel.
        severities: only alerts of these severities.
        matchers: only alerts whose labels match all of these.
        grouping: how the alerts become notifications.
        proceed: whether later routes may match the same alert too (Alertmanager's `continue`).
    """

    receiver: str
    severities: frozenset[Severity] = EVERY_SEVERITY
    matchers: tuple[Matcher, ...] = ()
    grouping: Grouping = field(default_factory=Grouping)
    proceed: bool = False

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Return whether the route takes an alert with these labels; one for information must be named by a matcher."""
        if is_information(labels.get(ALERT_NAME, "")) and not self._names_alerts:
            return False
        return severity_of(labels) in self.severities and matches_all(self.matchers, labels)

    @property
    def _names_alerts(self) -> bool:
        positive = {Operator.EQUAL, Operator.MATCHES}
        return any(one.name == ALERT_NAME and one.operator in positive for one in self.matchers)

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels, with their values, that identify the group of an alert."""
        return {name: labels[name] for name in self.grouping.by if labels.get(name)}

    def group_key(self, group_labels: Mapping[str, str]) -> str:
        """Return a group's name in its receiver, in Alertmanager's form `{}:{alertname="DataDrift", model="iris"}`."""
        conditions = ", ".join(map(str, self.matchers))
        if self.severities != EVERY_SEVERITY:
            severities = "|".join(one for one in Severity if one in self.severities)
            conditions = ", ".join(filter(None, (str(Matcher(SEVERITY, Operator.MATCHES, severities)), conditions)))
        values = ", ".join(str(Matcher(name, Operator.EQUAL, value)) for name, value in group_labels.items())
        return f"{{{conditions}}}:{{{values}}}"


_CRITICAL: Final = (Matcher(SEVERITY, Operator.EQUAL, Severity.CRITICAL),)
_LESSER: Final = (Matcher(SEVERITY, Operator.NOT_EQUAL, Severity.CRITICAL),)
CRITICAL_MUTES_LESSER: Final = Inhibition(_CRITICAL, _LESSER, (MODEL, VERSION, CHANNEL, DEPLOYMENT))
"""While a critical alert of a version (or a channel) fires, its less severe ones are not sent; those of its deployment
are: that it was rolled back is no detail of its errors."""
_COMPLETED: Final = (Matcher(ALERT_NAME, Operator.EQUAL, DEPLOYMENT_COMPLETED.name),)
LOG: Final = "log"
"""The channel that is also told of what needs nobody, unless routes say otherwise."""


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """The configuration of alerting.

    Attributes:
        routes: which receiver is notified of which alerts; tried in order.
        inhibitions: which alerts mute others while they fire.
        policies: how fast alerts fire and are resolved, by name, where it differs from the catalog.
        most_per_hour: most changes of one alert that one receiver gets within an hour.
        most_alerts: most alerts that one notification lists; it counts the others.
        external_url: the address of streamb's own pages, for links; "" if there is none.
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
        """Return a configuration in which each receiver gets all alerts, or those of the severities given for it.

        Only the log gets those for information.
        """
        wanted = severities or {}
        routes = [Route(one, wanted.get(one, EVERY_SEVERITY), proceed=True) for one in receivers]
        routes += [replace(one, matchers=_COMPLETED) for one in routes if one.receiver == LOG]
        return cls(routes=tuple(routes))

    def policy(self, name: str) -> Policy:
        """Return how fast the alert of this name fires and is resolved."""
        return self.policies.get(name) or policy_of(name)

    def routes_of(self, labels: Mapping[str, str]) -> list[Route]:
        """Return the routes of an alert, at most one for each receiver.

        An alert about a failing channel is sent through the other channels, if there are any.
        """
        found: dict[str, Route] = {}
        for route in self.routes:
            if route.takes(labels):
                found.setdefault(route.receiver, route)
                if not route.proceed:
                    break
        if labels.get(ALERT_NAME) != DELIVERY_FAILING.name:
            return list(found.values())
        sound = [route for route in self.routes if route.receiver != labels.get(CHANNEL)]
        return [route for route in found.values() if route in sound] or sound[:1] or list(found.values())
