"""Which addresses alerts may be sent to: private networks only if the settings allow it.

Otherwise a user who sets a webhook could make the platform send requests to internal services, such as a cloud's
metadata service or an unprotected admin port (SSRF). A host name is resolved once, and the checked address is the one
that is connected to, because a second look-up could give a different answer.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from streamb.monitoring.channels.channel import DeliveryFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., list[tuple[Any, Any, int, str, Any]]]
"""A function with the signature of `socket.getaddrinfo`."""

_GLOBAL: Final = ipaddress.ip_network("2000::/3")
"""Where all public IPv6 addresses are (RFC 4291); what is outside is embedded, local, reserved or withdrawn."""
_MAPPED: Final = ipaddress.ip_network("::ffff:0:0/96")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_ENDS_IN_IPV4: Final = tuple(map(ipaddress.ip_network, ("::/64", "64:ff9b::/96", "64:ff9b:1::/48")))
"""Compatible (`::10.0.0.1`), mapped and translated addresses, and NAT64, also a local one."""
_NOT_PUBLIC: Final = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32", "2001:db8::/32", "3fff::/20")))
"""6to4 and Teredo (the relays are gone, and what is behind them is not known), and examples in documents."""
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""The third quarter of an address that leads to the IPv4 address in its fourth one (RFC 5214)."""
_LOW_32_BITS: Final = 0xFFFFFFFF
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Metadata services of AWS (IPv6), Alibaba and Oracle, which hold credentials; other clouds use link-local ones."""


def reachable_addresses(
    host: str, port: int, *, encrypted: bool, allow_private: bool, resolve: Resolve = socket.getaddrinfo
) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the socket family and address of each allowed address of `host`.

    Args:
        host: a host name or an IP address.
        port: the port to connect to.
        encrypted: whether the connection uses TLS; without it, public addresses are not allowed.
        allow_private: whether private addresses are allowed.
        resolve: looks up the name.

    Raises:
        DeliveryFailed: the name cannot be resolved (worth a retry), or none of its addresses is allowed (not worth
            one).
    """
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryFailed(f"the address of {host} cannot be looked up: {error}") from None
    places: list[tuple[int, tuple[Any, ...]]] = []
    refusals: list[str] = []
    for family, _, _, _, place in found:
        address = ipaddress.ip_address(place[0].partition("%")[0])
        refusal = _refusal(address, encrypted=encrypted, allow_private=allow_private)
        if refusal is None:
            places.append((family, place))
        else:
            refusals.append(refusal)
    if not places:
        reasons = "; ".join(dict.fromkeys(refusals)) or "it has no address"
        raise DeliveryFailed(f"nothing is sent to {host}: {reasons}", retry=False)
    return places


def is_private(address: Address) -> bool:
    """Return whether an address is not on the public internet, even if it is embedded in an IPv6 address.

    >>> is_private(ipaddress.ip_address("::ffff:10.0.0.1")), is_private(ipaddress.ip_address("8.8.8.8"))
    (True, False)
    """
    return any(not _is_public(one) for one in _meant(address))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    if address in _MAPPED or address in _NAT64:
        return True  # as the IPv4 address in it is judged
    return address in _GLOBAL and address.is_global and not any(address in one for one in _NOT_PUBLIC)


def _refusal(address: Address, *, encrypted: bool, allow_private: bool) -> str | None:
    """The reason why the address is not allowed; None if it is allowed."""
    meant = list(_meant(address))
    if any(one.is_link_local or one.is_multicast or one.is_unspecified or one in _METADATA for one in meant):
        return f"{address} is never the address of a receiver"
    if is_private(address):
        if allow_private:
            return None
        return f"{address} is a private address; set ML_ALERT_ALLOW_PRIVATE_ADDRESSES=true to allow it"
    return None if encrypted else f"{address} is a public address, to which alerts are only sent encrypted: use https"


def _meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that it embeds for a translator or a tunnel."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        number = int(address)
        wrapped = [address.sixtofour, *(address.teredo or ())]
        if any(address in one for one in _ENDS_IN_IPV4) or number >> 32 & _LOW_32_BITS in _ISATAP:
            wrapped.append(ipaddress.IPv4Address(number & _LOW_32_BITS))
        yield from (one for one in wrapped if one is not None)
