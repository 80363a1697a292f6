"""One POST to a receiver of alerts, with strict time limits, checked addresses, no redirects and no secrets in errors.

It uses the standard library's client, since the time limit has to hold for the whole exchange: a receiver that sends
one byte a second never exceeds the limit of a single read, so a watchdog shuts the connection when its time is up.
"""

from __future__ import annotations

import functools
import http.client
import math
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from streamb.clock import Clock
from streamb.errors import ConfigError
from streamb.monitoring.channels.addresses import Resolve, reachable_addresses
from streamb.monitoring.channels.channel import DeliveryFailed, one_line, redacted
from streamb.version import installed_version

MOST_ANSWER_BYTES: Final = 64 << 10
_SHOWN_CHARS: Final = 200
_SHORTEST_PART: Final = 8
_RETRIED: Final = frozenset({408, 425, 429})
"""Client errors that are worth a retry; all other ones and redirects need a person."""
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class Patience:
    """The time limits of one delivery, after the name was resolved (for which the system has its own limits).

    Attributes:
        connect_s: the limit for connecting, in seconds.
        total_s: the limit for the whole exchange, in seconds.
    """

    connect_s: float = 5.0
    total_s: float = 10.0


DEFAULT_PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's answer.

    Attributes:
        status: the HTTP status.
        text: the start of the body, on one line; "" for a success.
        retry_after_s: the wait that `Retry-After` asks for, in seconds; None if there is none.
    """

    status: int
    text: str
    retry_after_s: float | None


class Poster:
    """Posts to one address, which is secret: only its host is ever shown.

    Args:
        url: the address, http or https; http only for private addresses.
        clock: to evaluate a `Retry-After` that is a date.
        allow_private: whether addresses that are not on the public internet are allowed.
        ca_file: certificates (PEM) to trust in addition to the usual ones.
        hide: further secrets to remove from the receiver's answers.
        patience: the time limits of a delivery.
        resolve: looks up the host name.

    Raises:
        ConfigError: this is not an http or https URL, or the certificates cannot be read.
    """

    def __init__(
        self,
        url: SecretStr,
        clock: Clock,
        *,
        allow_private: bool = False,
        ca_file: Path | None = None,
        hide: tuple[SecretStr, ...] = (),
        patience: Patience = DEFAULT_PATIENCE,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self._url = _checked(url)
        self._hidden = (url, SecretStr(self._url.path), SecretStr(self._url.query), *_parts(self._url), *hide)
        self._clock = clock
        self._allow_private = allow_private
        self._patience = patience
        self._resolve = resolve
        self._tls = tls_context(ca_file) if self._url.scheme == "https" else None
        self.host = self._url.hostname or ""
        self._default_port = 443 if self._tls else 80
        self._port = self._url.port or self._default_port

    def __repr__(self) -> str:
        return f"Poster({self.host!r})"

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body` as JSON and return the answer, whatever its status (redirects are not followed).

        Raises:
            DeliveryFailed: there was no answer in time, or the address is not allowed.
        """
        target = self._url.path or "/"
        if self._url.query:
            target += f"?{self._url.query}"
        sent = {
            "Content-Type": "application/json",
            "User-Agent": f"streamb/{installed_version()}",
            "Connection": "close",
        }
        with self._connected() as connection:
            connection.request("POST", target, body, {**sent, **headers})
            with connection.getresponse() as answer:
                # The body of a success is not needed: if it never ended, the notification would be sent again.
                said = b"" if 200 <= answer.status < 300 else answer.read(MOST_ANSWER_BYTES)
                wait = retry_after(answer.getheader("Retry-After"), self._clock.now())
        text = redacted(said.decode("utf-8", "replace"), self._hidden)
        return Answer(answer.status, one_line(text, _SHOWN_CHARS), wait)

    @contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection within the time limits; every failure becomes a `DeliveryFailed`."""
        host, total_s, began = self.host, self._patience.total_s, self._clock.monotonic()
        plain = self._open()
        try:
            with plain, watchdog(plain, total_s - (self._clock.monotonic() - began)):
                connection = http.client.HTTPConnection(host, self._port)
                connection.default_port = self._default_port
                connection.auto_open = 0  # never connects by itself, so never elsewhere
                with self._tls.wrap_socket(plain, server_hostname=host) if self._tls else plain as connection.sock:
                    yield connection
        except TimeoutError:
            raise DeliveryFailed(f"{host} did not answer within {total_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryFailed(f"the certificate of {host} is not trusted: {error.verify_message}") from None
        except ConnectionError:
            raise DeliveryFailed(f"{host} closed the connection without an answer") from None
        except http.client.HTTPException as error:  # its text may contain the URL
            raise DeliveryFailed(f"{host} did not answer in valid HTTP ({type(error).__name__})") from None
        except OSError as error:
            raise DeliveryFailed(f"the connection to {host} failed: {_reason(error)}") from None

    def _open(self) -> socket.socket:
        """Connect to the first address of each family (IPv6, IPv4), and return the first connection that succeeds."""
        places = reachable_addresses(
            self.host,
            self._port,
            encrypted=self._tls is not None,
            allow_private=self._allow_private,
            resolve=self._resolve,
        )
        first_of_kind = dict(reversed(places))
        reason = ""
        for family, place in places:
            if first_of_kind[family] != place:
                continue
            opened = socket.socket(family, socket.SOCK_STREAM)
            opened.settimeout(self._patience.connect_s / len(first_of_kind))
            try:
                opened.connect(place)
            except OSError as error:
                opened.close()
                reason = _reason(error)
            else:
                opened.settimeout(self._patience.total_s)
                return opened
        raise DeliveryFailed(f"no connection to {self.host}: {reason}")


@contextmanager
def watchdog(opened: socket.socket, seconds: float) -> Iterator[None]:
    """Shut the connection after `seconds`, whatever its owner waits for; the block then raises `TimeoutError`."""
    bitten = threading.Event()
    own = opened.dup()  # TLS takes the descriptor over from the socket that it wraps

    def bite() -> None:
        bitten.set()
        with suppress(OSError):  # it has ended by itself in this moment
            own.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, bite)
    timer.daemon = True
    timer.start()
    try:
        yield
        if bitten.is_set():  # an answer that was cut off can look whole
            raise TimeoutError
    except (OSError, http.client.HTTPException):
        if bitten.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        timer.join()
        own.close()


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return error.strerror or type(error).__name__


def judge(host: str, answer: Answer) -> None:
    """Return None if the receiver accepted the notification (any 2xx status).

    Raises:
        DeliveryFailed: for any other status; a retry is worthwhile for 408, 425, 429 and from 500 on.
    """
    if 200 <= answer.status < 300:
        return
    if answer.status in _REDIRECTS:
        raise DeliveryFailed(
            f"{host} redirects ({answer.status}); redirects are not followed, so set the final address", retry=False
        )
    said = f": {answer.text}" if answer.text else ""
    raise DeliveryFailed(
        f"{host} answered {answer.status}{said}",
        retry=answer.status in _RETRIED or answer.status >= 500,
        retry_after_s=answer.retry_after_s,
    )


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds to wait by a `Retry-After` header (RFC 9110, 10.2.3); None if missing or unreadable.

    >>> retry_after("120", now=0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=50.0), retry_after("soon", 0.0)
    (120.0, 10.0, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            # Dates in asctime's form, which must be supported, have no time zone: they are in UTC.
            seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


@functools.lru_cache(maxsize=16)
def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts this machine's certificates, Mozilla's list, and those in `ca_file`.

    Reading them takes 0.1 s, so the context is cached; it may be used by many threads.

    Raises:
        ConfigError: `ca_file` is not a readable PEM file.
    """
    import httpx  # slow to import; brings Mozilla's list, which machines with a bare Python lack

    context = httpx.create_ssl_context()
    context.load_default_certs()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # SSLError is one
            raise ConfigError(f"{ca_file} is not a readable file of certificates (PEM): {error}") from None
    return context


def _parts(url: SplitResult) -> Iterator[SecretStr]:
    """The parts of the path and the query that may be tokens, because an answer may repeat a token alone."""
    for part in re.split(r"[/?&=;]", f"{url.path}?{url.query}"):
        if len(part) >= _SHORTEST_PART:
            yield SecretStr(part)


def url_parts(text: str) -> SplitResult | None:
    """Return the parts of a URL; None if the text is not a URL, or its port is not a number."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _checked(url: SecretStr) -> SplitResult:
    text = url.get_secret_value()
    parts = url_parts(text)
    if (
        parts is None
        or parts.scheme not in {"http", "https"}
        or not parts.hostname
        or any(not "!" <= sign <= "~" for sign in text)
    ):
        raise ConfigError(
            "the address of a receiver has the form https://HOST/PATH, with non-ASCII characters percent-encoded; the "
            "value is not shown, since it may be secret"
        )
    if parts.username is not None:
        raise ConfigError(f"the address of {parts.hostname} contains a user name; use a secret header or path instead")
    return parts
