"""Where a ModelServer's pods have to reach out to, as egress rules of NetworkPolicies. Pure.

A NetworkPolicy knows addresses and labels, no host names. So a host name opens a port to every address but those that
nobody has business with, an IP address opens itself alone, and the name of a Service opens its namespace: what counts
there is the port that its pods listen on, and only the Service knows it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from agentfleet.engines.sources import parse_source
from agentfleet.errors import InvalidSpec
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

Rule = dict[str, Any]
Network = IPv4Network | IPv6Network

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has; its value is the namespace's name."""

HTTPS = 443
_DEFAULT_PORTS = {"http": 80, "https": HTTPS}

CLOSED = (
    "169.254.0.0/16",  # link-local: instance metadata of most clouds, credentials of the node among it
    "fe80::/10",
    "100.100.100.200/32",  # the same of Alibaba Cloud,
    "168.63.129.16/32",  # of Azure,
    "192.0.0.0/24",  # of Oracle Cloud,
    "fd00:ec2::/32",  # and of AWS over IPv6
)
"""Addresses that no download and no probe goes to."""

DNS: Rule = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
"""To any address: a cluster's DNS may be pods, a Service, or a cache on the node at a link-local address."""

NODE_DNS_CACHE = "169.254.20.10/32"
"""Where NodeLocal DNSCache listens, unless it was told otherwise."""


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """One place to reach. An empty host is any address."""

    host: str
    port: int


def source_rules(server: ModelServer, settings: Settings) -> list[Rule]:
    """Egress rules for the model and the adapters of an engine's pod; none where nothing is downloaded.

    HTTPS is open to any address then: hubs and registries answer with redirects to stores of their choice.
    """
    found = _destinations(server)
    places = [Destination("", HTTPS), *found] if found else []
    return _rules(places, server.namespace, settings.cluster_domain, CLOSED)


def cluster_dns(cidrs: Iterable[str]) -> Rule:
    """To DNS servers in the cluster and at `cidrs`, for pods that may speak to nobody outside: behind port 53 of any
    address could stand anything."""
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in (NODE_DNS_CACHE, *sorted(cidrs))]
    return DNS | {"to": [{"namespaceSelector": {}}, *blocks]}


def everywhere(*ports: int) -> Rule:
    """To any address but those that nobody has business with."""
    peers = _blocks("", [network(text) for text in CLOSED])
    return {"ports": [{"port": port, "protocol": "TCP"} for port in ports], "to": peers}


def url_rules(namespace: str, url: str, settings: Settings) -> list[Rule]:
    """Egress rules for the host and port of `url` alone, for pods of `namespace`; none where the setting deniedCIDRs
    closes its address."""
    closed = (*CLOSED, *settings.denied_cidrs)
    return _rules([_of_url(url)], namespace, settings.cluster_domain, closed)


def _destinations(server: ModelServer) -> list[Destination]:
    auth = server.model.auth
    uris = [server.model.uri, *(adapter.uri for adapter in server.spec.adapters)]
    found = [place for uri in uris for place in _of_source(uri, server)]
    if server.spec.engine == "Ollama":
        options = server.spec.ollama
        found += [_of_registry(name, server) for name in (options.models if options else ())]
    if found and auth and auth.endpoint:
        found.append(_of_url(auth.endpoint))
    return found


def _of_source(uri: str, server: ModelServer) -> Iterator[Destination]:
    source = parse_source(uri)
    if source.scheme in ("oci", "https"):
        yield _of_url(f"https://{uri.partition('://')[2]}")
    elif source.downloaded:
        yield Destination("", HTTPS)
    elif source.scheme == "ollama":
        yield _of_registry(source.reference, server)


def _of_registry(reference: str, server: ModelServer) -> Destination:
    """Ollama's names are [[host/]namespace/]model[:tag]."""
    host, slash, rest = reference.partition("/")
    if not slash or "/" not in rest:
        return Destination("", HTTPS)
    insecure = server.spec.ollama and server.spec.ollama.insecure_registry
    return _of_url(f"{'http' if insecure else 'https'}://{host}")


def _of_url(url: str) -> Destination:
    wrong = InvalidSpec("InvalidSpec", f"{url}: not an address; legal is https://host[:port], with port 1 to 65535.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if not host or port == 0:
        raise wrong
    return Destination(host, port or _DEFAULT_PORTS[parts.scheme])


def _rules(places: Iterable[Destination], own: str, domain: str, closed: Iterable[str]) -> list[Rule]:
    """One rule for each set of peers, in a fixed order; `own` is the namespace of the pods."""
    networks = [network(text) for text in closed]
    open_ports: set[tuple[str, int]] = set()
    namespaces: set[str] = set()
    for place in places:
        namespace, only_service = _service(place, own, domain)
        if namespace is not None:
            namespaces.add(namespace)
        if not only_service:
            open_ports.add((place.host if _address(place.host) else "", place.port))
    rules: list[Rule] = []
    for host, group in groupby(sorted(open_ports), key=itemgetter(0)):
        peers = _blocks(host, networks)
        if peers:  # a rule without peers would be one for all addresses
            rules.append({"ports": [{"port": port, "protocol": "TCP"} for _, port in group], "to": peers})
    for name in sorted(namespaces):
        peer = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: name}}}
        rules.append({"ports": [{"protocol": "TCP"}], "to": [peer]})
    return rules


def _service(place: Destination, own: str, domain: str) -> tuple[str | None, bool]:
    """The namespace of the Service that a host may be, and whether it can be nothing else.

    NAME and NAME.NAMESPACE may as well be hosts of the nodes' own search domains; what ends in .svc cannot. Two labels
    with the port of HTTPS are taken for a public host such as ghcr.io.
    """
    if not place.host or _address(place.host):
        return None, False
    labels = place.host.rstrip(".").removesuffix(f".{domain}").split(".")
    if len(labels) > 2 and labels[-1] == "svc":
        return labels[-2], True
    if len(labels) == 2 and place.port != HTTPS:
        return labels[1], False
    return (own if len(labels) == 1 else None), False


def network(text: str) -> Network:
    """A network of the setting deniedCIDRs, which may be written as any of its addresses."""
    return ip_network(text, strict=False)


def _address(host: str) -> Network | None:
    try:
        return ip_network(host)
    except ValueError:
        return None


def _blocks(host: str, closed: Iterable[Network]) -> list[dict[str, Any]]:
    """An ipBlock for the host, or for all addresses of both families, without what is closed."""
    networks: list[Network] = [ip_network(host)] if host else [ip_network("0.0.0.0/0"), ip_network("::/0")]
    return [block for each in networks if (block := _block(each, closed))]


def _block(wanted: Network, closed: Iterable[Network]) -> dict[str, Any] | None:
    same = [other for other in closed if other.version == wanted.version]
    if any(_covers(other, wanted) for other in same):
        return None
    inside = sorted({str(other) for other in same if _covers(wanted, other)})
    return {"ipBlock": {"cidr": str(wanted)} | ({"except": inside} if inside else {})}


def _covers(outer: Network, inner: Network) -> bool:
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen
