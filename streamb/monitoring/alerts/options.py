"""The options of alerting, declared once: how alerts are routed, grouped and repeated, and how fast each one fires."""

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
    """One text is as good as a list of it."""
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
    """How alerts become notifications: of all routes, or of one."""

    group_by: Texts = option("Alerts with the same values of these labels are told together.", default=())
    group_wait_s: Wait | None = option("How long the first alert of a group waits for others.", unit="seconds")
    group_interval_s: Wait | None = option("Shortest time between two notifications of a group.", unit="seconds")
    repeat_interval_s: Annotated[float, Field(ge=0, le=4 * _WEEK_S, allow_inf_nan=False)] | None = option(
        "What still fires is told again after so long.", unit="seconds"
    )
    send_resolved: bool = option("Tell the end of an incident too.", default=True)

    def over(self, default: Grouping) -> Grouping:
        """`default`, but for what was given."""
        return replace(
            default, **{_FIELDS[name]: getattr(self, name) for name in self.model_fields_set & _FIELDS.keys()}
        )


class RouteOptions(GroupingOptions):
    """Who is told of which alerts."""

    receiver: Receiver = option("The name of a channel.", default=...)
    severities: Severities = option("Only alerts of these.", default=EVERY_SEVERITY)
    matchers: Matchers = option("And only those whose labels match all of these.", default=())
    proceed: bool = option("Later routes may match the same alert too.", default=False, alias="continue")


class InhibitionOptions(Options):
    """While an alert that matches `source` fires, those that match `target` are not told."""

    source: SomeMatchers = option("Which alerts mute.", default=...)
    target: SomeMatchers = option("Which are muted.", default=...)
    equal: Texts = option("Labels that both must have in common.", default=())


class PolicyOptions(Options):
    """How fast an alert fires and is resolved; what is not given is as in the catalog."""

    for_s: Wait | None = option("How long it must be active without a break.", unit="seconds")
    keep_firing_s: Wait | None = option("How long it must be calm before it is resolved.", unit="seconds")
    calm_looks: Most | None = option("Calm looks in a row before it is resolved.", unit="looks")
    resolve_timeout_s: Wait | None = option("It is over when no rule says anything for so long.", unit="seconds")


class AlertOptions(GroupingOptions):
    """Everything that may be said about how alerts are told."""

    called: ClassVar[str] = "the options of alerting cannot be used"

    routes: Annotated[tuple[RouteOptions, ...], Field(strict=False), AfterValidator(_any_route)] | None = option(
        "Who is told of what; tried in order."
    )
    severities: dict[AnySeverity, Receivers] | None = option("Shorter than routes: who is told, by severity.")
    inhibit: Annotated[tuple[InhibitionOptions, ...], Field(strict=False)] | None = option(
        "Which alerts make others superfluous."
    )
    rules: dict[Annotated[str, AfterValidator(_alert)], PolicyOptions] = option("Policies by alert.", default={})
    most_per_hour: Most | None = option("Changes of one alert that a receiver is told in an hour.", unit="changes")
    most_alerts: Most | None = option("Alerts that one notification lists; it counts the others.", unit="alerts")
    external_url: str | None = option("Where the pages of this platform are, for links.")

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
    """How alerts are told, from options as a file or a user gives them: `AlertOptions` by name.

    Without `routes` or `severities` every receiver is told of everything that it wants to hear, and without receivers
    nobody is.

    Args:
        options: JSON-ready.
        receivers: the names of the channels that there are.
        severities: what a channel wants to hear of, by its name; one that is missing hears of all.

    Raises:
        InvalidInput: names every field that is wrong; `details["problems"]` has them, each with its place.
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
