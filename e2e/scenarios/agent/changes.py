"""What the operator does about Agents that change: rollouts, drift, references that come later, deletion."""

from __future__ import annotations

import json
import time
from functools import partial

import pytest

from e2e.scenarios import agents
from e2e.scenarios.agent.world import QUESTION, World
from e2e.traffic import Rate, table, traffic

_RATE = Rate(streams=2.0, stream_tokens=8, shorts=2.0, short_tokens=2)
_KINDS = (
    "Deployment",
    "ReplicaSet",
    "Pod",
    "Service",
    "EndpointSlice",
    "ConfigMap",
    "ServiceAccount",
    "NetworkPolicy",
)
_LOOK = 2.0
_INTRUDER = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "intruder:1"}]


def a_missing_model_is_named_and_may_come_later(world: World) -> None:
    scenario = world.scenario
    stalled = agents.condition(scenario, "early", "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ReferenceNotFound")
    assert f"ModelServer/{scenario.namespace}/later" in stalled["message"]
    assert agents.condition(scenario, "early", "Ready")["status"] == "False"
    assert agents.pods(scenario, "early") == []
    scenario.apply("later.yaml")
    agents.wait_ready(scenario, "early", timeout=60)
    assert not agents.condition(scenario, "early", "Stalled")
    world.says({"text": "Better late."})
    with world.client("early") as client:
        answer = client.chat.completions.create(model="early", messages=[QUESTION])
    assert answer.choices[0].message.content == "Better late."


def drift_is_put_right(world: World) -> None:
    """What is edited and what is deleted; the pod that serves stays."""
    scenario = world.scenario
    kube, namespace, name = scenario.kube, scenario.namespace, "clerk-agent"
    pods = agents.pods(scenario, "clerk")
    wished = {kind: _wish(world, kind) for kind in ("Service", "Deployment", "NetworkPolicy")}
    kube.patch("Service", name, namespace, {"spec": {"selector": {"app": "intruder"}}})
    kube.patch("Deployment", name, namespace, _INTRUDER, how="json")
    kube.delete("NetworkPolicy", name, namespace)
    for kind, wish in wished.items():
        scenario.until(partial(_is_wished, world, kind, wish), f"{kind} {name} is as it was", 60)
    scenario.until(lambda: agents.pods(scenario, "clerk") == pods, "the intruder's pods are gone", 60)
    agents.wait_ready(scenario, "clerk")


def _is_wished(world: World, kind: str, wish: object) -> bool:
    return _wish(world, kind) == wish


def _wish(world: World, kind: str) -> object:
    found = world.scenario.kube.get(kind, "clerk-agent", world.scenario.namespace)
    return found and found["spec"]


def new_instructions_lose_no_request(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = world.scenario
    (old,) = agents.pods(scenario, "crowd")
    with (
        agents.address(scenario, "crowd") as address,
        traffic(address, "crowd", _RATE, key=world.token) as seen,
    ):
        scenario.until(lambda: seen.whole() >= 2, "streams are answered", 30)
        seen.phase = "rollout"
        patch = {"spec": {"instructions": "Be long-winded."}}
        scenario.kubectl("patch", "agent", "crowd", "--type=merge", "-p", json.dumps(patch))
        scenario.until(lambda: _is_gone(world, old), "another pod has taken over", 90)
        seen.phase, since = "after", seen.now
        scenario.until(lambda: seen.whole(after=since) >= 2, "the new pod answers", 30)
    with capsys.disabled():
        print(f"\n{table(seen)}")
    seen.assert_nothing_lost()
    assert world.heard()["messages"][0]["content"].startswith("Be long-winded.")
    assert agents.condition(scenario, "crowd", "Ready")["status"] == "True"


def a_rotated_secret_replaces_pods_that_have_it_in_a_variable(world: World) -> None:
    scenario = world.scenario
    (old,) = agents.pods(scenario, "own")
    assert _crm_key(world, old) == "first"
    scenario.kube.patch("Secret", "crm", scenario.namespace, {"stringData": {"key": "second"}})

    def replaced() -> bool:
        if old not in agents.pods(scenario, "own"):
            return True
        # The kubelet looks at a pod's files, and the operator asks it, once a minute, or when anything of it changes.
        annotations = {"e2e/looked-at": str(time.monotonic())}
        scenario.kube.patch("Pod", old, scenario.namespace, {"metadata": {"annotations": annotations}})
        time.sleep(_LOOK)
        return False

    scenario.until(replaced, "another pod has taken over", 180)
    agents.wait_ready(scenario, "own")
    (new,) = agents.pods(scenario, "own")
    assert _crm_key(world, new) == "second"


def _crm_key(world: World, pod: str) -> str:
    told = "import os; print(os.environ['CRM_KEY'])"
    return world.scenario.kubectl("exec", pod, "--container=agent", "--", agents.PYTHON, "-c", told).strip()


def _is_gone(world: World, pod: str) -> bool:
    return world.scenario.kube.get("Pod", pod, world.scenario.namespace) is None


def deletion_leaves_nothing(world: World) -> None:
    scenario = world.scenario
    assert {kind.split()[0] for kind in _left(world)} == set(_KINDS)
    scenario.kubectl("delete", "agent", "crowd", "--timeout=30s")  # no finalizer: it goes at once
    scenario.until(lambda: not _left(world), "all children are gone", 60)


def _left(world: World) -> list[str]:
    scenario = world.scenario
    return [
        f"{kind} {found['metadata']['name']}"
        for kind in _KINDS
        for found in scenario.kube.list(kind, scenario.namespace, labels=f"{agents.OWNED}=crowd")
    ]


CHECKS = (a_missing_model_is_named_and_may_come_later, drift_is_put_right)
