"""What a channel is opened with, as people write it: a mapping with `type` and what that type needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from streamb.config import NEEDED_BY_CHANNEL, resolve_secret
from streamb.errors import ConfigError, InvalidInput
from streamb.monitoring.alerts.alert import Severity

MailAddress = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f@]+@[^\x00-\x1f@]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _resolved(secret: SecretStr) -> SecretStr:
    """What a reference stands for; the value is looked up here, where the channel is opened."""
    try:
        return SecretStr(resolve_secret(secret.get_secret_value()))
    except ConfigError as error:
        raise ValueError(error.message) from None


Secret = Annotated[SecretStr, AfterValidator(_resolved)]


def _sendable(secret: SecretStr) -> SecretStr:
    """What can stand in a header: else the client's own error, which repeats it, would come with the first alert."""
    value = secret.get_secret_value()
    if not value.isascii() or not value.isprintable():
        raise ValueError("a header holds printable ASCII only")
    return secret


HeaderValue = Annotated[Secret, AfterValidator(_sendable)]


def _separated(value: Any) -> Any:
    """One text with commas is as good as a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class _Options(BaseModel):
    """What all channels have.

    Attributes:
        name: by default the type.
        severities: only alerts of these; by default all, for PagerDuty "high" and "critical".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name | None = None
    severities: Annotated[frozenset[Severity], BeforeValidator(_separated)] | None = None


class _Sending(_Options):
    """What channels have that open a connection.

    Attributes:
        ca_file: certificates (PEM) to trust besides the usual ones.
        connect_timeout_s: until there is a connection, in seconds.
        timeout_s: until all is done, in seconds.
    """

    ca_file: Path | None = None
    connect_timeout_s: float = Field(5.0, gt=0, le=60)
    timeout_s: float = Field(10.0, gt=0, le=120)


class _Posting(_Sending):
    """What channels have that post to an address. `allow_private_addresses`: receivers in the own network are fine."""

    allow_private_addresses: bool = False


class LogOptions(_Options):
    """The log."""

    type: Literal["log"]


class SlackOptions(_Posting):
    """Slack's incoming webhook."""

    type: Literal["slack"]
    webhook_url: Secret


class WebhookOptions(_Posting):
    """A webhook of the user's own; `secret` signs, `headers` are sent along."""

    type: Literal["webhook"]
    url: Secret
    secret: Secret | None = None
    headers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")], HeaderValue] = Field(
        default_factory=dict
    )


class EmailOptions(_Sending):
    """Mail by SMTP."""

    type: Literal["email"]
    smtp_url: Secret
    sender: MailAddress = Field(alias="from")
    to: Annotated[tuple[MailAddress, ...], BeforeValidator(_separated), Field(min_length=1)]


class PagerDutyOptions(_Posting):
    """PagerDuty's Events API v2; `endpoint` is another one than PagerDuty's for its European region."""

    type: Literal["pagerduty"]
    routing_key: Secret
    endpoint: Secret | None = None


class AppriseOptions(_Options):
    """Apprise's own URLs."""

    type: Literal["apprise"]
    urls: Annotated[tuple[Secret, ...], BeforeValidator(_separated), Field(min_length=1)]


ChannelOptions = LogOptions | SlackOptions | WebhookOptions | EmailOptions | PagerDutyOptions | AppriseOptions
_READ: Final[TypeAdapter[ChannelOptions]] = TypeAdapter(Annotated[ChannelOptions, Field(discriminator="type")])


def read_options(spec: Mapping[str, Any]) -> ChannelOptions:
    """Options from a mapping.

    Raises:
        InvalidInput: names the channel and every wrong option, and repeats no value.
    """
    try:
        return _READ.validate_python(dict(spec))
    except ValidationError as error:
        kind = spec.get("type")
        if kind not in NEEDED_BY_CHANNEL:
            raise InvalidInput(f"an alert channel needs a type: one of {', '.join(NEEDED_BY_CHANNEL)}") from None
        problems = [_problem(found, str(kind)) for found in error.errors(include_input=False, include_url=False)]
        called = spec.get("name") or kind
        raise InvalidInput(f"the alert channel {called}: {'; '.join(problems)}", problems=problems) from None


def _problem(found: Any, kind: str) -> str:
    place = ".".join(str(part) for part in found["loc"] if part != kind) or "it"
    words = {"missing": "is missing", "extra_forbidden": f"is no option of {kind}"}
    said = str(found["msg"]).removeprefix("Value error, ")
    return f"{place} {words.get(found['type'], f'is wrong: {said}')}"
