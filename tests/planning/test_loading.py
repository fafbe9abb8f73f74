"""Caches that are filled before pods start: claims once, nodes each for itself; and what can go wrong."""

import json
from dataclasses import replace
from typing import Any

import pytest

from agentfleet.planning.nodes import NodeView
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import plan
from agentfleet.planning.preparation import prepare
from agentfleet.resources.modelserver_status import ModelServerStatus
from tests.builders import server
from tests.planning.jobs import SETTINGS, Cluster, look
from tests.planning.times import NOW

CLAIM = {"type": "PersistentVolume", "size": "20Gi"}


def test_a_claim_is_made_and_filled_before_pods_start() -> None:
    cluster = Cluster()
    first = look(cluster, cache=CLAIM)
    claim, job = first.apply
    assert (claim["kind"], claim["metadata"]["name"]) == ("PersistentVolumeClaim", "phi-model-cache")
    assert "ownerReferences" not in claim["metadata"], "Retain is the default"
    assert job["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"] == {"claimName": "phi-model-cache"}
    assert first.blocked == "The cache is being filled by 1 Job."
    cluster.take(first)
    cluster.end(job["metadata"]["name"], {"revision": "abc"})
    done = look(cluster, cache=CLAIM)
    assert done.blocked is None
    assert [manifest["kind"] for manifest in done.apply] == ["PersistentVolumeClaim"]


def test_loaders_have_their_network_policy_before_they_start() -> None:
    policed = SETTINGS.model_copy(update={"network_policies": True})
    found = prepare(server("VLLM", cache=CLAIM), ModelServerStatus(), Observed(), policed, NOW)
    assert [manifest["kind"] for manifest in found.apply] == ["NetworkPolicy", "PersistentVolumeClaim", "Job"]


def test_a_claim_that_goes_with_its_owner() -> None:
    (claim, _) = look(Cluster(), cache=CLAIM | {"reclaimPolicy": "Delete"}).apply
    assert claim["metadata"]["ownerReferences"][0]["name"] == "phi"


def test_another_model_is_loaded_by_another_job_and_the_former_one_goes() -> None:
    cluster = Cluster()
    (_, old) = cluster.take(look(cluster, cache=CLAIM))
    cluster.end(old, {})
    changed = {"cache": CLAIM, "model": {"uri": "hf://acme/chat-8b"}}
    (_, new) = cluster.take(look(cluster, **changed))
    assert new != old
    cluster.end(new, {})
    assert [key.name for key, _ in look(cluster, **changed).delete] == [old]


def test_a_claim_need_not_be_filled_beforehand() -> None:
    found = look(Cluster(), cache=CLAIM | {"preload": False})
    assert ([manifest["kind"] for manifest in found.apply], found.blocked) == (["PersistentVolumeClaim"], None)


def test_an_upgrade_of_the_operator_loads_nothing_again() -> None:
    cluster = Cluster()
    (_, name) = cluster.take(look(cluster, cache=CLAIM))
    cluster.end(name, {})
    upgraded = SETTINGS.model_copy(update={"sidecar_image": "agentfleet/operator:next"})
    found = prepare(server("VLLM", cache=CLAIM), ModelServerStatus(), cluster.observed, upgraded, NOW)
    assert found.blocked is None


GPU = {"nvidia.com/gpu": 1}
HOST = {"type": "HostPath", "path": "/var/lib/agentfleet/cache", "preload": True}


