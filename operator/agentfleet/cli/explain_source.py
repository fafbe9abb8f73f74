"""Where `explain route` has its routes from: the API server or a file, compiled by the code of the operator.

What a route's targets refer to is read with the user's own rights. What may not be read, and offline everything, is
assumed to be there, ready, and in the cluster.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agentfleet.cli import routes
from agentfleet.cli.api import Api, Refused
from agentfleet.errors import AgentfleetError, InvalidSpec
from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_decider import decider_config
from agentfleet.gateway.compile_layout import layout
from agentfleet.gateway.decider_config import DeciderConfig
from agentfleet.gateway.layout import Layout
from agentfleet.gateway.resolved import Resolution, Resolved
from agentfleet.gateway.types import Load, Policy
from agentfleet.objects import GROUP, KINDS, VERSION, Key, Manifest
from agentfleet.planning.route_targets import references, resolve, wants_namespace
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

_SETTINGS = Settings()
"""The operator's are not the user's to read. Addresses aside (cluster domain, denied ones), none changes a decision."""
_NOT_STORED = {"uid": "", "generation": 0}


class NoRoute(AgentfleetError):
    """There is no route to explain, or it is not valid."""


@dataclass(frozen=True)
class Source:
    """One route, compiled."""

    route: AgentRoute
    resolution: Resolution
    policy: Policy
    layout: Layout
    decider: DeciderConfig
    loads: Mapping[str, Load]
    """By target's id: the ready pods that the API server shows, and no requests."""
    assumed: tuple[Key, ...]
    """What was not looked up."""

    @property
    def title(self) -> str:
        return f"{self.route.namespace}/{self.route.name}"


async def live(api: Api, namespace: str, name: str) -> Source:
    """The route of that name in the cluster."""
    return await source((await routes.route(api, namespace, name)).manifest, api)


async def from_file(path: str, name: str | None, namespace: str | None, api: Api | None) -> Source:
    """The AgentRoute of a file of YAML, by name where there are several."""
    manifest = read_manifest(path, name)
    metadata = {"namespace": namespace or (api.namespace if api else "default"), **manifest["metadata"]}
    return await source(manifest | {"metadata": metadata}, api, path)


async def source(manifest: Manifest, api: Api | None, where: str = "") -> Source:
    """Compiled against what is in the cluster; without `api` against what may be assumed."""
    route = _validated(manifest, where)
    objects, unread = await _objects(api, route)
    try:
        resolution = resolve(
            route, objects.get, await _served(api), _SETTINGS, await _namespace_labels(api, route, objects)
        )
        policy = compile_policy(route, resolution)
        return Source(
            route,
            resolution,
            policy,
            layout(route, resolution, _SETTINGS),
            decider_config(route, resolution, ()),
            {each.id: _load(resolution.targets[each.name], objects) for each in policy.targets},
            tuple(sorted(key for key in unread if key.kind != "Service")),
        )
    except InvalidSpec as error:
        raise NoRoute(f"{where or 'AgentRoute'} {route.namespace}/{route.name}: {error.message}") from error


