"""The pod of an Agent: the runtime, with the containers of its Python functions beside it. Pure.

toolhost-NAME   native sidecars, so that they outlive the runs in flight: typed Python functions, spoken to over MCP
                on the loopback; no Secret, token or variable of the agent
agent           takes the requests; told to stop only when DNS has forgotten the pod, and then finishes its runs
"""

import math
from typing import Any

from agentfleet.durations import parse_duration
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.affinity import affinity_problems
from agentfleet.manifests.agent_environment import RENEWED_ANNOTATION, environment_volume
from agentfleet.manifests.agent_names import (
    AGENT_PORT,
    AGENT_TLS_PORT,
    HTTPS_PORT,
    ROLE_LABEL,
    agent_labels,
    agent_name,
)
from agentfleet.manifests.agent_placement import agent_placement
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.agent_volumes import (
    CONFIG_FILE,
    FUNCTIONS_FOLDER,
    agent_volumes,
    functions_volumes,
)
from agentfleet.manifests.canonical import finish
from agentfleet.manifests.limits import violations
from agentfleet.manifests.merge import overlay, shape_problems
from agentfleet.manifests.mounts import Mounted
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.security import CONTAINER_SECURITY, POD_SECURITY
from agentfleet.manifests.service import HTTP_PORT
from agentfleet.manifests.workload import wish
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_runtime import AgentPods
from agentfleet.resources.agent_tools import AgentTool
from agentfleet.resources.modelserver import Drain
from agentfleet.settings import Settings

AGENT = "agent"
TOOLHOST = "toolhost"
_FIRST_TOOL_PORT = 8100
_TOOLHOST_LATER = 5
"""Seconds after limits.toolTimeout: the agent ends a call, and says so; this is for calls that nobody waits for."""
_SLACK_SECONDS = 15
"""For the last words of the process, and the kubelet."""
_START_PERIOD, _START_PROBES = 2, 60
_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
_LIMITS = {"memory": "1Gi"}


def agent_template(
    agent: Agent, uses: Uses, settings: Settings, *, config_map: str, revision: str, renewed: str | None = None
) -> dict[str, Any]:
    """The finished pod template; InvalidSpec where something in it is not allowed, or no such thing.

    `renewed` says when pods had to be replaced for a changed variable (planning/agent_renewal.py).
    """
    _check_shapes(agent)
    pods = agent.spec.runtime or AgentPods()
    built = _built(agent, uses, settings, config_map)
    template = _merged(agent, built)
    _follow_environment(template, renewed)
    finish(template)
    _check_measured(agent, template)
    if pods.service_account_name:
        template["spec"]["serviceAccountName"] = pods.service_account_name
    forbidden = list(violations(template, settings))
    if forbidden:
        raise InvalidSpec("NotAllowed", "; ".join(forbidden) + ".")
    # Our own account is nobody's to allow, so it comes last.
    template["spec"].setdefault("serviceAccountName", agent_name(agent.name))
    template["metadata"]["labels"][REVISION_LABEL] = revision
    return template


def tool_ports(agent: Agent) -> dict[str, int]:
    """Port on the loopback of each entry of Python functions."""
    named = [tool.name for tool in agent.spec.tools if tool.python]
    return {name: _FIRST_TOOL_PORT + index for index, name in enumerate(named)}


def drain_seconds(agent: Agent) -> float:
    """How long runs in flight may take after the pod has left the endpoints."""
    return parse_duration((agent.spec.drain or Drain()).timeout)


def _tool_seconds(agent: Agent) -> float:
    asked = agent.spec.limits.tool_timeout if agent.spec.limits else None
    return parse_duration(asked or "30s")


def toolhost_name(tool: str) -> str:
    """The container of one entry of Python functions."""
    return f"{TOOLHOST}-{tool}"


def _built(agent: Agent, uses: Uses, settings: Settings, config_map: str) -> dict[str, Any]:
    pods = agent.spec.runtime or AgentPods()
    own = agent_volumes(agent, uses, config_map)
    tools = [tool for tool in agent.spec.tools if tool.python]
    beside = [volume for tool in tools for volume in functions_volumes(tool)]
    spec = {
        "automountServiceAccountToken": False,
        "containers": [_agent(agent, pods, own, settings)],
        # Service variables of a neighbour would be read as the runtime's own settings.
        "enableServiceLinks": False,
        "imagePullSecrets": [secret.dump() for secret in pods.image_pull_secrets],
        "initContainers": [_toolhost(agent, tool, settings) for tool in tools],
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": math.ceil(settings.dns_delay)
        + math.ceil(drain_seconds(agent))
        + _SLACK_SECONDS,
        "volumes": [volume.volume() for volume in (*own, *beside)],
        **agent_placement(agent, settings),
    }
    labels = agent_labels(agent) | ({ROLE_LABEL: agent.spec.role} if agent.spec.role else {})
    return {"metadata": {"labels": labels}, "spec": {name: value for name, value in spec.items() if value != []}}


