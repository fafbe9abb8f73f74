"""Addresses that an Agent's pods speak to → egress rules, and what is wrong with them. Pure.

A Service of the cluster is followed to the pods behind it. In privacy mode Offline nothing else will do: what has no
pods in the cluster, or whose pods nobody can name, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.egress import NAMESPACE_NAME_LABEL, Rule, url_rules
from agentfleet.objects import Key, Manifest
from agentfleet.planning.route_addresses import is_refused, service_of
from agentfleet.planning.route_cycles import Lookup
from agentfleet.settings import Settings

_RETRY = 30.0
"""Seconds between looks at Services of others, which are not watched."""
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}


@dataclass(frozen=True)
class Address:
    """One address, by the field that names it."""

    field: str
    url: str

    @property
    def host_and_port(self) -> tuple[str, int]:
        """InvalidSpec where it has none."""
        try:
            parts = urlsplit(self.url.replace("{", "").replace("}", ""))
            host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            host, port = None, 0
        if not host:
            raise InvalidSpec("InvalidSpec", f"{self.field}: {self.url!r} is no address.")
        return host.lower(), port

    def service(self, namespace: str, domain: str) -> Key | None:
        """The Service that it may be for pods of `namespace`."""
        found = service_of(self.host_and_port[0], namespace, domain)
        return Key("Service", found[1], found[0]) if found else None


@dataclass(frozen=True)
class Ways:
    """From pods of `namespace` to addresses."""

    namespace: str
    lookup: Lookup
    settings: Settings
    offline: bool

    def to(self, address: Address) -> list[Rule]:
        """Egress rules; InvalidSpec for an address that such pods have no business at."""
        host, port = address.host_and_port
        if is_refused(host, self.settings.denied_cidrs):
            raise InvalidSpec("EndpointRefused", f"{address.field}: {address.url!r}: this address is not for agents.")
        if self.offline:
            key = address.service(self.namespace, self.settings.cluster_domain)
            if key is None:
                raise _leaves(address, "it is no Service of the cluster")
            return [self.to_service(address.field, key, port)]
        return url_rules(self.namespace, f"http://{_bracketed(host)}:{port}", self.settings)

    def to_service(self, field: str, key: Key, port: int) -> Rule:
        """An egress rule to the pods behind a port of a Service."""
        service = self.service(field, key)
        spec = service["spec"]
        if spec.get("type") == "ExternalName" or not spec.get("selector"):
            if self.offline:
                raise _leaves(Address(field, f"{key}"), "it has no pods of the cluster behind it")
            [rule] = url_rules(self.namespace, f"http://{key.name}.{key.namespace}.svc:{port}", self.settings)
            return rule
        targets = [each.get("targetPort", each["port"]) for each in spec.get("ports", ()) if each["port"] == port]
        if not targets:
            raise InvalidSpec("ReferenceNotFound", f"{field}: {key} has no port {port}; {_ports_of(spec)}.", _RETRY)
        return to_pods(self.namespace, key.namespace, spec["selector"], *targets)

    def service(self, field: str, key: Key) -> Manifest:
        """A Service; InvalidSpec where there is none."""
        if self.settings.watch_namespaces and key.namespace not in self.settings.watch_namespaces:
            message = f"{field}: namespace {key.namespace} is not one that the operator serves."
            raise InvalidSpec("ReferenceNotFound", message)
        service = self.lookup(key)
        if service is None:
            raise InvalidSpec("ReferenceNotFound", f"{field}: there is no {key}.", _RETRY)
        return service

    def only_port(self, field: str, key: Key) -> int:
        """The port of a Service that has but one."""
        spec = self.service(field, key)["spec"]
        ports = [int(port["port"]) for port in spec.get("ports", ())]
        if len(ports) != 1:
            raise InvalidSpec("InvalidSpec", f"{field}.port is required: {key} has no single port; {_ports_of(spec)}.")
        return ports[0]


def to_pods(own: str, namespace: str, labels: Mapping[str, str], *ports: int | str) -> Rule:
    """An egress rule of pods in `own` to ports of pods."""
    peer: dict[str, Any] = {"podSelector": {"matchLabels": dict(labels)}}
    if namespace != own:
        peer["namespaceSelector"] = {"matchLabels": {NAMESPACE_NAME_LABEL: namespace}}
    return {"to": [peer], "ports": [{"port": port, "protocol": "TCP"} for port in ports]}


def _ports_of(spec: Mapping[str, Any]) -> str:
    listed = ", ".join(str(port["port"]) for port in spec.get("ports", ()))
    return f"its ports are {listed}" if listed else "it has no ports"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _leaves(address: Address, why: str) -> InvalidSpec:
    return InvalidSpec(
        "PrivacyViolation", f"{address.field}: {address.url}: {why}, and privacy.mode Offline lets nothing out.", _RETRY
    )