def read_manifest(path: str, name: str | None) -> Manifest:
    """The AgentRoute in a file; NoRoute says what there is instead."""
    try:
        documents = [each for each in yaml.safe_load_all(Path(path).read_text()) if each]
    except OSError as error:
        raise NoRoute(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NoRoute(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == "AgentRoute"]
    named = [each for each in found if name in (None, _name(each))]
    if len(named) == 1 and _name(named[0]) and isinstance(named[0].get("spec"), dict):
        return dict(named[0])
    names = ", ".join(str(_name(each)) for each in found)
    if not found:
        raise NoRoute(f"{path} has no AgentRoute")
    if len(named) > 1:
        raise NoRoute(f"{path} has several AgentRoutes: name one of {names}")
    raise NoRoute(f"{path} has no AgentRoute {name or 'with metadata.name and spec'}, but {names}")


def _name(manifest: Manifest) -> str | None:
    metadata = manifest.get("metadata")
    return metadata.get("name") if isinstance(metadata, dict) else None


def _validated(manifest: Manifest, where: str) -> AgentRoute:
    try:
        route = AgentRoute.from_manifest(manifest | {"metadata": _NOT_STORED | manifest["metadata"]})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise NoRoute(f"{where or 'AgentRoute'}: {field}: {first['msg']}, got {first['input']!r}") from error
    # the API server keeps only fields that it knows, so one that nobody knows is in a file
    unknown = next(_unknown(manifest["spec"], route.spec.dump(), "spec"), None)
    if unknown and where:
        raise NoRoute(f"{where}: there is no field {unknown}; see `kubectl explain agentroute.spec`")
    return route


def _unknown(given: Any, understood: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(understood, dict):
        for name, value in given.items():
            if value is not None and name not in understood:
                yield f"{path}.{name}"
            elif value is not None:
                yield from _unknown(value, understood[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(understood, list):
        for index, (one, other) in enumerate(zip(given, understood, strict=False)):
            yield from _unknown(one, other, f"{path}[{index}]")


async def _objects(api: Api | None, route: AgentRoute) -> tuple[dict[Key, Manifest], list[Key]]:
    """What the route refers to, step by step, as one object may lead to others; and what could not be read."""
    objects: dict[Key, Manifest] = {}
    looked_at: set[Key] = set()
    unread: list[Key] = []
    while missing := references(route, objects.get, _SETTINGS) - looked_at:
        looked_at |= missing
        for key in sorted(missing):
            try:
                found = await _get(api, key) if api else _assumed(key)
            except Refused as error:
                if error.status != 403:
                    raise
                found = _assumed(key)
                unread.append(key)
            if found is not None:
                objects[key] = found
    return objects, unread if api else sorted(objects)


async def _get(api: Api, key: Key) -> Manifest | None:
    kind = KINDS[key.kind]
    group = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{key.namespace}" if kind.namespaced else ""
    try:
        return await api.get(f"{group}{where}/{kind.plural}/{key.name}")
    except Refused as error:
        if error.status == 404:
            return None
        raise


def _assumed(key: Key) -> Manifest | None:
    """The object as it would be if all were well; of routes, that there is none."""
    spec: Manifest
    if key.kind == "Service":
        return {"metadata": {"name": key.name, "namespace": key.namespace}, "spec": {"ports": [{"port": 8000}]}}
    if key.kind == "ModelServer":
        spec = {"engine": "VLLM", "model": {"uri": "hf://assumed/model"}, "allowedNamespaces": {"from": "All"}}
    elif key.kind == "Agent":
        spec = {"allowedNamespaces": {"from": "All"}}
    else:
        return None
    ready = {"type": "Ready", "status": "True", "reason": "Serving"}
    metadata = _NOT_STORED | {"name": key.name, "namespace": key.namespace}
    return {"metadata": metadata, "spec": spec, "status": {"readyReplicas": 1, "conditions": [ready]}}


async def _served(api: Api | None) -> frozenset[str]:
    if api is None:
        return frozenset(KINDS)
    resources = (await api.get(f"/apis/{GROUP}/{VERSION}"))["resources"]
    return frozenset(str(each["kind"]) for each in resources if "kind" in each)


async def _namespace_labels(
    api: Api | None, route: AgentRoute, objects: Mapping[Key, Manifest]
) -> Mapping[str, str] | None:
    if api is None or not wants_namespace(route, objects.get):
        return None
    try:
        namespace = await _get(api, Key("Namespace", "", route.namespace))
    except Refused as error:
        if error.status != 403:
            raise
        problem = f"you may not get namespace {route.namespace}, whose labels a target's allowedNamespaces asks for"
        raise NoRoute(f"{problem}; --offline assumes that it allows the route") from error
    labels: Mapping[str, str] | None = (namespace or {}).get("metadata", {}).get("labels")
    return labels


def _load(found: Resolved, objects: Mapping[Key, Manifest]) -> Load:
    """Ready pods; of an endpoint outside of the cluster one, where nobody says that it does not answer."""
    if found.endpoint is None or found.endpoint.service is None:
        return Load(ready=int(found.ready))
    status = objects.get(Key(found.kind, found.namespace, found.object), {}).get("status") or {}
    return Load(ready=int(status.get("readyReplicas") or 0))


def with_loads(source: Source, loads: Mapping[str, Load]) -> Source:
    """With loads, by target's name, as somebody wants them to be."""
    ids = {target.name: target.id for target in source.policy.targets}
    for name in loads:
        if name not in ids:
            raise NoRoute(f"--load {name}: {source.title} has no such target in use; there are {', '.join(ids)}")
    return replace(source, loads={**source.loads, **{ids[name]: load for name, load in loads.items()}})
