"""The references of an Agent → what they are now, or what is wrong with them. Pure over what the cache has.

An agent without its model or one of its tools is none, so what is missing, not allowed or against its privacy stops it
(InvalidSpec): pods of the former spec go on serving, and the object's coming wakes it. A model that is there and not
ready stops nothing: pods wait for it themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent_names import AGENT_PORT, AGENT_TLS_PORT, agent_address
from agentfleet.manifests.agent_uses import ToolUse, Uses
from agentfleet.manifests.egress import NAMESPACE_NAME_LABEL, Rule, everywhere
from agentfleet.manifests.policy import tcp
from agentfleet.objects import AGENT_LABEL, Key
from agentfleet.planning.agent_addresses import Address, Ways, to_pods
from agentfleet.planning.agent_cycles import behind_agent, check_agent_cycles
from agentfleet.planning.agent_model import ModelLook
from agentfleet.planning.agent_refs import Refs
from agentfleet.planning.allowed import goes_by_labels
from agentfleet.planning.route_cycles import Lookup, route_at
from agentfleet.planning.route_places import Places
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_tools import AgentTool
from agentfleet.resources.compliance import PrivacyMode, privacy_in_force
from agentfleet.settings import Settings

_API_PORTS = (443, 6443)


def agent_references(agent: Agent, lookup: Lookup, settings: Settings) -> frozenset[Key]:
    """Every agentfleet object that `agent_uses` reads, with the Services by which ModelServers are reached."""
    found = behind_agent(agent, lookup, settings.cluster_domain)
    ref = agent.spec.model.model_server_ref if agent.spec.model else None
    if ref is None:
        return found
    return found | {Key("Service", ref.namespace or agent.namespace, f"{ref.name}-model-pods")}


def foreign_services(agent: Agent, settings: Settings) -> frozenset[Key]:
    """Services of others, which are not watched: `lookup` has to know them before `agent_uses` asks."""
    found = {key for _, key in _server_refs(agent)}
    if privacy_in_force(agent.spec).mode == "Offline":
        every = (address.service(agent.namespace, settings.cluster_domain) for address in _addresses(agent))
        found |= {key for key in every if key}
    served = settings.watch_namespaces
    return frozenset(key for key in found if not served or key.namespace in served)


def wants_own_namespace(agent: Agent, lookup: Lookup, settings: Settings) -> bool:
    """Whether labels of the Agent's Namespace decide about a reference."""
    manifests = (lookup(key) for key in behind_agent(agent, lookup, settings.cluster_domain))
    return any(goes_by_labels(manifest) for manifest in manifests if manifest)


def agent_uses(
    agent: Agent, lookup: Lookup, settings: Settings, namespace_labels: Mapping[str, str] | None = None
) -> Uses:
    """What the agent uses; InvalidSpec for the first reference that does not hold."""
    check_agent_cycles(agent, lookup, settings.cluster_domain)
    labels = {**(namespace_labels or {}), NAMESPACE_NAME_LABEL: agent.namespace}
    return _Look(agent, lookup, settings, labels).uses()


def _server_refs(agent: Agent) -> Iterator[tuple[AgentTool, Key]]:
    for tool in agent.spec.tools:
        if tool.mcp and tool.mcp.server_ref:
            yield tool, Key("Service", agent.namespace, tool.mcp.server_ref.name)


def _addresses(agent: Agent) -> Iterator[Address]:
    """What spec names by address, but for the model."""
    for tool in agent.spec.tools:
        if tool.mcp and tool.mcp.url:
            yield Address(f"tools.{tool.name}.mcp.url", tool.mcp.url)
        if tool.http:
            yield Address(f"tools.{tool.name}.http.url", tool.http.url)
    if agent.spec.session and agent.spec.session.redis:
        yield Address("session.redis.url", agent.spec.session.redis.url)
    if agent.spec.monitoring and agent.spec.monitoring.otlp_endpoint:
        yield Address("monitoring.otlpEndpoint", agent.spec.monitoring.otlp_endpoint)


