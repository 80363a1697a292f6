"""The declaration of a type of channel: its options, the settings that provide them, and how it is opened.

A new type is one file in this package: a subclass of `ChannelOptions` with a `kind`, and the channel that it opens.
`channel_types` finds it there; everything else (the `ML_ALERT_*` variables, their checks, the documents, the contract
tests) is derived from the declaration.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from streamb.clock import Clock
from streamb.config import resolve_secret
from streamb.errors import ConfigError, InvalidInput
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES, AlertChannel
from streamb.monitoring.channels.http import Patience, Poster, judge, url_parts
from streamb.options import problem_of, spoken

Name = Annotated[
    str,
    StringConstraints(
        pattern=spoken(
            r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            "cannot be a name: use 1 to 64 letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    ),
]


def _resolved(secret: SecretStr) -> SecretStr:
    """Resolve a reference to a secret; this happens when the channel is opened."""
    try:
        return SecretStr(resolve_secret(secret.get_secret_value()))
    except ConfigError as error:
        raise ValueError(error.message) from None


Secret = Annotated[SecretStr, AfterValidator(_resolved)]


def _separated(value: Any) -> Any:
    """Split a text at its commas into a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Separated: Final = BeforeValidator(_separated)
"""Marks an option that is a list, or a text with the items separated by commas."""


@dataclass(frozen=True, slots=True)
class Variable:
    """The setting of the platform that provides an option; part of the option's `Annotated`.

    Attributes:
        name: the name in `Settings`: "alert_slack_webhook_url" is the variable `ML_ALERT_SLACK_WEBHOOK_URL`.
        sentence: its description in `docs/configuration.md`.
        allowed: the allowed values, for the error about another value.
        fits: returns whether a text is allowed; by default any text that is not empty.
        secret: whether the value is never shown, and may be a reference (`file:PATH`, `env:NAME`).
        if_missing: the warning if the channel is used without it; "" for no warning.
    """

    name: str
    sentence: str
    allowed: str = "text that is not empty"
    fits: Callable[[str], bool] = bool
    secret: bool = True
    if_missing: str = ""


def web_address(name: str, sentence: str) -> Variable:
    """Return a variable for the web address that a channel posts to."""
    return Variable(name, sentence, allowed="https://HOST/PATH, or file:PATH, env:NAME", fits=_is_web_address)


def _is_web_address(text: str) -> bool:
    parts = url_parts(text)
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname) and text.split() == [text]


class ChannelOptions(BaseModel, ABC):
    """The options of every type of channel.

    Attributes:
        kind: the name of the type, by which it is chosen.
        name: the channel's name; by default `kind`.
        severities: only alerts of these severities; by default `default_severities`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str]
    default_severities: ClassVar[frozenset[Severity]] = ALL_SEVERITIES

    name: Name | None = None
    severities: Annotated[frozenset[Severity], Separated] | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        if "kind" in vars(cls):
            _TYPES[cls.kind] = cls

    @classmethod
    def variables(cls) -> dict[str, Variable]:
        """Return the settings of this type, by the name of the option."""
        return {
            field.alias or name: marker
            for name, field in cls.model_fields.items()
            for marker in field.metadata
            if isinstance(marker, Variable)
        }

    @classmethod
    def needed(cls) -> list[str]:
        """Return the names of the settings that this type requires."""
        required = {field.alias or name for name, field in cls.model_fields.items() if field.is_required()}
        return [variable.name for option, variable in cls.variables().items() if option in required]

    @property
    def called(self) -> str:
        """The channel's name: `name`, or else `kind`."""
        return self.name or self.kind

    @property
    def hears_of(self) -> frozenset[Severity]:
        """The severities of the alerts that the channel sends."""
        return self.severities or self.default_severities

    @abstractmethod
    def open(self, clock: Clock) -> AlertChannel:
        """Return the channel, ready to send.

        Raises:
            ConfigError: an option is not valid, or a package is missing.
        """


class SendingOptions(ChannelOptions):
    """The options of channels that open a connection.

    Attributes:
        ca_file: certificates (PEM) to trust in addition to the usual ones.
        connect_timeout_s: the time limit for connecting, in seconds, above 0 to 60.
        timeout_s: the time limit for the whole delivery, in seconds, above 0 to 120.
    """

    ca_file: Path | None = None
    connect_timeout_s: float = Field(5.0, gt=0, le=60)
    timeout_s: float = Field(10.0, gt=0, le=120)

    @property
    def patience(self) -> Patience:
        """The time limits of one delivery."""
        return Patience(self.connect_timeout_s, self.timeout_s)


@dataclass(frozen=True, slots=True)
class PostingChannel:
    """Posts each notification as one JSON body to one address.

    Attributes:
        name: see `AlertChannel`.
        poster: posts to that address, and keeps its secrets out of errors.
        body: returns the JSON body for a notification.
        severities: the severities of the alerts that the channel sends.
        interval_s: the shortest time between two sends that the receiver allows, in seconds.
        keeps_incidents: whether an incident stays open at the receiver until it is resolved.
    """

    name: str
    poster: Poster
    body: Callable[[Notification], bytes] = field(repr=False)
    severities: frozenset[Severity] = ALL_SEVERITIES
    interval_s: float = 0.0
    keeps_incidents: bool = False

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`."""
        judge(self.poster.host, self.poster.post(self.body(notification), {}))


class PostingOptions(SendingOptions):
    """The options of channels that post to an address; `allow_private_addresses` permits private networks."""

    allow_private_addresses: bool = False

    def poster(self, url: SecretStr, clock: Clock, *hide: SecretStr) -> Poster:
        """Return a poster to `url` that removes the secrets in `hide` from the receiver's answers."""
        return Poster(
            url,
            clock,
            allow_private=self.allow_private_addresses,
            ca_file=self.ca_file,
            hide=hide,
            patience=self.patience,
        )


_TYPES: Final[dict[str, type[ChannelOptions]]] = {}


def channel_types() -> dict[str, type[ChannelOptions]]:
    """Return every type of channel by its name: those in the files of this package and any defined elsewhere."""
    _import_all()
    return dict(sorted(_TYPES.items()))


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def read_options(spec: Mapping[str, Any]) -> ChannelOptions:
    """Return the options that a specification describes.

    Raises:
        InvalidInput: names the channel and every wrong option, but shows no value.
    """
    types, kind = channel_types(), str(spec.get("type"))
    if kind not in types:
        raise InvalidInput(f"an alert channel needs a type: one of {', '.join(types)}")
    try:
        return types[kind].model_validate({name: value for name, value in spec.items() if name != "type"})
    except ValidationError as error:
        problems = [_problem(found, kind) for found in error.errors(include_input=False, include_url=False)]
        called = spec.get("name") or kind
        raise InvalidInput(f"the alert channel {called}: {'; '.join(problems)}", problems=problems) from None


def _problem(found: Any, kind: str) -> str:
    place = ".".join(str(part) for part in found["loc"]) or "it"
    words = {"missing": "is missing", "extra_forbidden": f"is not an option of {kind}"}
    said = problem_of(found).removeprefix("Value error, ")
    return f"{place} {words.get(found['type'], f'is wrong: {said}')}"
