"""Which names a request may call the platform by, and which pages may send it: the rules of both doors.

A page of another site can make a browser send requests to this platform, and can point a name of its own at this
machine ("DNS rebinding"), so that the browser takes the platform for a part of that site. Therefore a request must
name one of the platform's own names as its `Host`, and one that changes or counts something must come from a program,
from one of the platform's own pages, or from a site that the settings name. Only parses text; no I/O.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from streamb.config import Settings, is_loopback
from streamb.errors import BadRequest, Forbidden

Headers = Mapping[bytes, bytes]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing: what they answer is kept from a foreign page by the browser."""

ANY: Final = "*"
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)
_ORIGIN: Final = re.compile(r"(https?)://([^/?#@\s]+)", re.ASCII)
_PORTS: Final = {"http": "80", "https": "443"}
_MOST_REMEMBERED: Final = 256
_OWN_PAGES: Final = frozenset({b"none", b"same-origin"})
_ONCE: Final = (b"host", b"origin")


class Origins:
    """The rules on `Host`, `Origin` and `Sec-Fetch-Site`.

    Args:
        host: the address that the platform listens on. Of "0.0.0.0" and "::" any address is accepted as a host: no
            site can point an address at this machine, as it can a name.
        names: further names of the platform, in lower case, without port.
        sites: origins of other sites whose pages may send requests; `*` for any.
        tls: whether the platform itself ends TLS, so that its own pages have https:// addresses.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        names: frozenset[str] = frozenset(),
        sites: tuple[str, ...] = (),
        *,
        tls: bool = False,
    ) -> None:
        self._own = _plain(host)
        self._any_address = self._own in ("0.0.0.0", "::")  # noqa: S104 - only compared
        self._names = {_plain(name) for name in names}
        self._sites = frozenset(site.encode() for site in sites)
        self._tls = tls
        self._known: set[bytes] = set()

    def check_request(self, scope: Mapping[str, Any], headers: Headers) -> None:
        """Check a request as ASGI describes it.

        Args:
            scope: the scope of the request.
            headers: its headers, as a dict.

        Raises:
            Forbidden, BadRequest: see `check`; or there are two headers where there must be one.
        """
        if len(headers) != len(scope["headers"]):
            check_single(scope["headers"])
        elif headers.get(b"host") in self._known and b"origin" not in headers and b"sec-fetch-site" not in headers:
            return  # nearly every request of a program
        self.check(scope["method"], headers)

    def check(self, method: str, headers: Headers) -> None:
        """Check a request. Without a `Host` it comes from no browser, and so it passes.

        Raises:
            Forbidden: it calls the platform by a foreign name, or a page of another site sends it.
            BadRequest: its `Host` cannot be read.
        """
        host = headers.get(b"host")
        if host is not None and host not in self._known:
            self._learn(host)
        if method not in SAFE_METHODS and (b"origin" in headers or b"sec-fetch-site" in headers):
            self._check_page(host, headers)

    def allows(self, origin: bytes) -> bool:
        """Return whether the settings name the site of an `Origin`."""
        return origin in self._sites or ANY.encode() in self._sites

    def _learn(self, host: bytes) -> None:
        found = _HOST.fullmatch(host.decode("latin-1"))
        if found is None:
            raise BadRequest("the Host of this request cannot be read: it must be NAME or NAME:PORT")
        name = _plain(found[1])
        if not (name == self._own or name in self._names or is_local(name) or (self._any_address and _address(name))):
            raise Forbidden(
                f"this platform is not called {found[1][:200]!r}; if it is to be, name it in ML_ALLOWED_HOSTS"
            )
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known.add(host)

    def _check_page(self, host: bytes | None, headers: Headers) -> None:
        origin = headers.get(b"origin")
        if origin is not None and self.allows(origin):
            return
        sent_by = headers.get(b"sec-fetch-site", b"none").strip().lower()
        if sent_by in _OWN_PAGES and (origin is None or self._is_own(origin, host)):
            return
        if origin is None and ANY.encode() in self._sites:
            return
        where = "another site" if origin is None else origin[:200].decode("latin-1")
        raise Forbidden(
            f"a page of {where} may not send this: call the API from a program, with a key "
            "(ML_CORS_ORIGINS names the sites whose pages may call /v2)"
        )

    def _is_own(self, origin: bytes, host: bytes | None) -> bool:
        """Return whether a page's origin is the address that its request was sent to."""
        page = _ORIGIN.fullmatch(origin.decode("latin-1").lower())
        if page is None or host is None or (self._tls and page[1] != "https"):
            return False
        default = _PORTS[page[1]]
        return _with_port(page[2], default) == _with_port(host.decode("latin-1"), default)


def origins_of(settings: Settings, *, data_plane: bool) -> Origins:
    """Return the rules that settings make.

    Args:
        settings: the platform's settings.
        data_plane: whether they are for `/v2`, which pages of the sites in `cors_origins` may call.
    """
    sites = settings.allowed_origins if data_plane else ()
    return Origins(settings.host, settings.known_hosts, sites, tls=settings.tls_enabled)


def check_single(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a request with two `Host` or two `Origin` headers: the parts on its way could read different ones.

    Raises:
        BadRequest: one of them is there twice.
    """
    names = [name for name, _ in pairs]
    for name in _ONCE:
        if names.count(name) > 1:
            raise BadRequest(f"the request has two headers {name.decode().title()}; send one")


def is_local(name: str) -> bool:
    """Return whether a name, in lower case and without brackets, can only mean the machine of whoever calls it.

    >>> is_local("127.0.0.1"), is_local("app.localhost"), is_local("localhost.example.com")
    (True, True, False)
    """
    return is_loopback(name) or name.endswith(".localhost")


def _plain(name: str) -> str:
    """Return a name or address in the one form in which it is compared."""
    name = name.strip("[]").lower()
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_port(host: str, default: str) -> tuple[str, str] | None:
    found = _HOST.fullmatch(host)
    return None if found is None else (_plain(found[1]), found[2] or default)