def test_each_node_that_fits_is_filled() -> None:
    cluster = Cluster()
    zone = "topology.kubernetes.io/zone"
    taint = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    cluster.nodes = (
        NodeView("a", {zone: "store-1"}, GPU, taints=(taint,)),
        NodeView("b", {zone: "store-2"}, GPU),
        NodeView("c", {zone: "store-1"}, GPU, ready=False),
        NodeView("no-gpu", {zone: "store-1"}),
        NodeView("tainted", {zone: "store-1"}, GPU, taints=({"key": "control-plane", "effect": "NoSchedule"},)),
    )
    found = look(cluster, cache=HOST, placement={"sites": ["store-1"]})
    (job,) = found.apply
    body = job["spec"]["template"]["spec"]
    (term,) = body["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["a"]}]
    assert term["matchExpressions"] == [{"key": zone, "operator": "In", "values": ["store-1"]}]
    assert body["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert len(look(cluster, cache=HOST).apply) == 2


def test_not_all_nodes_load_at_once() -> None:
    cluster = Cluster()
    cluster.nodes = tuple(NodeView(f"n{index:02}", {}, GPU) for index in range(20))
    first = cluster.take(look(cluster, cache=HOST))
    assert len(first) == 8
    assert cluster.take(look(cluster, cache=HOST)) == []
    cluster.end(first[0], {})
    assert len(cluster.take(look(cluster, cache=HOST))) == 1


def test_a_claim_is_filled_where_pods_can_use_it() -> None:
    placement = {"sites": ["store-1"], "nodeSelector": {"disk": "nvme"}, "schedulerName": "mine"}
    (_, job) = look(Cluster(), cache=CLAIM, placement=placement).apply
    body = job["spec"]["template"]["spec"]
    assert "store-1" in json.dumps(body["affinity"])
    assert (body["nodeSelector"], body["schedulerName"]) == ({"disk": "nvme"}, "mine")
    assert body["tolerations"][0]["key"] == "nvidia.com/gpu"


@pytest.mark.parametrize(
    "corrected", [{"placement": {"nodeSelector": {"disk": "ssd"}}}, {"imagePullSecrets": [{"name": "ours"}]}]
)
def test_a_job_that_could_not_run_gives_way_to_a_corrected_one(corrected: dict[str, Any]) -> None:
    cluster = Cluster()
    (_, stuck) = cluster.take(look(cluster, cache=CLAIM))
    (_, other) = cluster.take(look(cluster, cache=CLAIM, **corrected))
    assert other != stuck


def test_nodes_that_fail_keep_no_others_waiting() -> None:
    cluster = Cluster()
    cluster.nodes = tuple(NodeView(f"n{index:02}", {}, GPU) for index in range(10))
    for name in cluster.take(look(cluster, cache=HOST)):
        cluster.end(name, {"reason": "DiskFull", "message": "no room."}, code=1)
    assert len(cluster.take(look(cluster, cache=HOST))) == 2


def two_sites(**second: Any) -> Cluster:
    cluster = Cluster()
    cluster.nodes = (NodeView("a", {}, GPU), NodeView("b", {}, GPU, **second))
    return cluster


def test_one_filled_node_is_enough_to_start() -> None:
    cluster = two_sites()
    first, second = cluster.take(look(cluster, cache=HOST))
    assert look(cluster, cache=HOST).blocked == "The cache is being filled by 2 Jobs."
    cluster.end(first, {})
    assert look(cluster, cache=HOST).blocked is None
    cluster.end(second, {"reason": "DiskFull", "message": "no room on b."}, code=1)
    told = look(cluster, cache=HOST)
    assert (told.blocked, told.failure) == (None, None)
    assert told.status.plan is not None
    assert "no room on b." in told.status.plan.explanation


def test_a_node_that_is_cut_off_or_drained_keeps_its_job() -> None:
    cluster = two_sites()
    for name in cluster.take(look(cluster, cache=HOST)):
        cluster.end(name, {})
    for away in ({"ready": False}, {"schedulable": False}, {}):
        cluster.nodes = (NodeView("a", {}, GPU), NodeView("b", {}, GPU, **away))
        found = look(cluster, cache=HOST)
        assert (found.apply, found.delete, found.blocked) == ((), (), None)


def test_a_node_that_is_gone_takes_its_job_along() -> None:
    cluster = two_sites()
    _, second = cluster.take(look(cluster, cache=HOST))
    cluster.nodes = (NodeView("a", {}, GPU),)
    assert len(look(cluster, cache=HOST).delete) == 1
    assert second in cluster.jobs


def test_pods_that_are_there_are_looked_after_while_their_cache_is_filled_again() -> None:
    cluster = Cluster()
    subject = server("VLLM", cache=CLAIM)
    running = plan(subject, Observed(), SETTINGS).apply[-1]
    seen = replace(cluster.observed, deployments=(running | {"metadata": running["metadata"] | {"uid": "d"}},))
    found = prepare(subject, ModelServerStatus(), seen, SETTINGS, NOW)
    assert found.blocked is None
    assert [manifest["kind"] for manifest in found.apply] == ["PersistentVolumeClaim", "Job"]


def test_without_nodes_pods_load_for_themselves() -> None:
    assert look(Cluster(), cache=HOST).blocked is None
