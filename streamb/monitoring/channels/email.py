"""Email by SMTP: text and HTML, encrypted, and one thread for each incident in the reader's mail program.

Every attempt to deliver a notification has the same Message-ID, so that an email that was sent twice is shown once. All
emails of an incident refer to one root id (RFC 5322, 3.6.4), made from its dedup key; no email needs to have that id.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import logging
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import unquote

from pydantic import Field, SecretStr, StringConstraints

from streamb.clock import Clock
from streamb.errors import ConfigError
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.channels.channel import ALL_SEVERITIES, DeliveryFailed, one_line, redacted
from streamb.monitoring.channels.http import DEFAULT_PATIENCE, Patience, tls_context, url_parts, watchdog
from streamb.monitoring.channels.options import Secret, SendingOptions, Separated, Variable
from streamb.monitoring.channels.wording import is_link, paragraphs, plain_text, subject, untold
from streamb.options import spoken

_log = logging.getLogger(__name__)
_PERMANENT: Final = 500
_SHOWN_CHARS: Final = 200
_SUBJECT_CHARS: Final = 180
_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
"""Scheme of a mail server's URL -> its usual port."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server that email is sent through.

    Attributes:
        scheme: "smtp+starttls", "smtps", or "smtp" for an unencrypted connection.
        host: the server's host name.
        port: the server's port.
        user: the user to log in as; "" to send without a login.
        password: the user's password.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: SecretStr = field(repr=False)

    @classmethod
    def from_url(cls, url: SecretStr) -> Self:
        """Read `smtp+starttls://USER:PASSWORD@HOST:PORT`; characters not allowed in a URL are percent-encoded.

        Raises:
            ConfigError: the URL has another form, or would send a password unencrypted to another machine.
        """
        parts = url_parts(url.get_secret_value())
        if parts is None or parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigError(
                "the address of a mail server has the form smtp+starttls://USER:PASSWORD@HOST:PORT or smtps://…; the "
                "value is not shown, since it may contain a password"
            )
        if parts.scheme == "smtp" and parts.password and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise ConfigError(
                f"the password for {parts.hostname} would be sent unencrypted: use smtp+starttls:// or smtps://"
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():  # smtplib cannot send them, and its error would repeat them
            raise ConfigError(f"the user name and the password for {parts.hostname} may hold only ASCII")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], user, SecretStr(password))


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """Sends each notification by email.

    Attributes:
        name: see `AlertChannel`.
        server: the SMTP server that email is sent through.
        sender: the address in `From`, which also receives bounces.
        recipients: the addresses in `To`.
        clock: for the header `Date`.
        tls: the certificates that are trusted.
        patience: the time limits for connecting and sending.
        severities: the severities of the alerts that the channel sends.
    """

    name: str
    server: MailServer
    sender: str
    recipients: tuple[str, ...]
    clock: Clock = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)
    patience: Patience = DEFAULT_PATIENCE
    severities: frozenset[Severity] = ALL_SEVERITIES

    def send(self, notification: Notification) -> None:
        """See `AlertChannel.send`; it succeeds if the server accepts the email for at least one recipient."""
        host = self.server.host
        message = mail(notification, self.sender, self.recipients, self.clock.now())
        try:
            refused = self._hand_in(message)
        except smtplib.SMTPRecipientsRefused as error:
            worst = min(code for code, _ in error.recipients.values())
            raise DeliveryFailed(f"{host} refused all recipients ({worst})", retry=worst < _PERMANENT) from None
        except smtplib.SMTPResponseException as error:
            raise self._refused(error) from None
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryFailed(f"{host} lacks a needed feature: {error}", retry=False) from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryFailed(f"the certificate of {host} is not trusted: {error.verify_message}") from None
        except TimeoutError:
            raise DeliveryFailed(f"{host} did not accept the email within {self.patience.total_s:g} s") from None
        except (OSError, smtplib.SMTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise DeliveryFailed(f"sending email through {host} failed: {reason}") from None
        if refused:
            _log.warning("alert channel %s: %s refused %s", self.name, host, ", ".join(sorted(refused)))

    def _hand_in(self, message: EmailMessage) -> dict[str, Any]:
        """Send the email; returns the refused recipients."""
        server, total_s = self.server, self.patience.total_s
        tls = self.tls
        plain = socket.create_connection((server.host, server.port), self.patience.connect_s)
        plain.settimeout(2 * total_s)  # the watchdog is to end it: to smtplib a pause that is too long is no time-out
        with plain, watchdog(plain, total_s):
            opened = tls.wrap_socket(plain, server_hostname=server.host) if server.scheme == "smtps" else plain
            smtp = _Client(opened, server.host)
            try:
                if server.scheme == "smtp+starttls":
                    smtp.starttls(context=tls)  # raises where it is not offered: nothing goes out in clear instead
                if server.user:
                    smtp.login(server.user, server.password.get_secret_value())
                # Addresses alone: a name in other letters than ASCII beside one would ask for a server with SMTPUTF8.
                refused = smtp.send_message(message, _bare(self.sender), [_bare(one) for one in self.recipients])
                with contextlib.suppress(OSError):
                    smtp.putcmd("QUIT")  # whatever it answers: the mail is taken, and must not be sent again
            finally:
                smtp.close()
        return refused

    def _refused(self, error: smtplib.SMTPResponseException) -> DeliveryFailed:
        text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        said = one_line(redacted(text, [self.server.password]), _SHOWN_CHARS)
        return DeliveryFailed(
            f"{self.server.host} answered {error.smtp_code}: {said}", retry=not error.smtp_code >= _PERMANENT
        )


def _is_mail_server(text: str) -> bool:
    parts = url_parts(text)
    return parts is not None and parts.scheme in _PORTS and bool(parts.hostname) and text.split() == [text]


def _are_addresses(text: str) -> bool:
    found = [word.strip() for word in text.split(",") if word.strip()]
    return bool(found) and all(one.strip("@") == one and one.count("@") == 1 for one in found)


MailAddress = Annotated[
    str,
    StringConstraints(pattern=spoken(r"^[^\x00-\x1f@]+@[^\x00-\x1f@]+$", "is not a mail address: write NAME@DOMAIN")),
]
_ADDRESSES: Final = "NAME@DOMAIN, several separated by commas"
_SMTP_URL: Final = Variable(
    "alert_smtp_url",
    "Mail server: smtp+starttls://USER:PASSWORD@HOST:PORT, or smtps.",
    allowed="smtp+starttls://USER:PASSWORD@HOST:PORT, smtps://…, smtp://… (in clear), file:PATH, env:NAME",
    fits=_is_mail_server,
)
_FROM: Final = Variable("alert_email_from", "Sender of alerts by mail.", _ADDRESSES, _are_addresses, secret=False)
_TO: Final = Variable(
    "alert_email_to",
    "Who gets alerts by email: addresses, separated by commas.",
    _ADDRESSES,
    _are_addresses,
    secret=False,
)


class EmailOptions(SendingOptions):
    """The options of a channel that sends email by SMTP."""

    kind: ClassVar[str] = "email"

    smtp_url: Annotated[Secret, _SMTP_URL]
    sender: Annotated[MailAddress, Field(alias="from"), _FROM]
    to: Annotated[tuple[MailAddress, ...], Separated, Field(min_length=1), _TO]

    def open(self, clock: Clock) -> EmailChannel:
        """See `ChannelOptions.open`."""
        server, tls = MailServer.from_url(self.smtp_url), tls_context(self.ca_file)
        return EmailChannel(self.called, server, self.sender, self.to, clock, tls, self.patience, self.hears_of)


class _Client(smtplib.SMTP):
    """smtplib's client on an open connection, so that the watchdog covers it from the first byte."""

    def __init__(self, opened: socket.socket, host: str) -> None:
        self._opened = opened
        name = socket.gethostname()
        super().__init__(host, local_hostname=name if "." in name else "[127.0.0.1]")

    def _get_socket(self, *_where: Any) -> socket.socket:
        """Return the open connection; smtplib calls this method to connect (its own `SMTP_SSL` overrides it too)."""
        return self._opened


def mail(notification: Notification, sender: str, recipients: tuple[str, ...], now: float) -> EmailMessage:
    """Return the email for a notification; only its date differs between attempts.

    Args:
        notification: the content.
        sender: the address in `From`.
        recipients: the addresses in `To`.
        now: the email's date, seconds since the epoch.
    """
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    root = f"<incident-{_digest(notification.dedup_key)}@{domain}>"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = one_line(subject(notification), _SUBJECT_CHARS)
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = f"<{_digest(f'{notification.receiver} {notification.notification_id}')}@{domain}>"
    message["In-Reply-To"] = root
    message["References"] = root
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents automatic replies
    message.set_content(plain_text(notification))
    message.add_alternative(_html(notification), subtype="html")
    return message


def _html(notification: Notification) -> str:
    lines = [f"<h2>{html.escape(subject(notification))}</h2>"]
    for paragraph in paragraphs(notification):
        lines.append(f"<h3>{html.escape(paragraph.headline)}</h3>\n<table>")
        for name, text in paragraph.facts:
            shown = html.escape(text)
            if name == "runbook" and paragraph.link:
                shown = f'<a href="{html.escape(paragraph.link)}">{shown}</a>'
            lines.append(f"<tr><th align='left' valign='top'>{html.escape(name)}</th><td>{shown}</td></tr>")
        lines.append("</table>")
    if more := untold(notification):
        lines.append(f"<p>and {more} more</p>")
    if is_link(notification.external_url):
        lines.append(f'<p><a href="{html.escape(notification.external_url)}">streamb</a></p>')
    return "<html><body>\n" + "\n".join(lines) + "\n</body></html>\n"


def _bare(address: str) -> str:
    """The address of `NAME <ADDRESS>`."""
    return parseaddr(address)[1] or address


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
