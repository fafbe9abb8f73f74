"""`status`: how much of the fleet is healthy, and a line for each ModelServer, AgentRoute and Agent."""

from argparse import Namespace
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from math import floor
from typing import Any, TypeVar

from agentfleet.cli import fleet
from agentfleet.cli.agents import Agent, agents
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.output import answer, remark
from agentfleet.cli.routes import Route, routes
from agentfleet.cli.seen import Seen, Trouble
from agentfleet.cli.server import OPEN_STATES, Server, change_text
from agentfleet.cli.table import NOTHING, number, table

_DEGRADED = 3
_HEADERS = ("NAME", "MODE", "READY", "DESIRED", "RECOMMENDED", "CAPACITY", "DEMAND", "CONDITIONS")
_ROUTE_HEADERS = ("NAME", "GATEWAYS", "TARGETS", "URL", "CONDITIONS")
_AGENT_HEADERS = ("NAME", "READY", "MODEL", "TOOLS", "URL", "CONDITIONS")

_Object = TypeVar("_Object", bound=Seen)


@dataclass(frozen=True, slots=True)
class Health:
    """How many objects of a kind are Ready."""

    healthy: int
    total: int

    @property
    def percent(self) -> float:
        """To a tenth, rounded down: 100 is said only where all are healthy. Of none, all are."""
        return floor(self.healthy / self.total * 1000) / 10 if self.total else 100.0

    @property
    def overall(self) -> str:
        return "healthy" if self.healthy == self.total else "degraded"


async def run(arguments: Namespace, api: Api) -> int:
    """Below 100 % there is a warning, and with --check an exit code of its own."""
    everywhere = arguments.all_namespaces
    namespace = None if everywhere else arguments.namespace or api.namespace
    found = await fleet.servers(api, namespace)
    found_routes = await _seen("AgentRoutes", routes(api, namespace))
    found_agents = await _seen("Agents", agents(api, namespace))
    health, route_health, agent_health = health_of(found), health_of(found_routes), health_of(found_agents)
    texts = [_text(found, health, namespace)]
    if found_routes:
        texts.append(_routes_text(found_routes, route_health, namespace))
    if found_agents:
        texts.append(_agents_text(found_agents, agent_health, namespace))
    data = _data(found, health) | _routes_data(found_routes, route_health) | _agents_data(found_agents, agent_health)
    answer(arguments.output, "\n\n".join(texts), data)
    degraded = [
        f"{each.total - each.healthy} of {each.total} {kind}"
        for kind, each in (("ModelServers", health), ("AgentRoutes", route_health), ("Agents", agent_health))
        if each.overall == "degraded"
    ]
    if not degraded:
        return 0
    remark(f"warning: {' and '.join(degraded)} are not healthy")
    return _DEGRADED if arguments.check else 0


async def _seen(kinds: str, listing: Awaitable[list[_Object]]) -> list[_Object]:
    """The objects; users who may see ModelServers only shall see these."""
    try:
        return await listing
    except Refused as error:
        if error.status != 403:
            raise
        remark(f"warning: {kinds} are not shown: {error}")
        return []


def health_of(objects: Sequence[Seen]) -> Health:
    """Of all of a kind."""
    return Health(sum(each.is_healthy for each in objects), len(objects))


def _text(servers: Sequence[Server], health: Health, namespace: str | None) -> str:
    if not servers:
        return f"No ModelServers in {f'namespace {namespace}' if namespace else 'any namespace'}."
    summary = f"Fleet: {health.overall}, {health.healthy} of {health.total} ModelServers healthy ({health.percent:g} %)"
    headers = _HEADERS if namespace else ("NAMESPACE", *_HEADERS)
    rows = [_row(server) if namespace else (server.namespace, *_row(server)) for server in servers]
    return f"{summary}\n\n{table(headers, rows)}"


def _capacity(server: Server) -> str:
    if _counts_at_once(server):
        return number(server.concurrency, " at once")
    return number(server.requests_per_second, "/s")


def _counts_at_once(server: Server) -> bool:
    """The engine counts no requests, so capacity and demand are requests at once."""
    return server.requests_per_second is None and server.concurrency is not None


def _row(server: Server) -> tuple[str, ...]:
    return (
        server.name,
        server.mode or NOTHING,
        f"{server.ready}/{server.status.get('replicas') or 0}",
        str(server.wanted),
        recommended(server),
        _capacity(server),
        number(server.demand, " at once" if _counts_at_once(server) else "/s"),
        _conditions(server.troubles),
    )


