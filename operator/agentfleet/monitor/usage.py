"""CPU and memory of engine pods and of their nodes, as metrics.k8s.io (metrics-server) measures them.

    metrics.k8s.io ─ pods, nodes ─▶ Usage.read ◀─ cache: limits of pods, sizes of nodes

It is for reports and alerts; no decision reads it. Where that API is not served, or is away, nothing is known: no
value is made up, and an old one keeps its time.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from agentfleet.apierrors import NotFound
from agentfleet.autoscale.samples import UsageSample
from agentfleet.cache import Cache
from agentfleet.errors import AgentfleetError
from agentfleet.objects import FIELD_MANAGER, MANAGED_BY, Key, Manifest

logger = logging.getLogger(__name__)

_API = "/apis/metrics.k8s.io/v1beta1"
_OURS = {"labelSelector": f"{MANAGED_BY}={FIELD_MANAGER}"}

Place = tuple[str, str]
"""Namespace and name of a pod."""

Amounts = Mapping[str, float]
"""cpu in CPUs, memory in bytes; what is not known is absent."""


class Api(Protocol):
    """What is asked of the API server: KubeCluster has it."""

    async def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None) -> Manifest:
        """One call; errors are those of errors.py."""


@dataclass(frozen=True, slots=True)
class _Pod:
    """What of a pod its usage is compared with."""

    version: int | None
    node: str
    limits: Mapping[str, Amounts]
    """Of each container that has any."""


class Usage:
    """Reads both once each time it is asked."""

    def __init__(self, api: Api, cache: Cache, *, namespaces: tuple[str, ...] = (), nodes: bool = True) -> None:
        """`namespaces` are those that may be read, all where empty; `nodes` whether nodes may."""
        self._api = api
        self._cache = cache
        self._namespaces = namespaces
        self._nodes = nodes
        self._pods: dict[Place, _Pod] = {}
        self._problem: str | None = None

    async def read(self) -> Mapping[Place, UsageSample]:
        """Every engine pod that is measured; empty where the API is absent or away."""
        try:
            pods = [item for path in self._pod_paths() for item in await self._list(path, _OURS)]
            nodes = await self._list(f"{_API}/nodes") if self._nodes else []
        except NotFound:
            self._tell("metrics.k8s.io is not served: CPU and memory of pods and nodes are not known")
            return {}
        except AgentfleetError as error:
            self._tell(f"CPU and memory of pods and nodes are not known: {error}")
            return {}
        self._tell(None)
        node_shares = self._node_shares(nodes)
        self._pods = {place: self._pod(place) for place in map(_place, pods)}
        return {_place(item): _sample(item, self._pods[_place(item)], node_shares) for item in pods}

    def _pod_paths(self) -> Iterable[str]:
        return [f"{_API}/namespaces/{name}/pods" for name in self._namespaces] or [f"{_API}/pods"]

    async def _list(self, path: str, query: Mapping[str, str] | None = None) -> list[Manifest]:
        answer = await self._api.request("GET", path, query=query)
        return answer.get("items") or []

    def _tell(self, problem: str | None) -> None:
        """Say once what is wrong, and once that it is over."""
        if problem != self._problem:
            logger.info(problem or "CPU and memory of pods and nodes are measured again")
        self._problem = problem

    def _node_shares(self, measured: Iterable[Manifest]) -> Mapping[str, Amounts]:
        """Node → share in use of what it has."""
        shares = {}
        for item in measured:
            name = item["metadata"]["name"]
            node = self._cache.get(Key("Node", "", name)) or {}
            shares[name] = _shares(_amounts(item["usage"]), _amounts(node.get("status", {}).get("capacity", {})))
        return shares

    def _pod(self, place: Place) -> _Pod:
        """Parsed anew only where the pod has changed: thousands of them would hold up the process."""
        key = Key("Pod", *place)
        version = self._cache.version(key)
        known = self._pods.get(place)
        if known is not None and known.version == version:
            return known
        spec = (self._cache.get(key) or {}).get("spec", {})
        limits = {each["name"]: _amounts(each["resources"]["limits"]) for each in spec.get("containers", ())}
        return _Pod(version, spec.get("nodeName", ""), limits)


def _place(item: Manifest) -> Place:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _sample(item: Manifest, pod: _Pod, node_shares: Mapping[str, Amounts]) -> UsageSample:
    containers = {each["name"]: _amounts(each["usage"]) for each in item["containers"]}
    # A container is throttled and killed by its own limit: the one that is closest to it speaks for the pod.
    shares = [_shares(used, pod.limits[name]) for name, used in containers.items() if name in pod.limits]
    node = node_shares.get(pod.node, {})
    return UsageSample(
        at=datetime.fromisoformat(item["timestamp"]).timestamp(),
        cpu=_total(containers.values(), "cpu"),
        memory=_total(containers.values(), "memory"),
        cpu_share=_largest(shares, "cpu"),
        memory_share=_largest(shares, "memory"),
        node_cpu_share=node.get("cpu"),
        node_memory_share=node.get("memory"),
    )


def _shares(used: Amounts, whole: Amounts) -> Amounts:
    return {name: used[name] / whole[name] for name in used if whole.get(name)}


def _total(containers: Iterable[Amounts], name: str) -> float | None:
    amounts = [each[name] for each in containers if name in each]
    return sum(amounts) if amounts else None


def _largest(shares: Iterable[Amounts], name: str) -> float | None:
    return max((each[name] for each in shares if name in each), default=None)


_QUANTITY = re.compile(r"([0-9.]+)(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS = {
    None: 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def _amounts(quantities: Mapping[str, Any]) -> Amounts:
    """CPU and memory out of quantities; metrics-server counts CPU in nanocores, which no spec does."""
    found = {name: _QUANTITY.fullmatch(str(quantities.get(name))) for name in ("cpu", "memory")}
    return {name: float(match[1]) * _UNITS[match[2]] for name, match in found.items() if match}
