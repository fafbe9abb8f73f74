"""Conditions and their reasons: the one table of what can be said about an object, and how conditions change.

Reasons are stable: users alert on them. Conventions are kstatus': Reconciling and Stalled are there only while true.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
MODEL_READY = "ModelReady"
TOOLS_READY = "ToolsReady"
ALERTING = "Alerting"
METRICS_AVAILABLE = "MetricsAvailable"
SCALING_ACTIVE = "ScalingActive"
CAPACITY_BLOCKED = "CapacityBlocked"
CONFLICTING_AUTOSCALER = "ConflictingAutoscaler"
THRESHOLD_EXCEEDED = "ThresholdExceeded"
EXPOSED = "Exposed"
ACCEPTED = "Accepted"
RESOLVED_REFS = "ResolvedRefs"
PROGRAMMED = "Programmed"
OF_THE_LOOP = (METRICS_AVAILABLE, SCALING_ACTIVE, CAPACITY_BLOCKED, CONFLICTING_AUTOSCALER, THRESHOLD_EXCEEDED)
"""Conditions that come from the scaling loop and what it observes."""

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Contract):
    """One aspect of the object's state."""

    type: Annotated[str, Field(max_length=316)]
    """Ready, Reconciling and Stalled; of a ModelServer also ModelReady, Exposed, MetricsAvailable, ScalingActive,
    CapacityBlocked, ConflictingAutoscaler and ThresholdExceeded; of an Agent ModelReady, ToolsReady, Alerting and
    those of its scaling; of an AgentRoute Accepted, ResolvedRefs and Programmed."""

    status: ConditionStatus
    """True, False or Unknown."""

    reason: Annotated[str, Field(max_length=1024)]
    """Stable CamelCase word for the cause."""

    message: Annotated[str, Field(max_length=32768)]
    """What happened and what to do about it."""

    last_transition_time: Annotated[str, Field(max_length=64)]
    """When status last changed, RFC 3339 in UTC."""

    observed_generation: Annotated[int, Field(ge=0)]
    """The generation of the spec that this is about."""


