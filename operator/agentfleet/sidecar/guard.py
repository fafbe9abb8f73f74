"""Which addresses a prober may connect to. Pure.

Whoever writes a ModelServer chooses the URL, but the probe runs inside the cluster and its outcome is readable: without
this it would be a port scanner of the node, the cloud's metadata service and the control plane.
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24", "fd00:ec2::/32")
)
"""Where clouds tell machines who they are: most, Alibaba, Azure, Oracle, AWS over IPv6."""

PRIVATE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Networks of one's own, those of carriers and VPNs included."""

_THIS_NETWORK = (ipaddress.ip_network("0.0.0.0/8"),)
_SITE_LOCAL = (ipaddress.ip_network("fec0::/10"),)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


def refusal(address: Address, denied: Sequence[Network]) -> str | None:
    """Why nobody may be asked at `address`, in words; None where it is allowed. IPv4 inside IPv6 is judged as well."""
    for found in (address, *_embedded(address)):
        if reason := _refusal(found, denied):
            return reason
    return None


def is_private(address: Address) -> bool:
    """True for networks of one's own: plain HTTP may be spoken there."""
    plain = next(iter(_embedded(address)), address)
    return _within(plain, PRIVATE)


def _refusal(address: Address, denied: Sequence[Network]) -> str | None:
    rules = (
        (_within(address, denied), "it is in a network that the operator's settings deny"),
        (_within(address, METADATA), "it is a metadata address"),
        (address.is_unspecified or _within(address, _THIS_NETWORK), "it is unspecified"),
        (address.is_loopback, "it is loopback"),
        (address.is_link_local or _within(address, _SITE_LOCAL), "it is link-local"),
        (address.is_multicast, "it is multicast"),
        # What holds IPv4 inside is judged by that.
        (address.is_reserved and not _embedded(address), "it is reserved"),
    )
    return next((reason for applies, reason in rules if applies), None)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _embedded(address: Address) -> list[Address]:
    """The IPv4 address that an IPv6 one leads to: mapped, compatible, NAT64, 6to4 and Teredo."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo) if address.teredo is not None else []