def _conditions(troubles: Sequence[Trouble]) -> str:
    return ", ".join(f"{trouble.type}: {trouble.reason}" for trouble in troubles) or NOTHING


def _routes_text(found: Sequence[Route], health: Health, namespace: str | None) -> str:
    summary = f"Routes: {health.overall}, {health.healthy} of {health.total} AgentRoutes healthy ({health.percent:g} %)"
    headers = _ROUTE_HEADERS if namespace else ("NAMESPACE", *_ROUTE_HEADERS)
    rows = [_route_row(route) if namespace else (route.namespace, *_route_row(route)) for route in found]
    return f"{summary}\n\n{table(headers, rows)}"


def _route_row(route: Route) -> tuple[str, ...]:
    return (
        route.name,
        NOTHING if route.gateways is None else f"{route.ready_gateways}/{route.gateways}",
        f"{route.ready_targets}/{len(route.targets)}" if route.targets else NOTHING,
        route.url or NOTHING,
        _conditions(route.troubles),
    )


def _agents_text(found: Sequence[Agent], health: Health, namespace: str | None) -> str:
    summary = f"Agents: {health.overall}, {health.healthy} of {health.total} Agents healthy ({health.percent:g} %)"
    headers = _AGENT_HEADERS if namespace else ("NAMESPACE", *_AGENT_HEADERS)
    rows = [_agent_row(agent) if namespace else (agent.namespace, *_agent_row(agent)) for agent in found]
    return f"{summary}\n\n{table(headers, rows)}"


def _agent_row(agent: Agent) -> tuple[str, ...]:
    return (
        agent.name,
        NOTHING if agent.replicas is None else f"{agent.ready}/{agent.replicas}",
        agent.model or NOTHING,
        NOTHING if agent.tools is None else str(len(agent.tools)),
        agent.url or NOTHING,
        _conditions(agent.troubles),
    )


def recommended(server: Server) -> str:
    """What the operator would do and has not done yet."""
    decision = server.decision
    if decision is None or decision["state"] not in OPEN_STATES:
        return NOTHING
    if decision["action"] == "hold":
        return f"hold ({decision['binding']})"
    text = change_text(decision)
    return text if decision["state"] == "Recommended" else f"{text} ({decision['state']})"


def _data(servers: Sequence[Server], health: Health) -> dict[str, Any]:
    return {
        "overall": health.overall,
        "healthy": health.healthy,
        "total": health.total,
        "percent": health.percent,
        "modelServers": [_server_data(server) for server in servers],
    }


def _server_data(server: Server) -> dict[str, Any]:
    return {
        "namespace": server.namespace,
        "name": server.name,
        "healthy": server.is_healthy,
        "mode": server.mode,
        "replicas": server.status.get("replicas") or 0,
        "readyReplicas": server.ready,
        "desired": server.wanted,
        "capacityRequestsPerSecond": server.requests_per_second,
        "capacityConcurrency": server.concurrency,
        "demandRequestsPerSecond": None if _counts_at_once(server) else server.demand,
        "demandConcurrency": server.demand if _counts_at_once(server) else None,
        "decision": server.decision,
        "troubles": [asdict(trouble) for trouble in server.troubles],
    }


def _routes_data(found: Sequence[Route], health: Health) -> dict[str, Any]:
    return {
        "routes": {"overall": health.overall, "healthy": health.healthy, "total": health.total},
        "agentRoutes": [
            {
                "namespace": route.namespace,
                "name": route.name,
                "healthy": route.is_healthy,
                "gateways": route.gateways,
                "readyGateways": route.ready_gateways,
                "url": route.url,
                "targets": route.targets,
                "troubles": [asdict(trouble) for trouble in route.troubles],
            }
            for route in found
        ],
    }


def _agents_data(found: Sequence[Agent], health: Health) -> dict[str, Any]:
    return {
        "agentHealth": {"overall": health.overall, "healthy": health.healthy, "total": health.total},
        "agents": [
            {
                "namespace": agent.namespace,
                "name": agent.name,
                "healthy": agent.is_healthy,
                "replicas": agent.replicas,
                "readyReplicas": agent.ready,
                "model": agent.model,
                "privacy": agent.mode,
                "tools": agent.tools,
                "url": agent.url,
                "a2aUrl": agent.status.get("a2aUrl"),
                "troubles": [asdict(trouble) for trouble in agent.troubles],
            }
            for agent in found
        ],
    }
