"""`agents.maxPerNode` on a real scheduler: pods as the operator would make them under such a setting.

The pods are made here: to set it would restart the operator, which other scenarios are using. They need not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_uses import ModelUse, Uses
from agentfleet.resources.agent import Agent
from agentfleet.settings import Settings
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

_LABEL = "e2e.agentfleet.dev/crowded"
_AGENTS = ("first", "second")
"""Of different Agents: the cap counts them all."""


def no_node_takes_more(scenario: Scenario) -> None:
    nodes = len(scenario.kube.list("Node"))
    with _pods(scenario, nodes + 1, Settings(agents_per_node=1)):
        left = scenario.until(lambda: _left_over(scenario, nodes), f"{nodes} nodes have one pod each, and one waits")
        assert "topology spread" in left


def _left_over(scenario: Scenario, nodes: int) -> str:
    """Why the last pod has no node, once all others have theirs."""
    found = scenario.kube.list("Pod", scenario.namespace, labels=_LABEL)
    places = [pod["spec"]["nodeName"] for pod in found if "nodeName" in pod["spec"]]
    assert len(set(places)) == len(places), "two on one node"
    reasons = [
        each.get("message", "")
        for pod in found
        for each in pod.get("status", {}).get("conditions", ())
        if each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable"
    ]
    return reasons[0] if len(places) == nodes and len(reasons) == 1 else ""


@contextmanager
def _pods(scenario: Scenario, count: int, settings: Settings) -> Iterator[None]:
    items = [_pod(scenario, f"crowded-{number}", settings, _AGENTS[number % 2]) for number in range(count)]
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    try:
        yield
    finally:
        scenario.kubectl("delete", "pod", "-l", _LABEL, "--grace-period=0", "--force")


def _pod(scenario: Scenario, name: str, settings: Settings, agent: str) -> Manifest:
    """The operator's labels and rules of placement, around a container that is never started."""
    spec: dict[str, Any] = {"model": {"external": {"url": "http://absent/v1", "model": "m", "location": "Cluster"}}}
    about = {"name": agent, "namespace": scenario.namespace, "uid": agent, "generation": 1, "resourceVersion": "1"}
    kind = {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "Agent"}
    parsed = Agent.from_manifest({**kind, "metadata": about, "spec": spec})
    uses = Uses(ModelUse("http://absent/v1", "m"))
    made = agent_template(parsed, uses, settings, config_map="absent", revision="1")
    container = {"name": "agent", "image": settings.runtime_image, "imagePullPolicy": "Never", "command": ["absent"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": made["metadata"]["labels"] | {_LABEL: ""}},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "topologySpreadConstraints": made["spec"]["topologySpreadConstraints"],
        },
    }
