"""No alert goes to the own network unless that is wanted, however its address is dressed up."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.monitoring.channels.addresses import is_private, reachable_addresses
from streamb.monitoring.channels.channel import DeliveryFailed

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "198.18.0.1", "224.0.0.1"),
    *("::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "2001:db8::1"),
    # however an IPv4 address is embedded: compatible, mapped, translated, 6to4, Teredo, NAT64, ISATAP
    *("::127.0.0.1", "::10.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    *("2002:a00:1::1", "2002:808:808::1", "2001:0:7f00:1::1", "2001:0:808:808::f7f7:f7f7", "64:ff9b::10.0.0.1"),
    *("64:ff9b:1::10.0.0.1", "64:ff9b:1::808:808", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:7f00:1"),
    # withdrawn, reserved and local parts of the space
    *("fec0::1", "4000::1", "100::1", "3fff::1", "5f00::1", "fc00::1", "2001:2::1", "2001:10::1"),
]
PUBLIC = [
    "8.8.8.8",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2001:4860:4860::8888",
    "2a00:1450:4001::5efe:808:808",
]


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
    local = ["10.1.2.3", "::1", "fd00:1::e123:4567", "fd00:1::a9fe:a9fe"]
    assert places(*local, encrypted=False, allow_private=True) == local
    with pytest.raises(DeliveryFailed, match="ML_ALERT_ALLOW_PRIVATE_ADDRESSES=true"):
        places("10.1.2.3")


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1%1", "::ffff:169.254.169.254", "0.0.0.0", "::", "224.0.0.1"),
        *(
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
        ),
        *("2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe", "2606:4700::5efe:a9fe:a9fe"),
    ],
)
def test_some_are_never_a_receiver(address: str):
    with pytest.raises(DeliveryFailed, match="never the address of a receiver"):
        places(address, allow_private=True)


def test_a_name_with_several_addresses_leads_to_those_that_are_allowed():
    assert places("10.0.0.1", "8.8.8.8") == ["8.8.8.8"]


@given(st.ip_addresses(v=6))
def test_only_what_is_surely_public_is(address):
    if not is_private(address):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        known = address in ipaddress.ip_network("64:ff9b::/96") or address.ipv4_mapped is not None
        assert address in ipaddress.ip_network("2000::/3") or (known and embedded.is_global)


@given(st.ip_addresses(v=4), st.sampled_from(["::{}", "::ffff:{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}"]))
def test_an_embedded_address_is_no_more_public_than_itself(address, form):
    if is_private(address):
        assert is_private(ipaddress.ip_address(form.format(address)))
