"""One ModelServer or Agent → where it answers and how it stands. Pure.

Unlike references, which route_targets.py follows, nothing here knows of the route but its namespace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentfleet.engines.sources import parse_source
from agentfleet.gateway.resolved import Credentials, Endpoint, Reason, Resolved
from agentfleet.manifests.topology import placement_mode
from agentfleet.objects import AGENT_LABEL, MODEL_SERVER_LABEL, Key, Manifest
from agentfleet.planning.route_addresses import outside
from agentfleet.planning.route_cycles import Lookup
from agentfleet.resources.conditions import READY
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.route_rules import MODEL_ID
from agentfleet.settings import Settings

_PODS_LABEL = {"ModelServer": MODEL_SERVER_LABEL, "Agent": AGENT_LABEL}
_SUFFIX = {"ModelServer": "model", "Agent": "agent"}
_HEALTH = {"ModelServer": "/health", "Agent": "/healthz"}
_OLLAMA_PORT = 11434
_FEWEST_SLOTS = 16
_PER_NODE_SLOTS = 128
"""For placement mode PerNode, whose pods are as many as the nodes that fit."""


def headless(kind: str, name: str) -> str:
    """The headless Service of a ModelServer or an Agent."""
    return f"{name}-{_SUFFIX[kind]}-pods"


def server_endpoint(found: Resolved, server: ModelServer, lookup: Lookup, settings: Settings, own: str) -> Resolved:
    """`found` with the endpoint of a ModelServer, for a route of namespace `own`."""
    expose = server.spec.expose
    key = expose.api_key_secret_name if expose else None
    if key and server.namespace != own:
        return _foreign(found, f"Secret {key}")
    port = _port(found, lookup)
    if port is None:
        return _coming(found)
    scaling = server.spec.scaling
    endpoint = replace(
        _inside(found, port, settings.cluster_domain),
        model=server.model_name,
        slots=_server_slots(server),
        # Ollama has no path for health alone; a profile may have made another engine of the one in spec.
        health="/" if port == _OLLAMA_PORT else _HEALTH["ModelServer"],
        credentials=Credentials(secret=key),
        scales_to_zero=bool(scaling and scaling.mode == "Apply" and scaling.min_replicas == 0),
    )
    return replace(found, endpoint=endpoint)


def endpoint_elsewhere(
    found: Resolved, server: ModelServer, external: External, settings: Settings, own: str
) -> Resolved:
    """The same of a ModelServer that is an endpoint outside: the gateway speaks to that endpoint itself.

    Models that the endpoint tells of itself are not looked at: their order would choose one, and their names are
    anybody's text, which has no place in a configuration.
    """
    credentials = credentials_of(external)
    named = credentials.secret or credentials.ca_config_map
    if named and server.namespace != own:
        return _foreign(found, f"{'Secret' if credentials.secret else 'ConfigMap'} {named}")
    alias = parse_source(server.spec.model.uri).reference if server.spec.model else None
    model = external.model or alias or ""
    if not MODEL_ID.fullmatch(model):
        message = f"{found.name}: which model is meant? Name it in external.model of ModelServer {found.object}."
        return replace(found, reason="NotReady", message=message)
    return replace(found, endpoint=outside(external.url, model, credentials, settings.denied_cidrs))


def agent_endpoint(found: Resolved, manifest: Manifest, lookup: Lookup, settings: Settings, own: str) -> Resolved:
    """The same of an Agent."""
    if (manifest["spec"].get("protocols") or {}).get("openai") is False:
        message = f"{found.name}: Agent {found.object} does not answer what routes send: its protocols.openai is false."
        return replace(found, reason="NotReady", message=message)
    tls = manifest["spec"].get("tls")
    authority = ((tls or {}).get("caBundle") or {}).get("configMapName")
    if authority and found.namespace != own:
        return _foreign(found, f"ConfigMap {authority}")
    port = _port(found, lookup)
    if port is None:
        return _coming(found)
    scaling = manifest["spec"].get("scaling") or {}
    most = max(scaling.get("maxReplicas") or 1, scaling.get("minReplicas") or 1)
    endpoint = replace(
        _inside(found, port, settings.cluster_domain),
        slots=_rounded(2 * most),
        concurrency=(manifest["spec"].get("concurrency") or {}).get("max"),
        tls=bool(tls),
        credentials=Credentials(ca_config_map=authority),
        scales_to_zero=scaling.get("minReplicas") == 0,
    )
    return replace(found, endpoint=endpoint)


def credentials_of(external: External) -> Credentials:
    """What an endpoint outside asks for."""
    auth = external.auth
    if auth is None:
        return Credentials()
    return Credentials(auth.secret_name, auth.ca_bundle.config_map_name if auth.ca_bundle else None)


def standing(manifest: Manifest) -> tuple[Reason, str]:
    """How a ModelServer or an Agent stands, by its condition Ready."""
    conditions: Sequence[Mapping[str, Any]] = (manifest.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each.get("type") == READY), None)
    if ready is None:
        return "NotReady", "the operator has not looked at it yet."
    if ready.get("status") == "True":
        return ("ScaledToZero" if ready.get("reason") == "ScaledToZero" else "Serving"), ""
    return "NotReady", f"it is not ready: {ready.get('reason')}."


def _foreign(found: Resolved, named: str) -> Resolved:
    """Gateways can mount what lies in their own namespace only."""
    message = f"{found.name}: {named} is in namespace {found.namespace}; make {found.object} an external target."
    return replace(found, reason="NotPermitted", message=message)


def _coming(found: Resolved) -> Resolved:
    return replace(found, reason="NotReady", coming=True, message=f"{found.name}: its Services are not there yet.")


def _port(found: Resolved, lookup: Lookup) -> int | None:
    """The port that pods listen on, as their headless Service has it; None while there is none."""
    service = lookup(Key("Service", found.namespace, headless(found.kind, found.object)))
    ports = service["spec"].get("ports", ()) if service else ()
    return int(ports[0]["port"]) if ports else None


def _inside(found: Resolved, port: int, domain: str) -> Endpoint:
    domain = f"{found.namespace}.svc.{domain}"
    return Endpoint(
        model=found.object,
        host=f"{headless(found.kind, found.object)}.{domain}",
        port=port,
        service=f"{found.object}-{_SUFFIX[found.kind]}.{domain}",
        health=_HEALTH[found.kind],
        pods=(_PODS_LABEL[found.kind], found.object),
    )


def _server_slots(server: ModelServer) -> int:
    """Pods that there may be at once; twice as many as wanted, since a rollout may have all of both revisions."""
    if placement_mode(server) == "PerNode":
        return _PER_NODE_SLOTS
    most = server.spec.scaling.max_replicas if server.spec.scaling else None
    return _rounded(2 * max(most or 1, server.replicas))


def _rounded(slots: int) -> int:
    """To a power of two: else each change of replicas would be a new configuration."""
    return max(_FEWEST_SLOTS, 1 << (slots - 1).bit_length())
