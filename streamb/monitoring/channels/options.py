"""What a type of channel declares: its options, the settings that they are taken from, and how it is opened.

A new type is one file in this package: a subclass of `ChannelOptions` with a `kind`, and the channel that it opens.
`channel_types` finds it there; everything else (the `ML_ALERT_*` variables, their checks, the documents, the contract
tests) follows from the declaration.
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

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _resolved(secret: SecretStr) -> SecretStr:
    """What a reference stands for; the value is looked up here, where the channel is opened."""
    try:
        return SecretStr(resolve_secret(secret.get_secret_value()))
    except ConfigError as error:
        raise ValueError(error.message) from None


Secret = Annotated[SecretStr, AfterValidator(_resolved)]


def _separated(value: Any) -> Any:
    """One text with commas is as good as a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Separated: Final = BeforeValidator(_separated)
"""Marks an option that is a list, or one text with commas."""


@dataclass(frozen=True, slots=True)
class Variable:
    """The setting of the platform from which an option is taken; stands in the option's `Annotated`.

    Attributes:
        name: as in `Settings`: "alert_slack_webhook_url" is the variable `ML_ALERT_SLACK_WEBHOOK_URL`.
        sentence: what it is, for `docs/configuration.md`.
        allowed: what it may be, for the error when it is something else.
        fits: whether a text is that; by default any text is.
        secret: it is never shown, and may be a reference (`file:PATH`, `env:NAME`).
        if_missing: what follows when the channel is in use without it: a warning; "" for none.
    """

    name: str
    sentence: str
    allowed: str = "text that is not empty"
    fits: Callable[[str], bool] = bool
    secret: bool = True
    if_missing: str = ""


def web_address(name: str, sentence: str) -> Variable:
    """A variable that holds the address to post to."""
    return Variable(name, sentence, allowed="https://HOST/PATH, or file:PATH, env:NAME", fits=_is_web_address)


def _is_web_address(text: str) -> bool:
    parts = url_parts(text)
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname) and text.split() == [text]


class ChannelOptions(BaseModel, ABC):
    """What all types of channels have.

    Attributes:
        kind: the name of the type, by which it is chosen.
        name: of the channel, by default the type's.
        severities: only alerts of these; by default those of `default_severities`.
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
        """The settings of this type, by the name of the option."""
        return {
            field.alias or name: marker
            for name, field in cls.model_fields.items()
            for marker in field.metadata
            if isinstance(marker, Variable)
        }

    @classmethod
    def needed(cls) -> list[str]:
        """The settings without which this type cannot be opened."""
        required = {field.alias or name for name, field in cls.model_fields.items() if field.is_required()}
        return [variable.name for option, variable in cls.variables().items() if option in required]

    @property
    def called(self) -> str:
        """The name of the channel."""
        return self.name or self.kind

    @property
    def hears_of(self) -> frozenset[Severity]:
        """The severities that the channel is told of."""
        return self.severities or self.default_severities

    @abstractmethod
    def open(self, clock: Clock) -> AlertChannel:
        """The channel, ready to send.

        Raises:
            ConfigError: an option is not possible, or a package is missing.
        """


class SendingOptions(ChannelOptions):
    """What channels have that open a connection.

    Attributes:
        ca_file: certificates (PEM) to trust besides the usual ones.
        connect_timeout_s: until there is a connection, in seconds.
        timeout_s: until all is done, in seconds.
    """

    ca_file: Path | None = None
    connect_timeout_s: float = Field(5.0, gt=0, le=60)
    timeout_s: float = Field(10.0, gt=0, le=120)

    @property
    def patience(self) -> Patience:
        """How long one delivery may take."""
        return Patience(self.connect_timeout_s, self.timeout_s)


@dataclass(frozen=True, slots=True)
class PostingChannel:
    """Posts each notification as one JSON body to one address.

    Attributes:
        name: see `AlertChannel`.
        poster: to that address; whatever is secret in it stays there.
        body: from a notification to what is posted.
        severities: of which alerts it is told.
        interval_s: the shortest time between two sends that the receiver allows, in seconds.
        keeps_incidents: what was triggered stays open there until it is resolved.
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
    """What channels have that post to an address. `allow_private_addresses`: receivers in the own network are fine."""

    allow_private_addresses: bool = False

    def poster(self, url: SecretStr, clock: Clock, *hide: SecretStr) -> Poster:
        """What posts to `url`; answers are shown without what is in `hide`."""
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
    """Every type of channel by its name: those in the files of this package, and any that was defined elsewhere."""
    _import_all()
    return dict(sorted(_TYPES.items()))


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def read_options(spec: Mapping[str, Any]) -> ChannelOptions:
    """Options from a mapping.

    Raises:
        InvalidInput: names the channel and every wrong option, and repeats no value.
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
    words = {"missing": "is missing", "extra_forbidden": f"is no option of {kind}"}
    said = str(found["msg"]).removeprefix("Value error, ")
    return f"{place} {words.get(found['type'], f'is wrong: {said}')}"