@dataclass(frozen=True)
class _Look:
    """Looks the references of one agent up."""

    agent: Agent
    lookup: Lookup
    settings: Settings
    labels: Mapping[str, str]

    def uses(self) -> Uses:
        asked = self.agent.spec.model
        model, rules = ModelLook(self._refs, self.settings, self._mode).use(asked) if asked else (None, [])
        tools, members = dict(self._tools()), tuple(self._members())
        for address in _addresses(self.agent):
            self._check_stays(address)
            rules += self._ways.to(address)
        for tool, key in _server_refs(self.agent):
            rules.append(self._ways.to_service(_field(tool), key, self._server_port(tool, key)))
        rules += [self._to_agent(key) for key in self._agents()]
        judges = self._judges_tokens()
        if judges:
            rules += self._to_api_server()
        egress = [rule for index, rule in enumerate(rules) if rule not in rules[:index]]
        return Uses(model, tools, members, tuple(egress), judges)

    @property
    def _own(self) -> str:
        return self.agent.namespace

    @property
    def _mode(self) -> PrivacyMode:
        return privacy_in_force(self.agent.spec).mode

    @property
    def _refs(self) -> Refs:
        return Refs(self._own, self.lookup, self.labels)

    @property
    def _ways(self) -> Ways:
        return Ways(self._own, self.lookup, self.settings, offline=self._mode == "Offline")

    def _check_stays(self, address: Address) -> None:
        """A route is a Service of the cluster; its targets need not be."""
        route = route_at({"url": address.url}, self._own, self.settings.cluster_domain)
        if self._mode != "Offline" or route is None or self.lookup(route) is None:
            return
        if Places(self.lookup, self.settings.cluster_domain).of_route(route) == "Cloud":
            message = f"{address.field}: {route} leads to a cloud; privacy.mode is Offline."
            raise InvalidSpec("PrivacyViolation", message)

    # --- tools and other agents ----------------------------------------------------------------------------------

    def _tools(self) -> Iterator[tuple[str, ToolUse]]:
        servers = {tool.name: key for tool, key in _server_refs(self.agent)}
        for tool in self.agent.spec.tools:
            if tool.name in servers:
                yield tool.name, ToolUse(self._server_url(tool, servers[tool.name]))
            elif tool.mcp and tool.mcp.url:
                yield tool.name, ToolUse(tool.mcp.url)
            elif tool.http:
                yield tool.name, ToolUse(tool.http.url, tool.http.description)
            elif tool.agent:
                key = Key("Agent", tool.agent.namespace or self._own, tool.agent.name)
                yield tool.name, self._other(f"tools.{tool.name}.agent", key)

    def _members(self) -> Iterator[tuple[str, ToolUse]]:
        for key in self._member_keys():
            yield key.name, self._other("orchestration.members", key)

    def _member_keys(self) -> list[Key]:
        members = self.agent.spec.orchestration.members if self.agent.spec.orchestration else ()
        return [Key("Agent", self._own, name) for name in members]

    def _agents(self) -> Iterator[Key]:
        for tool in self.agent.spec.tools:
            if tool.agent:
                yield Key("Agent", tool.agent.namespace or self._own, tool.agent.name)
        yield from self._member_keys()

    def _other(self, field: str, key: Key) -> ToolUse:
        spec = self._refs.allowed(field, key)["spec"]
        if (spec.get("protocols") or {}).get("a2a") is False:
            raise InvalidSpec("ReferenceNotFound", f"{field}: {key} does not speak A2A: its protocols.a2a is false.")
        if key.namespace != self._own and not self._judges((spec.get("privacy") or {}).get("mode", "")):
            message = f"{field}: {key} knows agents of other namespaces by their tokens, and may not have them judged: "
            raise InvalidSpec(
                "RefNotPermitted", f"{message}see the settings agents.directCallers, agents.apiServerCIDRs."
            )
        tls = spec.get("tls")
        authority = ((tls or {}).get("caBundle") or {}).get("configMapName")
        if authority and key.namespace != self._own:
            message = f"{field}: ConfigMap {authority} of {key} is in its namespace: the Agent must be there, too."
            raise InvalidSpec("RefNotPermitted", message)
        url = agent_address(key.name, key.namespace, self.settings.cluster_domain, tls=bool(tls))
        return ToolUse(url, spec.get("description") or "", authority)

    def _to_agent(self, key: Key) -> Rule:
        tls = (self.lookup(key) or {}).get("spec", {}).get("tls")
        return to_pods(self._own, key.namespace, {AGENT_LABEL: key.name}, AGENT_TLS_PORT if tls else AGENT_PORT)

    def _server_url(self, tool: AgentTool, key: Key) -> str:
        path = (tool.mcp and tool.mcp.server_ref and tool.mcp.server_ref.path) or "/mcp"
        host = f"{key.name}.{key.namespace}.svc.{self.settings.cluster_domain}"
        return f"http://{host}:{self._server_port(tool, key)}{path}"

    def _server_port(self, tool: AgentTool, key: Key) -> int:
        asked = tool.mcp.server_ref.port if tool.mcp and tool.mcp.server_ref else None
        return asked or self._ways.only_port(_field(tool), key)

    def _judges_tokens(self) -> bool:
        return self._judges(self._mode)

    def _judges(self, mode: str) -> bool:
        if not self.settings.agents_direct_callers:
            return False
        # Without the addresses of the API server its ports would be open to all the world.
        return mode != "Offline" or bool(self.settings.agents_api_server_cidrs)

    def _to_api_server(self) -> list[Rule]:
        known = self.settings.agents_api_server_cidrs
        if not known:
            return [everywhere(*_API_PORTS)]
        peers = [{"ipBlock": {"cidr": cidr}} for cidr in sorted(known)]
        return [{"to": peers, "ports": [tcp(port) for port in _API_PORTS]}]


def _field(tool: AgentTool) -> str:
    return f"tools.{tool.name}.mcp.serverRef"