HINTS: dict[str, str] = {
    # Good news
    "Serving": "",
    "ScaledToZero": "",
    "Loaded": "",
    # Work in progress
    "RollingOut": "",
    "WaitingForPods": "",
    "WaitingForDeletion": "It goes on by itself once that object is gone; look for a finalizer on it if it stays.",
    "Downloading": "",
    "LoadingModel": "",
    "EngineStarting": "",
    "EngineRestarted": "",
    "ReplicasUnavailable": "The pods were fine and are not now; see their status and logs.",
    "Unschedulable": "Free resources, add a node, or relax spec.placement, spec.gpu or spec.resources.",
    # Only a human can help
    "InvalidSpec": "Correct the field and apply the object again.",
    "InvalidSettings": "Correct the operator's settings (chart values).",
    "NotAllowed": "Ask the platform team to allow it in the operator's settings (chart values), or remove it.",
    "NameConflict": "Delete or rename the other object, or give this one another name.",
    "Rejected": "The API server refused what was made from the spec; correct the field that it names.",
    "QuotaExceeded": "Raise the namespace's ResourceQuota or ask for less.",
    "BadFlag": "Remove or correct it in spec.extraArgs; flags depend on the engine's version.",
    "BadEngineValue": "Correct the engine setting that the message names.",
    "ImagePullFailed": "Check spec.image, spec.imagePullSecrets and that the nodes reach the registry.",
    "ModelNotFound": "Check spec.model.uri (external.model): the repository, file, folder, tag or model must exist.",
    "ModelGated": "Accept the model's licence; name a Secret with credentials in spec.model.auth.secretName.",
    "ChecksumMismatch": "The file is not the one that spec.model.sha256 names; check both.",
    "ClaimNotFound": "Create the PersistentVolumeClaim, or correct its name.",
    "ConfigNotFound": "Create the Secret, ConfigMap or key that the message names, or correct its name.",
    "SourceChanged": "The model was replaced at its source while it was being loaded; it is loaded anew.",
    "SourceUnreachable": "The pods cannot reach the model's source; check network, proxy and spec.model.auth.endpoint.",
    "RegistryUnreachable": "Ollama's registry cannot be reached from the pods; check network and spec.model.uri.",
    "BadSource": "Correct spec.model.uri or spec.model.sha256 as the message says.",
    "CacheLocked": "Another pod is downloading into the same cache; this one goes on when that one is done.",
    "CacheNotWritable": "The cache must be writable for user 65532; check spec.cache and the volume behind it.",
    "PullFailed": "See the message, and `kubectl logs` of the pod's sidecar container.",
    "LoadFailed": "The engine could not load the model; see the message and the engine's log.",
    "EngineTooOld": "Use a newer image in spec.image.",
    "EngineUnavailable": "The engine does not answer; see its log.",
    "DriverTooOld": "The engine's image needs a newer GPU driver: update the node's, or set an older spec.image.",
    "BadParallelism": "Choose parallelism from the legal values that the message names, or Auto.",
    "ImpossibleFit": "Use more or larger GPUs, a smaller vllm.maxModelLen, or a quantized variant of the model.",
    "NoSuchProfile": "Name a profile of the operator's settings (chart value profiles).",
    "NoUsableProfile": "Name a profile that fits, or add a variant of the model for its engine to model.variants.",
    "LeaderWorkerSetMissing": "Install LeaderWorkerSet (sigs.k8s.io/lws), or keep a replica on one node.",
    "PreparingModel": "",
    "WarmUpFailed": "The engine does not answer a first request; see model.task and the engine's log.",
    "EndpointRefused": "Node, metadata, API server and denied addresses, redirects and public http:// are refused.",
    "EndpointUnreachable": "Check external.url, and that the namespace's pods may reach it.",
    "EndpointUnauthorized": "Check the key `apiKey` of the Secret in external.auth.secretName.",
    "TLSFailed": "Check the server's certificate, or name its authority in auth.caBundle.",
    "WarmingUp": "",
    "AdapterRefused": "vLLM refused the adapter: its rank must be at most vllm.maxLoraRank, its base the model.",
    "AdaptersDisabled": "The engine was started without adapters; remove what turns them off from spec.extraArgs.",
    "DiskFull": "Give spec.cache more room, or use a smaller model.",
    "OutOfMemory": "Raise spec.resources.limits.memory, or use a smaller model or context.",
    "OutOfGpuMemory": "Use more or larger GPUs, a smaller context (vllm.maxModelLen), or a quantized model.",
    "VolumeMountFailed": "The volume's folder must exist on the node, its claim must be bound.",
    "EngineDied": "See the message and `kubectl logs` of the pod's engine container with --previous.",
    "ProbeTimeout": "The engine did not answer in time; see its logs, or raise spec.startupTimeout.",
    # The scaling loop
    "MetricsFound": "",
    "MetricsStarting": "",
    "MetricsPartial": "Nothing is scaled in meanwhile; see the pods that do not answer.",
    "MetricsStale": "Nothing is scaled in meanwhile; can the operator reach port 9901 of the pods (Agent: 8080)?",
    "MetricsMissing": "Nothing is scaled in meanwhile; can the operator reach port 9901 of the pods (Agent: 8080)?",
    "MetricsRenamed": "Nothing is scaled in meanwhile; this version of the engine is not known to the operator.",
    "ScalingApplied": "",
    "ScalingRecommended": "",
    "ScalingManual": "",
    "AwaitingApproval": "Approve it with `kubectl agentfleet approve`, or by the annotation agentfleet.dev/approve.",
    "ApprovalUnknown": "Approve the decision that status.scaling.decision names: its id changes with the decision.",
    "NoDemandSource": "Put a route before it to let it go to zero: a server without pods sees no requests.",
    "ScalingPaused": "",
    "BudgetExceeded": "Raise scaling.maxGpus, or the namespace's budget in the operator's settings (chart values).",
    "BudgetUnknown": "No replica is added before the GPUs of all ModelServers in the namespace are known.",
    "ReversalBreaker": "It went up and down too often; lengthen scaling.stabilization.in or raise minReplicas.",
    "OtherAutoscaler": "Delete the other autoscaler, or use scaling.mode Recommend or Manual.",
    "AboveThreshold": "",
    # InferencePools of ModelServers
    "InferencePoolMade": "",
    "InferencePoolMissing": "Install the InferencePool CRD (Gateway API Inference Extension), or unset the field.",
    # Routes
    "Accepted": "",
    "Programmed": "",
    "TargetsResolved": "",
    "TargetNotFound": "Create the object, or correct the reference; meanwhile the route goes on without that target.",
    "TargetNotReady": "",
    "RefNotPermitted": "Let this object's namespace in by allowedNamespaces of the object that the message names.",
    "KindNotInstalled": "Install the CRD of that kind, or remove the target.",
    "CloudWithoutAuth": "Set spec.auth: without it whoever reaches the route could spend money at the cloud target.",
    "RouteCycle": "Take one of the references out: a request would go round for ever.",
    "NoTarget": "See status.targets: not one of the targets can be used.",
    "TooLarge": "Shorten lists of rules, keywords, examples and patterns.",
    "WaitingForServices": "",
    "WaitingForTargets": "",
    "WaitingForSites": "",
    "GatewayDied": "Correct what it says; more is in `kubectl logs POD -c CONTAINER --previous` with the names above.",
    "GatewaysUnavailable": "The gateways were fine and are not now; see their status and logs.",
    "GatewayAPIMissing": "Install the Gateway API CRDs, or remove spec.parentRefs.",
    "ParentNotAccepted": "See status.parents: the Gateway's listeners must allow the route's namespace and host names.",
    # Agents
    "ReferenceNotFound": "Create the object that the message names, or correct the reference.",
    "AgentCycle": "Take one of the references out: a question would go round until it is cut.",
    "PrivacyViolation": "Refer to what stays in the cluster, or relax spec.privacy.",
    "ModelNotReady": "",
    "ToolsFound": "",
    "NoAlert": "",
    "AlertRaised": "Each pod acts on it as spec.monitoring.alerts says; see its metrics.",
    "ToolsNotReady": "",
    "ToolsIncomplete": "Correct what the message names; the agent goes on without it meanwhile.",
    "NotAnswering": "A pod is ready when its model and its tools answer; see its log, and what GET /readyz says.",
    "AgentDied": "See the message and `kubectl logs` of the container that it names, with --previous.",
    "AgentOutOfMemory": "Raise runtime.resources.limits.memory, or lower concurrency.max and session.max.",
    "InternalError": "This is a bug of the operator; see its log, and report it.",
}
"""Every reason, with what a human can do about it (empty where nothing has to be done)."""


def explain(reason: str, message: str) -> str:
    """A condition's message: what happened, then the hint of its reason."""
    hint = HINTS[reason]
    return f"{message} {hint}" if hint and message else message or hint


def timestamp(now: datetime) -> str:
    """`now` (UTC) as Kubernetes writes times."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def merge_conditions(
    old: Iterable[Condition], wanted: dict[str, tuple[ConditionStatus, str, str]], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Conditions after `wanted` (type → status, reason, message), sorted by type.

    lastTransitionTime stays while status stays; types that are not wanted any more disappear.
    """
    before = {condition.type: condition for condition in old}
    merged = []
    for kind, (status, reason, message) in sorted(wanted.items()):
        previous = before.get(kind)
        since = previous.last_transition_time if previous and previous.status == status else timestamp(now)
        merged.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return tuple(merged)
