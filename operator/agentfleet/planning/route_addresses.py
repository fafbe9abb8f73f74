"""Addresses of endpoints outside the cluster, and Services by their DNS names. Pure.

What leaves here goes into HAProxy's configuration, so a URL is taken apart by one strict pattern, whatever the API
server let through.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.resolved import Credentials, Endpoint
from agentfleet.manifests.egress import CLOSED, network

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[-A-Za-z0-9_./]*)?)"
)
_LOOPBACK = ("127.0.0.0/8", "0.0.0.0/8", "::1/128")


def outside(url: str, model: str, credentials: Credentials, denied: Iterable[str]) -> Endpoint:
    """The endpoint at a base address of the OpenAI API; InvalidSpec where it is none or leads to the node itself."""
    match = _URL.fullmatch(url)
    port = int(match["port"] or {"http": 80, "https": 443}[match["scheme"]]) if match else 0
    if match is None or not 0 < port < 65536:
        raise InvalidSpec(
            "InvalidSpec", f"external.url: {url!r}: legal is http(s)://host[:port][/path], with port 1 to 65535."
        )
    host = match["host"].lower()
    if is_refused(host, denied):
        raise InvalidSpec("EndpointRefused", f"external.url: {url!r}: this address is not for routes.")
    path = match["path"].rstrip("/")
    return Endpoint(
        model=model,
        host=host,
        port=port,
        slots=1,
        path="" if path == "/v1" else path,
        tls=match["scheme"] == "https",
        # What health looks like there is not known; that it takes connections has to do.
        health=None,
        credentials=credentials,
        url=url,
    )


def service_of(host: str, namespace: str, domain: str) -> tuple[str, str] | None:
    """Name and namespace of the Service that a host name is for pods of `namespace`; None for what is none."""
    labels = host.rstrip(".").removesuffix(f".{domain}").removesuffix(".svc").split(".")
    if len(labels) == 1:
        return labels[0], namespace
    return (labels[0], labels[1]) if len(labels) == 2 else None


def is_refused(host: str, denied: Iterable[str]) -> bool:
    """Whether pods have no business at a host: itself, metadata of clouds, addresses of a setting.

    Names are judged by the NetworkPolicy alone, which sees what they resolve to.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return any(address in network(text) for text in (*CLOSED, *_LOOPBACK, *denied))
