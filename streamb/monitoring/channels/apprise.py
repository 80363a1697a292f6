"""Apprise: about a hundred more services (Discord, Telegram, Matrix, SMS, …); needs the extra `apprise`."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, SecretStr

from streamb.clock import Clock
from streamb.errors import ConfigError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import RESOLVED, Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES, DeliveryFailed
from streamb.monitoring.channels.options import ChannelOptions, Secret, Separated, Variable
from streamb.monitoring.channels.wording import plain_text, subject

_KINDS: Final = {
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "failure",
    Severity.CRITICAL: "failure",
}


class AppriseChannel:
    """Sends notifications through Apprise, which has its own time limits and reports only success or failure.

    Args:
        name: see `AlertChannel`.
        urls: Apprise URLs, which contain secrets.
        severities: the severities of the alerts that the channel sends.

    Raises:
        ConfigError: Apprise is not installed, or does not support one of the URLs.
    """

    def __init__(
        self, name: str, urls: Sequence[SecretStr], *, severities: frozenset[Severity] = ALL_SEVERITIES
    ) -> None:
        self.name = name
        self.severities = severities
        self._urls = tuple(urls)
        self._services = self._opened()

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name!r}, {len(self._urls)} URLs)"

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`."""
        kind = "success" if notification.status == RESOLVED else _KINDS[notification.severity]
        body, title = plain_text(notification), subject(notification)
        try:
            delivered = self._services.notify(body=body, title=title, notify_type=kind)
        except Exception as error:
            # A plugin may raise any error, and its text may contain the URL.
            raise DeliveryFailed(f"Apprise failed for {self.name} ({type(error).__name__})") from None
        if not delivered:
            raise DeliveryFailed(f"Apprise could not deliver to all of the {len(self._urls)} services of {self.name}")

    def _opened(self) -> Any:
        if importlib.util.find_spec("apprise") is None:
            raise ConfigError(
                f"the alert channel {self.name} needs the package apprise: pip install 'streamb[apprise]'"
            )
        apprise = importlib.import_module("apprise")
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs the URLs that it calls
        services = apprise.Apprise(asset=apprise.AppriseAsset(app_id="streamb", app_desc="streamb alerts"))
        for position, url in enumerate(self._urls, start=1):
            try:
                known = services.add(url.get_secret_value())
            except Exception:  # its text may contain the URL
                known = False
            if not known:
                raise ConfigError(
                    f"URL {position} of the alert channel {self.name} is of no kind that Apprise knows (it is not "
                    "shown, since it may be secret); see https://github.com/caronc/apprise/wiki"
                )
        return services


_URLS: Final = Variable("alert_apprise_urls", "Apprise URLs, separated by commas; needs the extra `apprise`.")


class AppriseOptions(ChannelOptions):
    """The options of an Apprise channel."""

    kind: ClassVar[str] = "apprise"

    urls: Annotated[tuple[Secret, ...], Separated, Field(min_length=1), _URLS]

    def open(self, clock: Clock) -> AppriseChannel:  # noqa: ARG002 - Apprise adds dates itself
        """See `ChannelOptions.open`."""
        return AppriseChannel(self.called, self.urls, severities=self.hears_of)