def _agent(agent: Agent, pods: AgentPods, volumes: list[Mounted], settings: Settings) -> dict[str, Any]:
    wait = math.ceil(settings.dns_delay)
    asked = pods.resources
    container: dict[str, Any] = {
        "name": AGENT,
        "env": [item.dump() for item in pods.env],
        "lifecycle": {"preStop": {"sleep": {"seconds": wait}}} if wait else {},
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _ports(agent).items()],
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "resources": {
            "requests": dict((asked.requests if asked else _REQUESTS) or {}),
            "limits": dict((asked.limits if asked else _LIMITS) or {}),
        },
        "securityContext": CONTAINER_SECURITY,
        "startupProbe": _probe("/healthz", period=_START_PERIOD, failures=_START_PROBES),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [volume.mount() for volume in volumes],
        **_image(pods.image, pods.image_pull_policy, settings),
    }
    if not pods.image:
        # An image of the user's own knows what to run: ours does, too, for those that are built on it.
        container["args"] = ["runtime", "--config", CONFIG_FILE]
    container["resources"] = {kind: amounts for kind, amounts in container["resources"].items() if amounts}
    return {name: value for name, value in container.items() if value not in ({}, [])}


def _ports(agent: Agent) -> dict[str, int]:
    return {HTTP_PORT: AGENT_PORT} | ({HTTPS_PORT: AGENT_TLS_PORT} if agent.spec.tls else {})


def _toolhost(agent: Agent, tool: AgentTool, settings: Settings) -> dict[str, Any]:
    pods = agent.spec.runtime or AgentPods()
    image = tool.python.image if tool.python else None
    return {
        "name": toolhost_name(tool.name),
        "args": [
            *("toolhost", "--folder", FUNCTIONS_FOLDER, "--port", str(tool_ports(agent)[tool.name])),
            *("--timeout", f"{_tool_seconds(agent) + _TOOLHOST_LATER:g}"),
        ],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}},
        "restartPolicy": "Always",
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [volume.mount() for volume in functions_volumes(tool)],
        **_image(image, pods.image_pull_policy, settings),  # runtime.image may be of another make, without our toolhost
    }


def _image(image: str | None, policy: str | None, settings: Settings) -> dict[str, Any]:
    if image is None:
        return {"image": settings.runtime_image, "imagePullPolicy": policy or settings.runtime_image_pull_policy}
    return {"image": image, "imagePullPolicy": policy} if policy else {"image": image}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _follow_environment(template: dict[str, Any], renewed: str | None) -> None:
    """With variables from Secrets and ConfigMaps also as files, and the time when these had changed."""
    container = next(each for each in template["spec"]["containers"] if each["name"] == AGENT)
    files = environment_volume(container.get("env", ()))
    if files is None:
        return
    container["volumeMounts"] = [*container["volumeMounts"], files.mount()]
    template["spec"]["volumes"] = [*template["spec"]["volumes"], files.volume()]
    if renewed:
        template["metadata"].setdefault("annotations", {})[RENEWED_ANNOTATION] = renewed


def _check_shapes(agent: Agent) -> None:
    """Free-form fields are kept by the API server as they are, so this is the first look that anybody takes at them."""
    over, placement = (agent.spec.runtime or AgentPods()).pod_template, agent.spec.placement
    problems = list(shape_problems(wish(over), "runtime.podTemplate")) if over else []
    if placement and placement.affinity:
        problems += affinity_problems(dict(placement.affinity))
    if problems:
        raise InvalidSpec("InvalidSpec", "; ".join(problems) + ".")


def _check_measured(agent: Agent, template: dict[str, Any]) -> None:
    """What is measured in percent of a limit never begins without one."""
    alerts = agent.spec.monitoring.alerts if agent.spec.monitoring else ()
    soft = agent.spec.runtime and agent.spec.runtime.memory_soft_limit_percent
    measured = {alert.metric.lower() for alert in alerts} | ({"memory"} if soft else set())
    container = next(each for each in template["spec"]["containers"] if each["name"] == AGENT)
    missing = measured & {"cpu", "memory"} - container.get("resources", {}).get("limits", {}).keys()
    if missing:
        fields = " and ".join(f"runtime.resources.limits.{name}" for name in sorted(missing))
        what = "monitoring.alerts on CPU and Memory, and runtime.memorySoftLimitPercent, are shares of a limit"
        raise InvalidSpec("InvalidSpec", f"{what}: set {fields}.")


def _merged(agent: Agent, template: dict[str, Any]) -> dict[str, Any]:
    over = agent.spec.runtime.pod_template if agent.spec.runtime else None
    if over is None:
        return template
    merged: dict[str, Any] = overlay(template, wish(over))
    # What Services, drains and this operator rely on is put back; functions stay without what is not theirs.
    merged["metadata"]["labels"] |= template["metadata"]["labels"]
    merged["spec"]["automountServiceAccountToken"] = False
    merged["spec"].pop("shareProcessNamespace", None)
    hosts = {container["name"]: container for container in template["spec"].get("initContainers", ())}
    if "initContainers" in merged["spec"]:
        beside = merged["spec"]["initContainers"]
        merged["spec"]["initContainers"] = [hosts.get(container["name"], container) for container in beside]
    [built] = template["spec"]["containers"]
    for container in merged["spec"]["containers"]:
        if container["name"] == AGENT:
            for name in ("ports", "lifecycle"):
                container.pop(name, None)
                if name in built:
                    container[name] = built[name]
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                if "httpGet" in container.get(probe, {}):
                    container[probe]["httpGet"]["port"] = HTTP_PORT
    return merged
