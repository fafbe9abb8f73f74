"""Parts of a pod that users may set on a ModelServer: environment, files, resources, placement, pod template."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import (
    AbsolutePath,
    Contract,
    DnsName,
    Duration,
    FreeForm,
    LabelValue,
    Quantity,
    atomic_list,
    map_list,
    rules,
    showing,
    string_set,
)


class EnvVar(Contract):
    """One environment variable of the engine container: `value` or `valueFrom`, not both."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!(has(self.value) && has(self.valueFrom))", "set value or valueFrom, not both"),
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
    """Name of the variable. Variables that the operator itself sets are refused, with their names."""

    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value as it is; at most 4096 characters."""

    value_from: FreeForm | None = None
    """Where the value comes from, as in a pod: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef. So whoever
    may create ModelServers can have a pod read any Secret of the namespace, as whoever may create pods can."""


class EnvFrom(Contract):
    """All keys of one ConfigMap or Secret of the same namespace as variables of the engine container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.configMapRef) != has(self.secretRef)", "set exactly one of configMapRef and secretRef"),
        )
    )

    prefix: Annotated[str, Field(max_length=64)] | None = None
    """Put before each key. Default: nothing."""

    config_map_ref: FreeForm | None = None
    """The ConfigMap: {name, optional}."""

    secret_ref: FreeForm | None = None
    """The Secret: {name, optional}."""


class File(Contract):
    """A small text file in the engine container, such as a chat template."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!self.path.matches('^/(models|tmp|dev|cache|state|adapters|etc/agentfleet/adapters|var/run/agentfleet)(/.*)?$')",
                "path must not lie under /models, /tmp, /dev, /cache, /state, /adapters, /etc/agentfleet/adapters"
                " or /var/run/agentfleet, which are volumes of the pod",
                ".path",
                showing("path must not lie under a volume of the pod, such as /models or /tmp", "self.path"),
            ),
        )
    )

    path: AbsolutePath
    """Absolute path in the engine container. Must not lie under /models, /tmp, /dev, /cache, /state, /adapters,
    /etc/agentfleet/adapters or /var/run/agentfleet."""

    content: Annotated[str, Field(max_length=65536)]
    """Content of the file; at most 65536 characters. Not for secrets: it is kept in a ConfigMap."""


_IS_GPU = (
    "k.contains('/gpu') || k.startsWith('nvidia.com/') || k.startsWith('amd.com/') || k.startsWith('gpu.intel.com/')"
)


class Resources(Contract):
    """Compute resources of the engine container. GPUs are not set here but in spec.gpu."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                f"!has(self.limits) || !self.limits.exists(k, {_IS_GPU})",
                "GPUs are set in spec.gpu (resource and count), not in resources.limits",
            ),
            (
                f"!has(self.requests) || !self.requests.exists(k, {_IS_GPU})",
                "GPUs are set in spec.gpu (resource and count), not in resources.requests",
            ),
        )
    )

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What the scheduler reserves on the node, for example {cpu: 2, memory: 8Gi}."""

    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What the container may use at most. The memory limit also carries /dev/shm and the page cache of the weights."""


class Toleration(Contract):
    """Lets pods onto nodes with a taint, as in a pod."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint; absent with operator Exists matches every taint."""

    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal. Default: Equal."""

    value: LabelValue | None = None
    """Value of the taint, for operator Equal."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """NoSchedule, PreferNoSchedule or NoExecute; absent matches all three."""

    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = None
    """For effect NoExecute: how long the pod stays, 0 to 86400 seconds. Default: for ever."""


class Edge(Contract):
    """What happens when a node can no longer be reached."""

    not_ready_grace: Duration | None = None
    """How long pods stay where they are while their node is not ready, before they are made anew elsewhere. Default:
    the cluster's own, 5m. PerNode pods stay for ever."""

    keep_model: bool | None = None
    """Never delete this model from a HostPath cache to make room for others (cache.size), so that a node that returns
    downloads nothing. Default: false."""


class Placement(Contract):
    """Which nodes the pods run on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.mode) || self.mode != 'PerNode' || !has(self.schedulerName)",
                "schedulerName cannot be set with mode PerNode: each node has its pod without being chosen",
                ".schedulerName",
            ),
        )
    )

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have, all of them."""

    affinity: FreeForm | None = None
    """Node and pod affinity as in a pod. Sites and GPU products are added to it, never replace it."""

    tolerations: Annotated[tuple[Toleration, ...], atomic_list(32)]
    """Taints that the pods tolerate."""

    priority_class_name: DnsName | None = None
    """PriorityClass of the pods; it must exist."""

    scheduler_name: DnsName | None = None
    """Scheduler that places the pods. Default: the cluster's own."""

    sites: Annotated[tuple[LabelValue, ...], string_set(64)]
    """Sites that the pods may run on: values of the node label that the operator's siteLabel setting names
    (default topology.kubernetes.io/zone). Empty means any site."""

    mode: Literal["Spread", "Pack", "PerNode"] | None = None
    """Spread (over sites and nodes as evenly as can be), Pack (together on few nodes, to leave others free) or PerNode
    (one pod on every node that fits; replicas is not used then). Default: Spread."""

    edge: Edge | None = None
    """What happens when a node can no longer be reached. Default: as the cluster does it."""


class ImagePullSecret(Contract):
    """Names a Secret with registry credentials."""

    name: DnsName
    """Name of the Secret in the same namespace."""


class PodTemplate(Contract):
    """The last word on the pods: merged over what the operator builds.

    Containers, initContainers, volumes and env merge by name, mounts by path, other lists are replaced. The engine's
    container is called `engine`, the sidecar `sidecar`, the loader `loader`. Selector labels, ports, probes' ports and
    the sidecar are put back. Host namespaces, privileged containers, service accounts and host paths are refused
    unless the operator's settings allow them.
    """

    metadata: FreeForm | None = None
    """Labels and annotations to add to the pods."""

    spec: FreeForm | None = None
    """Part of a pod spec."""


class EnginePod(Contract):
    """What every engine's pod shares; mixed into the ModelServer's spec."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/:@]*$")] | None = None
    """Image of the engine container. Default: the operator's setting for the engine. A tag or digest pins the version,
    by which flags are checked."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Always, IfNotPresent or Never, for the engine's image. Default: the cluster's rule (Always for :latest)."""

    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], map_list("name", max_items=8)]
    """Secrets with registry credentials for the images of the pod."""

    extra_args: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], atomic_list(64)]
    """Arguments put after those that the operator makes, each as one item: `--flag=value` or a flag and its value as
    two. Flags that the operator sets itself are refused with the field to use instead; flags that the engine's version
    does not know are Stalled with reason BadFlag before any pod starts."""

    env: Annotated[tuple[EnvVar, ...], map_list("name", max_items=64)]
    """Environment variables of the engine container."""

    env_from: Annotated[tuple[EnvFrom, ...], atomic_list(16)]
    """ConfigMaps and Secrets whose keys become variables of the engine container."""

    files: Annotated[tuple[File, ...], map_list("path", max_items=16)]
    """Small text files to place into the engine container."""

    resources: Resources | None = None
    """CPU and memory of the engine container. Default: none requested, no limit."""

    service_account_name: DnsName | None = None
    """Service account of the pods; it must be in the operator's allowedServiceAccounts setting. Default: the
    namespace's default account, without a token."""

    pod_template: PodTemplate | None = None
    """Escape hatch: merged over the pods that the operator builds."""
