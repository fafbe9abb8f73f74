"""Which addresses a prober connects to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.sidecar.guard import METADATA, PRIVATE, is_private, refusal

API_SERVER = (ipaddress.ip_network("10.96.0.1/32"), ipaddress.ip_network("fd00:96::1/128"))

ALLOWED = [
    "8.8.8.8",
    "10.96.0.2",
    "192.168.1.5",
    "172.20.0.9",
    "100.64.1.1",
    "2606:4700::1",
    "fd12::7",
    "64:ff9b::808:808",
]

REFUSED = {
    "10.96.0.1": "deny",
    "fd00:96::1": "deny",
    "::ffff:10.96.0.1": "deny",
    "64:ff9b::a60:1": "deny",
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::127.0.0.1": "loopback",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "0.0.0.0": "unspecified",  # noqa: S104 - an address to refuse
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "169.254.169.254": "metadata",
    "::ffff:169.254.169.254": "metadata",
    "2002:a9fe:a9fe::": "metadata",
    "169.254.0.7": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "fd00:ec2::254": "metadata",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "250.1.1.1": "reserved",
}


@pytest.mark.parametrize("address", ALLOWED)
def test_allowed(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), API_SERVER) is None


@pytest.mark.parametrize(("address", "word"), REFUSED.items())
def test_refused(address: str, word: str) -> None:
    assert word in (refusal(ipaddress.ip_address(address), API_SERVER) or "")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.0.0.1", True),
        ("100.64.0.1", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("64:ff9b::a00:1", True),
        ("8.8.8.8", False),
        ("2606:4700::1", False),
        ("198.18.0.1", False),
        ("192.0.2.1", False),
    ],
)
def test_private(address: str, private: bool) -> None:
    assert is_private(ipaddress.ip_address(address)) is private


@given(st.ip_addresses(v=4))
def test_no_way_of_writing_ipv4_in_ipv6_gets_around_the_guard(address: ipaddress.IPv4Address) -> None:
    plain = refusal(address, API_SERVER)
    number = int(address)
    forms = (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80)
    for form in forms:
        found = refusal(ipaddress.IPv6Address(form), API_SERVER)
        assert (found is None) == (plain is None), ipaddress.IPv6Address(form)


@given(st.sampled_from(METADATA), st.integers(min_value=0))
def test_nothing_of_a_metadata_network_is_allowed(network: ipaddress.IPv4Network, offset: int) -> None:
    assert refusal(network[offset % network.num_addresses], ()) is not None


@given(st.sampled_from(PRIVATE), st.integers(min_value=0), st.integers(8, 32))
def test_what_is_denied_is_denied_wherever_it_lies(network: ipaddress.IPv4Network, offset: int, bits: int) -> None:
    address = network[offset % network.num_addresses]
    denied = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    assert refusal(address, (denied,)) is not None  # type: ignore[arg-type]
