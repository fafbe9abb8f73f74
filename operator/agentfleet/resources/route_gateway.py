"""The gateway of an AgentRoute: its pods, its Services, and Gateways of the cluster that it is attached to."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, DnsLabel, DnsName, LabelValue, Quantity, atomic_list, rules, string_set
from agentfleet.resources.model import ConfigMapName
from agentfleet.resources.pods import Resources, Toleration

AnnotationValue = Annotated[str, Field(max_length=1024)]


class ParentRef(Contract):
    """A Gateway of the cluster (Gateway API)."""

    name: DnsLabel
    """Its name."""

    namespace: DnsLabel | None = None
    """Its namespace. Default: the route's."""

    section_name: DnsName | None = None
    """One of its listeners. Default: all that allow it."""


class GatewayService(Contract):
    """The Service in front of the gateway's pods."""

    type: Literal["ClusterIP", "LoadBalancer", "NodePort"] | None = None
    """How it is reached. Default: ClusterIP."""

    annotations: Annotated[dict[str, AnnotationValue], Field(max_length=32)] | None = None
    """Annotations, for what provides load balancers. Default: none."""


class Tls(Contract):
    """TLS of the gateway itself."""

    secret_name: DnsName
    """Secret of type kubernetes.io/tls of the same namespace. Gateways take a renewed one up by themselves."""

    ca_bundle: ConfigMapName | None = None
    """ConfigMap whose key `ca.crt` holds the certificates (PEM) that Agents whose model is this route check it against;
    with it they speak HTTPS. The certificate is for NAME-route.NAMESPACE.svc and the cluster's domain then. Default:
    Agents speak plain HTTP."""


class GatewayPlacement(Contract):
    """Which nodes gateways run on."""

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have. Default: none."""

    tolerations: Annotated[tuple[Toleration, ...], atomic_list(32)]
    """Taints that the pods tolerate."""

    priority_class_name: DnsName | None = None
    """PriorityClass of the pods. Default: none."""

    sites: Annotated[tuple[LabelValue, ...], string_set(32)]
    """Sites where gateways run; with perSite one at each. Default: any; with perSite all that nodes have."""


class Gateway(Contract):
    """The pods that take requests."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.perSite) || !self.perSite || !has(self.replicas)",
                "replicas cannot be set with perSite: each site has one gateway",
                ".replicas",
            ),
        )
    )

    replicas: Annotated[int, Field(ge=1, le=8)] | None = None
    """Pods. While a changed configuration is rolled out one of them less takes requests; one that is alone is replaced
    without a gap. Default: 2; one where perSite is set."""

    per_site: bool | None = None
    """One gateway at each site instead; clients reach the one of their own site, which prefers the site's own pods.
    Default: false."""

    service: GatewayService | None = None
    """The Service in front of them. Default: ClusterIP."""

    tls: Tls | None = None
    """TLS on port 443, beside plain HTTP inside the cluster on port 80. Default: none."""

    resources: Resources | None = None
    """Compute resources of the HAProxy container. Default: 200m CPU and 256Mi, limit 1Gi of memory."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:/@]*$")] | None = None
    """HAProxy's image, version 3.2 or newer. Default: the operator's setting."""

    placement: GatewayPlacement | None = None
    """Which nodes they run on. Default: any, spread."""

    max_body: Quantity | None = None
    """Largest request; larger ones are answered 413. What is larger than 256Ki is passed on without being read: its
    model must be in its first part or in X-Gateway-Model-Name, it counts as Restricted, and no other target is tried
    once it was sent; the decision header says so. Default: 10Mi."""
