"""The options of alerting, read and checked: whatever is wrong is named, all of it at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.catalog import CATALOG, policy_of
from streamb.monitoring.alerts.inhibition import Inhibition
from streamb.monitoring.alerts.matchers import Matcher, read_matchers
from streamb.monitoring.alerts.routing import EVERY_SEVERITY, AlertConfig, Grouping, Route
from streamb.monitoring.alerts.state import Policy

_WEEK_S: Final = 7 * 86_400.0
_GROUPING: Final[Mapping[str, tuple[str, float]]] = {
    "group_wait_s": ("wait_s", _WEEK_S),
    "group_interval_s": ("interval_s", _WEEK_S),
    "repeat_interval_s": ("repeat_s", 4 * _WEEK_S),
}
_ROUTE: Final = frozenset({"receiver", "severities", "matchers", "continue", "group_by", "send_resolved", *_GROUPING})
_INHIBITION: Final = frozenset({"source", "target", "equal"})
_POLICY: Final = frozenset({"for_s", "keep_firing_s", "calm_looks", "resolve_timeout_s"})
_TOP: Final = frozenset(
    {"routes", "severities", "inhibit", "rules", "most_per_hour", "most_alerts", "external_url", "group_by",
     "send_resolved", *_GROUPING}
)  # fmt: skip


class _Problems:
    """What is wrong, each with the place where it is."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add(self, place: str, what: str) -> None:
        self.found.setdefault(place, what)

    def number(self, place: str, value: Any, high: float, *, low: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.add(place, f"must be a number, not {value!r}")
        elif not low <= value <= high:
            self.add(place, f"must be from {low:g} to {high:g}, not {value:g}")
        else:
            return float(value)
        return low

    def whole(self, place: str, value: Any, high: int) -> int:
        number = self.number(place, value, high, low=1)
        if number != int(number):
            self.add(place, f"must be a whole number, not {value!r}")
        return int(number)

    def flag(self, place: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.add(place, f"must be true or false, not {value!r}")
        return value is True

    def text(self, place: str, value: Any) -> str:
        if not isinstance(value, str):
            self.add(place, f"must be text, not {value!r}")
            return ""
        return value

    def listed(self, place: str, value: Any) -> list[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.add(place, f"must be a list, not {value!r}")
            return []
        return list(value)

    def object(self, place: str, value: Any, allowed: frozenset[str] | None = None) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.add(place, f"must be an object of names and values, not {value!r}")
            return {}
        for name in value:
            if allowed is not None and name not in allowed:
                self.add(_at(place, name), f"is not known here; there are {', '.join(sorted(allowed))}")
        return value

    def matchers(self, place: str, value: Any) -> tuple[Matcher, ...]:
        try:
            return read_matchers(value)
        except InvalidInput as error:
            self.add(place, error.message)
            return ()

    def severities(self, place: str, value: Any) -> frozenset[Severity]:
        names = [value] if isinstance(value, str) else self.listed(place, value)
        for name in names:
            if name not in frozenset(Severity):
                self.add(place, f"{name!r} is no severity: there are {', '.join(Severity)}")
        return frozenset(Severity(name) for name in names if name in frozenset(Severity))


def read_alert_options(
    options: Mapping[str, Any],
    receivers: Sequence[str],
    severities: Mapping[str, frozenset[Severity]] | None = None,
) -> AlertConfig:
    """How alerts are told, from options as a file or a user gives them.

    `routes` say who is told of what; or, shorter, `severities`: `{"critical": ["pagerduty", "log"], …}`. Without
    either, every receiver is told of everything that it wants to hear, and without receivers nobody is. The other
    options are the fields of `AlertConfig` and, with Alertmanager's names, of `Grouping` (for all routes, or in one);
    `rules` holds the fields of `Policy` by the name of an alert.

    Args:
        options: JSON-ready.
        receivers: the names of the channels that there are.
        severities: what a channel wants to hear of, by its name; one that is missing hears of all.

    Raises:
        InvalidInput: names every field that is wrong; `details["problems"]` has them by their place.
    """
    problems = _Problems()
    given = {name: value for name, value in problems.object("", options, _TOP).items() if value is not None}
    grouping = _grouping(problems, "", given, Grouping())
    config = replace(
        AlertConfig.for_receivers(receivers, severities),
        policies={
            name: _policy(problems, name, fields)
            for name, fields in problems.object("rules", given.get("rules", {}), frozenset(CATALOG)).items()
        },
    )
    config = replace(config, routes=_routes(problems, given, config.routes, grouping, receivers))
    readers: dict[str, Callable[[Any], Any]] = {
        "most_per_hour": lambda value: problems.whole("most_per_hour", value, 1_000),
        "most_alerts": lambda value: problems.whole("most_alerts", value, 1_000),
        "external_url": lambda value: problems.text("external_url", value),
    }
    config = replace(config, **{name: read(given[name]) for name, read in readers.items() if name in given})
    if "inhibit" in given:
        config = replace(config, inhibitions=_inhibitions(problems, given["inhibit"]))
    if problems.found:
        words = "; ".join(f"{place or 'the options'} {what}" for place, what in problems.found.items())
        raise InvalidInput(f"the options of alerting cannot be used: {words}", problems=problems.found)
    return config


def _routes(
    problems: _Problems,
    given: Mapping[str, Any],
    default: tuple[Route, ...],
    grouping: Grouping,
    receivers: Sequence[str],
) -> tuple[Route, ...]:
    if "routes" in given and "severities" in given:
        problems.add("severities", "cannot stand beside routes: choose one of them")
    if "routes" in given:
        listed = problems.listed("routes", given["routes"])
        routes = [_route(problems, f"routes[{i}]", one, grouping, receivers) for i, one in enumerate(listed)]
        if not routes:
            problems.add("routes", "must name at least one route: else nobody is ever told")
        return tuple(routes)
    if "severities" in given:
        return _by_severity(problems, given["severities"], grouping, receivers)
    return tuple(replace(route, grouping=grouping) for route in default)


def _route(problems: _Problems, place: str, value: Any, grouping: Grouping, receivers: Sequence[str]) -> Route:
    body = problems.object(place, value, _ROUTE)
    if "receiver" not in body:
        problems.add(f"{place}.receiver", f"is missing; there are {', '.join(receivers) or 'no channels'}")
    severities = body.get("severities")
    return Route(
        receiver=_receiver(problems, f"{place}.receiver", body.get("receiver"), receivers),
        severities=EVERY_SEVERITY if severities is None else problems.severities(f"{place}.severities", severities),
        matchers=problems.matchers(f"{place}.matchers", body.get("matchers", [])),
        grouping=_grouping(problems, place, body, grouping),
        proceed=problems.flag(f"{place}.continue", body.get("continue", False)),
    )


def _by_severity(problems: _Problems, value: Any, grouping: Grouping, receivers: Sequence[str]) -> tuple[Route, ...]:
    wanted: dict[str, set[Severity]] = {}
    for severity, names in problems.object("severities", value, frozenset(Severity)).items():
        place = f"severities.{severity}"
        for name in [names] if isinstance(names, str) else problems.listed(place, names):
            receiver = _receiver(problems, place, name, receivers)
            wanted.setdefault(receiver, set()).update(one for one in Severity if one == severity)
    return tuple(Route(name, frozenset(one), grouping=grouping, proceed=True) for name, one in wanted.items())


def _receiver(problems: _Problems, place: str, value: Any, receivers: Sequence[str]) -> str:
    name = problems.text(place, value)
    if name not in receivers:
        problems.add(place, f"{value!r} is no channel: there are {', '.join(receivers) or 'none'}")
    return name


def _grouping(problems: _Problems, place: str, given: Mapping[str, Any], default: Grouping) -> Grouping:
    changes: dict[str, Any] = {
        field: problems.number(_at(place, name), given[name], high)
        for name, (field, high) in _GROUPING.items()
        if name in given
    }
    if "group_by" in given:
        listed = problems.listed(_at(place, "group_by"), given["group_by"])
        changes["by"] = tuple(problems.text(_at(place, "group_by"), name) for name in listed)
    if "send_resolved" in given:
        changes["send_resolved"] = problems.flag(_at(place, "send_resolved"), given["send_resolved"])
    return replace(default, **changes)


def _policy(problems: _Problems, name: str, value: Any) -> Policy:
    place = f"rules.{name}"
    changes: dict[str, Any] = {}
    for field, given in problems.object(place, value, _POLICY).items():
        if field == "calm_looks":
            changes[field] = problems.whole(f"{place}.{field}", given, 1_000)
        elif field in _POLICY:
            changes[field] = problems.number(f"{place}.{field}", given, _WEEK_S)
    return replace(policy_of(name), **changes)


def _inhibitions(problems: _Problems, value: Any) -> tuple[Inhibition, ...]:
    found = []
    for index, one in enumerate(problems.listed("inhibit", value)):
        place = f"inhibit[{index}]"
        body = problems.object(place, one, _INHIBITION)
        source = problems.matchers(f"{place}.source", body.get("source", []))
        target = problems.matchers(f"{place}.target", body.get("target", []))
        for name, matchers in (("source", source), ("target", target)):
            if not matchers:
                problems.add(f"{place}.{name}", "must have at least one matcher")
        equal = problems.listed(f"{place}.equal", body.get("equal", []))
        found.append(Inhibition(source, target, tuple(problems.text(f"{place}.equal", name) for name in equal)))
    return tuple(found)


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else str(name)
