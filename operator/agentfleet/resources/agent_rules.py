"""CEL rules over the whole spec of an Agent: fields that go together, and what privacy and compliance refuse."""

from agentfleet.resources.agent_tools import orchestration_rules

_MODE = "has(self.privacy) && has(self.privacy.mode)"
_CLOSED = f"({_MODE} ? self.privacy.mode != 'Standard' : has(self.privacy) && has(self.privacy.compliance) &&" + (
    " size(self.privacy.compliance) > 0)"
)
"""Private or Offline, also by compliance."""
_OFFLINE = f"({_MODE} && self.privacy.mode == 'Offline')"
_LOCAL = (
    "^https?://([a-z0-9]([-a-z0-9]*[a-z0-9])?)([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)?([.]svc([.][-a-z0-9.]+)?)?"
    "(:[0-9]{1,5})?(/.*)?$"
)
"""NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc or that with the cluster's domain."""
_TOOLS = "has(self.tools)"
_MAX = (
    "(has(self.scaling) ? (has(self.scaling.maxReplicas) ? self.scaling.maxReplicas :"
    " (has(self.scaling.minReplicas) ? self.scaling.minReplicas : 1)) : 1)"
)
_STORE = "(has(self.session) && has(self.session.store) ? self.session.store : 'Memory')"
_APPROVES = f"({_TOOLS} && self.tools.exists(t, has(t.approval) && t.approval.mode != 'Never'))"
_HIPAA = "(has(self.privacy) && has(self.privacy.compliance) && 'HIPAA' in self.privacy.compliance)"

SPEC_RULES: list[tuple[str | None, ...]] = [
    (
        "has(self.model) || has(self.orchestration) && self.orchestration.pattern in ['Sequential', 'Concurrent']",
        "an Agent needs a model; only orchestration Sequential and Concurrent do without",
        ".model",
    ),
    (
        "!(has(self.instructions) && has(self.instructionsFrom))",
        "set instructions or instructionsFrom, not both",
        ".instructionsFrom",
    ),
    (
        f"!({_APPROVES} && {_MAX} > 1 && {_STORE} == 'Memory')",
        "approvals outlive a replica only in a shared session.store: use Redis or PersistentVolume, or maxReplicas 1",
        ".session",
    ),
    (
        f"!({_MAX} > 1 && {_STORE} == 'PersistentVolume') || (has(self.session.volume) &&"
        " has(self.session.volume.accessMode) && self.session.volume.accessMode == 'ReadWriteMany')",
        "several replicas share a volume only with session.volume.accessMode ReadWriteMany",
        ".session",
    ),
    (
        f"!{_CLOSED} || !has(self.model) || !has(self.model.external) ||"
        " (has(self.model.external.location) && self.model.external.location != 'Cloud')",
        "privacy.mode Private and Offline (and compliance) take no model in a cloud: set model.external.location Edge"
        " or Cluster if it is none",
        ".model",
    ),
    (
        f"!{_OFFLINE} || !has(self.model) || !has(self.model.external)",
        "privacy.mode Offline takes no model outside the cluster",
        ".model",
    ),
    (
        f"!{_OFFLINE} || !{_TOOLS} || self.tools.all(t, !has(t.mcp) || !has(t.mcp.url) ||"
        f" t.mcp.url.matches('{_LOCAL}'))",
        "privacy.mode Offline takes no tool outside the cluster: the host of mcp.url must be NAME.NAMESPACE.svc",
        ".tools",
    ),
    (
        f"!{_OFFLINE} || !{_TOOLS} || self.tools.all(t, !has(t.http) || t.http.url.matches('{_LOCAL}'))",
        "privacy.mode Offline takes no tool outside the cluster: the host of http.url must be NAME.NAMESPACE.svc",
        ".tools",
    ),
    (
        f"!{_CLOSED} || !has(self.monitoring) || !has(self.monitoring.captureContent) ||"
        " !self.monitoring.captureContent",
        "privacy.mode Private and Offline (and compliance) keep texts out of traces: captureContent must be false",
        ".monitoring.captureContent",
    ),
    (
        f"!{_CLOSED} || !has(self.audit) || !has(self.audit.content) || !self.audit.content",
        "privacy.mode Private and Offline (and compliance) keep texts out of audit lines: audit.content must be false",
        ".audit.content",
    ),
    (
        f"!{_OFFLINE} || !has(self.monitoring) || !has(self.monitoring.otlpEndpoint) ||"
        f" self.monitoring.otlpEndpoint.matches('{_LOCAL}')",
        "privacy.mode Offline sends traces to the cluster alone: the host of otlpEndpoint must be NAME.NAMESPACE.svc",
        ".monitoring.otlpEndpoint",
    ),
    (
        "!has(self.privacy) || !has(self.privacy.compliance) || size(self.privacy.compliance) == 0 ||"
        " !has(self.privacy.mode) || self.privacy.mode != 'Standard'",
        "compliance needs privacy.mode Private or Offline",
        ".privacy.mode",
    ),
    (
        "!has(self.privacy) || !has(self.privacy.compliance) || size(self.privacy.compliance) == 0 ||"
        " !has(self.privacy.redactLogs) || self.privacy.redactLogs",
        "compliance needs privacy.redactLogs true",
        ".privacy.redactLogs",
    ),
    (
        f"!{_HIPAA} || !has(self.access) || !has(self.access.default) || self.access.default == 'Deny'",
        "compliance HIPAA needs access.default Deny",
        ".access.default",
    ),
    (
        "!has(self.monitoring) || !has(self.monitoring.alerts) ||"
        " self.monitoring.alerts.all(a, !has(a.action) || a.action != 'SmallerTier') ||"
        " (has(self.model) && has(self.model.routeRef))",
        "action SmallerTier asks the model's route: it needs model.routeRef",
        ".monitoring.alerts",
    ),
    (
        "!has(self.placement) || !has(self.placement.mode) || self.placement.mode != 'PerNode'",
        "placement.mode PerNode is for ModelServers; an Agent has Spread and Pack",
        ".placement.mode",
    ),
    (
        "!has(self.placement) || !has(self.placement.edge) || !has(self.placement.edge.keepModel)",
        "placement.edge.keepModel is for ModelServers: an Agent has no model of its own",
        ".placement.edge",
    ),
    *orchestration_rules(),
]
