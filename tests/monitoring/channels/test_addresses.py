"""No alert goes to the own network unless that is wanted, however its address is dressed up."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from streamb.monitoring.channels.addresses import is_private, reachable_addresses
from streamb.monitoring.channels.channel import DeliveryFailed

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "198.18.0.1", "224.0.0.1"),
    *("::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "2001:db8::1"),
]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def answering(*addresses: str):
    def resolve(_host, port, **_how):
        return [
            (socket.AF_INET6, 1, 6, "", (one, port, 0, 0)) if ":" in one else (socket.AF_INET, 1, 6, "", (one, port))
            for one in addresses
        ]

    return resolve


def places(*addresses: str, encrypted: bool = True, allow_private: bool = False) -> list[str]:
    found = reachable_addresses(
        "h.example", 443, encrypted=encrypted, allow_private=allow_private, resolve=answering(*addresses)
    )
    return [place[0] for _, place in found]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str):
    assert is_private(ipaddress.ip_address(address))
    with pytest.raises(DeliveryFailed) as caught:
        places(address)
    assert not caught.value.retry


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str):
    assert not is_private(ipaddress.ip_address(address))
    assert places(address) == [address]
    with pytest.raises(DeliveryFailed, match="use https"):
        places(address, encrypted=False, allow_private=True)


def test_private_ones_may_be_allowed_also_in_clear():
    assert places("10.1.2.3", "::1", encrypted=False, allow_private=True) == ["10.1.2.3", "::1"]
    with pytest.raises(DeliveryFailed, match="ML_ALERT_ALLOW_PRIVATE_ADDRESSES=true"):
        places("10.1.2.3")


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1%1", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1"),
        *("fd00:ec2::254", "100.100.100.200", "::ffff:100.100.100.200"),
    ],
)
def test_some_are_never_a_receiver(address: str):
    with pytest.raises(DeliveryFailed, match="never the address of a receiver"):
        places(address, allow_private=True)


def test_a_name_with_several_addresses_leads_to_those_that_are_allowed():
    assert places("10.0.0.1", "8.8.8.8") == ["8.8.8.8"]
