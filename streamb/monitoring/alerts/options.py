"""The options of alerting: how alerts are routed, grouped and repeated, and how fast each one fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from streamb.errors import InvalidInput
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.catalog import CATALOG, policy_of
from streamb.monitoring.alerts.inhibition import Inhibition
from streamb.monitoring.alerts.matchers import Matcher, read_matchers
from streamb.monitoring.alerts.routing import EVERY_SEVERITY, AlertConfig, Grouping, Route
from streamb.options import Options, option

_WEEK_S: Final = 7 * 86_400.0
_FIELDS: Final[Mapping[str, str]] = {
    "group_by": "by",
    "group_wait_s": "wait_s",
    "group_interval_s": "interval_s",
    "repeat_interval_s": "repeat_s",
    "send_resolved": "send_resolved",
}
"""The fields of `Grouping` by the names of the options, which are Alertmanager's."""


def _alone(given: Any) -> Any:
    """Turn a single text into a list of it."""
    return [given] if isinstance(given, str) else given


def _read_matchers(given: Any) -> tuple[Matcher, ...]:
    try:
        return read_matchers(given)
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _some(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    if not matchers:
        raise ValueError("must have at least one matcher")
    return matchers


def _any_route(routes: tuple[RouteOptions, ...]) -> tuple[RouteOptions, ...]:
    if not routes:
        raise ValueError("must name at least one route; otherwise no alert is ever sent")
    return routes


def _channel(name: str, info: ValidationInfo) -> str:
    if name not in (info.context or ()):
        raise ValueError(f"is not a channel; channels: {', '.join(info.context or ()) or 'none'}")
    return name


def _alert(name: str) -> str:
    if name not in CATALOG:
        raise ValueError(f"is not an alert; alerts: {', '.join(CATALOG)}")
    return name


Wait = Annotated[float, Field(ge=0, le=_WEEK_S, allow_inf_nan=False)]
Most = Annotated[int, Field(ge=1, le=1_000)]
Texts = Annotated[tuple[str, ...], Field(strict=False)]
Matchers = Annotated[tuple[Matcher, ...], PlainValidator(_read_matchers)]
SomeMatchers = Annotated[Matchers, AfterValidator(_some)]
Receiver = Annotated[str, AfterValidator(_channel)]
Receivers = Annotated[tuple[Receiver, ...], Field(strict=False), BeforeValidator(_alone)]
AnySeverity = Annotated[Severity, Field(strict=False)]
Severities = Annotated[frozenset[AnySeverity], Field(strict=False), BeforeValidator(_alone)]


class GroupingOptions(Options):
    """How alerts become notifications, for all routes or for one."""

    group_by: Texts = option("Alerts with the same values of these labels go into one notification.", default=())
    group_wait_s: Wait | None = option("How long the first alert of a group waits for others.", unit="seconds")
    group_interval_s: Wait | None = option("Shortest time between two notifications of a group.", unit="seconds")
    repeat_interval_s: Annotated[float, Field(ge=0, le=4 * _WEEK_S, allow_inf_nan=False)] | None = option(
        "How long until an alert that still fires is sent again.", unit="seconds"
    )
    send_resolved: bool = option("Whether the end of an incident is sent too.", default=True)

    def over(self, default: Grouping) -> Grouping:
        """Return `default` with the options that were given."""
        return replace(
            default, **{_FIELDS[name]: getattr(self, name) for name in self.model_fields_set & _FIELDS.keys()}
        )


class RouteOptions(GroupingOptions):
    """Which alerts a receiver is notified of."""

    receiver: Receiver = option("The name of a channel.", default=...)
    severities: Severities = option("Only alerts of these severities.", default=EVERY_SEVERITY)
    matchers: Matchers = option("Only alerts whose labels match all of these.", default=())
    proceed: bool = option("Later routes may match the same alert too.", default=False, alias="continue")


class InhibitionOptions(Options):
    """While an alert that matches `source` fires, alerts that match `target` are not sent."""

    source: SomeMatchers = option("The alerts that mute others.", default=...)
    target: SomeMatchers = option("The alerts that are muted.", default=...)
    equal: Texts = option("Labels whose values must be equal in both.", default=())


class PolicyOptions(Options):
    """How fast an alert fires and is resolved; an option that is not given is taken from the catalog."""

    for_s: Wait | None = option("How long it must be active without a break.", unit="seconds")
    keep_firing_s: Wait | None = option("How long it must be calm before it is resolved.", unit="seconds")
    calm_looks: Most | None = option("Calm looks in a row before it is resolved.", unit="looks")
    resolve_timeout_s: Wait | None = option("It is resolved when no rule reports it for this long.", unit="seconds")


class AlertOptions(GroupingOptions):
    """All options of alerting."""

    called: ClassVar[str] = "the options of alerting cannot be used"

    routes: Annotated[tuple[RouteOptions, ...], Field(strict=False), AfterValidator(_any_route)] | None = option(
        "Which receiver is notified of which alerts; tried in order."
    )
    severities: dict[AnySeverity, Receivers] | None = option("Instead of routes: receivers by severity.")
    inhibit: Annotated[tuple[InhibitionOptions, ...], Field(strict=False)] | None = option(
        "Which alerts mute others while they fire."
    )
    rules: dict[Annotated[str, AfterValidator(_alert)], PolicyOptions] = option("Policies by alert.", default={})
    most_per_hour: Most | None = option("Most changes of one alert that a receiver gets in an hour.", unit="changes")
    most_alerts: Most | None = option("Most alerts that one notification lists; it counts the others.", unit="alerts")
    external_url: str | None = option("The address of this platform's pages, for links.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.routes is not None and self.severities is not None:
            raise ValueError("severities and routes cannot be combined: choose one of them")
        return self


def read_alert_options(
    options: Mapping[str, Any],
    receivers: Sequence[str],
    severities: Mapping[str, frozenset[Severity]] | None = None,
) -> AlertConfig:
    """Return the configuration of alerting from the options in a file or of a user: the fields of `AlertOptions`.

    Without `routes` and `severities`, every receiver is notified of all alerts of its severities.

    Args:
        options: options by name, as JSON values.
        receivers: the names of the available channels.
        severities: the severities of each channel, by its name; a channel without an entry gets all of them.

    Raises:
        InvalidInput: names every wrong field; `details["problems"]` lists them.
    """
    read = AlertOptions.read(options, tuple(receivers))
    plain = {name: getattr(read, name) for name in ("most_per_hour", "most_alerts", "external_url")}
    config = AlertConfig(
        routes=_routes(read, AlertConfig.for_receivers(receivers, severities).routes),
        policies={name: replace(policy_of(name), **one.given) for name, one in read.rules.items()},
        **{name: value for name, value in plain.items() if value is not None},
    )
    if read.inhibit is None:
        return config
    return replace(config, inhibitions=tuple(Inhibition(one.source, one.target, one.equal) for one in read.inhibit))


def _routes(read: AlertOptions, default: tuple[Route, ...]) -> tuple[Route, ...]:
    grouping = read.over(Grouping())
    if read.routes is not None:
        return tuple(
            Route(one.receiver, one.severities, one.matchers, one.over(grouping), one.proceed) for one in read.routes
        )
    if read.severities is None:
        return tuple(replace(route, grouping=grouping) for route in default)
    wanted: dict[str, set[Severity]] = {}
    for severity, names in read.severities.items():
        for name in names:
            wanted.setdefault(name, set()).add(severity)
    return tuple(Route(name, frozenset(one), grouping=grouping, proceed=True) for name, one in wanted.items())
