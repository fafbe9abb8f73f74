"""Before pods start: reading the model's files, filling the cache, following a source; and what can go wrong."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.objects import Manifest
from agentfleet.planning.nodes import NodeView
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import plan
from agentfleet.planning.preparation import Preparation, prepare
from agentfleet.resources.modelserver_status import ModelServerStatus, SourceFacts
from agentfleet.settings import Settings
from tests.builders import MODELS, server
from tests.planning.times import NOW

SETTINGS = Settings(
    host_path_root="/var/lib/agentfleet", sidecar_image="agentfleet/operator:test", network_policies=False
)
FACTS = {"attentionHeads": 14, "kvHeads": 2, "layers": 24, "weightsBytes": 1_000_000_000, "quantization": "awq"}


class Cluster:
    """Jobs as the Job controller and their loaders leave them."""

    def __init__(self) -> None:
        self.jobs: dict[str, Manifest] = {}
        self.pods: list[Manifest] = []
        self.nodes: tuple[NodeView, ...] | None = None

    def take(self, found: Preparation) -> list[str]:
        """Carry out what was asked for; the names of what was made."""
        made = [manifest for manifest in found.apply if manifest["kind"] == "Job"]
        for job in made:
            self.jobs[job["metadata"]["name"]] = job | {"metadata": job["metadata"] | {"uid": f"uid-{len(self.jobs)}"}}
        for key, _ in found.delete:
            del self.jobs[key.name]
        return [manifest["metadata"]["name"] for manifest in found.apply if manifest["kind"] != "NetworkPolicy"]

    def end(self, name: str, said: dict[str, Any], *, code: int = 0, at: datetime = NOW) -> None:
        """The Job's one pod ends."""
        condition = "Complete" if code == 0 else "Failed"
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.jobs[name]["status"] = {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": stamp}]}
        ended = {"terminated": {"exitCode": code, "message": json.dumps(said)}}
        self.pods.append(
            {
                "metadata": {"name": f"{name}-x", "labels": {"batch.kubernetes.io/job-name": name}},
                "status": {"containerStatuses": [{"name": "loader", "ready": False, "state": ended}]},
            }
        )

    @property
    def observed(self) -> Observed:
        return Observed(jobs=tuple(self.jobs.values()), loader_pods=tuple(self.pods), nodes=self.nodes)


def look(
    cluster: Cluster, before: ModelServerStatus | None = None, now: datetime = NOW, engine: str = "VLLM", **spec: Any
) -> Preparation:
    return prepare(server(engine, **spec), before or ModelServerStatus(), cluster.observed, SETTINGS, now)


def test_a_plain_spec_waits_for_nothing() -> None:
    found = look(Cluster())
    assert (found.apply, found.delete, found.blocked) == ((), (), None)


def test_a_scenario_has_the_files_read_once_and_then_knows_them_for_good() -> None:
    cluster = Cluster()
    first = look(cluster, scenario="Staging")
    assert first.blocked == "The model's files are being read."
    (name,) = cluster.take(first)
    assert name.startswith("phi-model-inspect-")
    waiting = look(cluster, scenario="Staging")
    assert (waiting.blocked, waiting.apply) == (first.blocked, ())
    cluster.end(name, {"revision": "abc", "bytes": 1, "facts": FACTS})
    told = look(cluster, scenario="Staging")
    assert told.blocked is None
    assert told.server.spec.vllm is not None
    assert told.server.spec.vllm.quantization == "awq"
    (source,) = told.status.sources
    assert (source.uri, source.revision) == (MODELS["VLLM"], "abc")
    assert told.delete == (), "not before status has it"
    assert [key.name for key, _ in look(cluster, told.status, scenario="Staging").delete] == [name]
    # The Job and its pod may go: status remembers.
    assert look(Cluster(), told.status, scenario="Staging").blocked is None


def test_what_was_found_is_read_again_where_the_pod_went_before_anybody_saw_it() -> None:
    cluster = Cluster()
    (name,) = cluster.take(look(cluster, scenario="Staging"))
    cluster.end(name, {"facts": FACTS})
    cluster.pods.clear()
    lost = look(cluster, scenario="Staging")
    assert [key.name for key, _ in lost.delete] == [name]
    cluster.take(lost)
    assert cluster.take(look(cluster, scenario="Staging")) == [name]


@pytest.mark.parametrize("reason", ["ModelGated", "ModelNotFound", "SourceUnreachable"])
def test_a_source_that_cannot_be_read_says_why_and_is_tried_again(reason: str) -> None:
    cluster = Cluster()
    (name,) = cluster.take(look(cluster, scenario="Staging"))
    cluster.end(name, {"reason": reason, "message": "no."}, code=1)
    failed = look(cluster, scenario="Staging", now=NOW + timedelta(minutes=29))
    assert failed.failure is not None
    assert (failed.failure.reason, failed.delete, failed.apply) == (reason, (), ())
    again = look(cluster, scenario="Staging", now=NOW + timedelta(minutes=30))
    assert [key.name for key, _ in again.delete] == [name]


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


def test_looks_that_fail_do_not_pile_up() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-20T02:00:00Z")
    model = {"uri": MODELS["VLLM"], "update": {"schedule": "*/5 * * * *"}}
    for minute in range(0, 60, 5):
        found = look(cluster, before, now=NOW + timedelta(minutes=minute), model=model)
        for name in cluster.take(found):
            cluster.end(name, {"reason": "SourceUnreachable", "message": "no route."}, code=1)
    assert len(cluster.jobs) == 1


def test_nodes_that_fail_keep_no_others_waiting() -> None:
    cluster = Cluster()
    cluster.nodes = tuple(NodeView(f"n{index:02}", {}, GPU) for index in range(10))
    for name in cluster.take(look(cluster, cache=HOST)):
        cluster.end(name, {"reason": "DiskFull", "message": "no room."}, code=1)
    assert len(cluster.take(look(cluster, cache=HOST))) == 2


def test_scaling_lays_out_nothing_anew() -> None:
    cluster = Cluster()
    cluster.nodes = (NodeView("big", {"nvidia.com/gpu.memory": "81920"}, {"nvidia.com/gpu": 8}),)
    facts = {"attentionHeads": 64, "kvHeads": 8, "layers": 80, "parameters": 70_000_000_000, "headDim": 128}
    spec = {"model": {"uri": MODELS["VLLM"], "facts": facts}, "parallelism": {"tensor": "Auto"}}
    first = look(cluster, **spec)
    cluster.nodes = (*cluster.nodes, NodeView("small", {"nvidia.com/gpu.memory": "40960"}, {"nvidia.com/gpu": 1}))
    scaled = look(cluster, first.status, replicas=3, **spec)
    assert scaled.server.spec.parallelism == first.server.spec.parallelism
    changed = look(cluster, first.status, vllm={"maxModelLen": 1024}, **spec)
    assert changed.status.plan is not None
    assert changed.status.plan.gpu_memory_bytes == 40960 * 2**20


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


UPDATE = {"uri": MODELS["VLLM"], "update": {"schedule": "0 3 * * *"}}


def known(revision: str, at: str) -> ModelServerStatus:
    return ModelServerStatus(sources=(SourceFacts(uri=MODELS["VLLM"], revision=revision, checked_at=at),))


def test_a_followed_source_is_pinned_before_the_first_pod() -> None:
    cluster = Cluster()
    first = look(cluster, model=UPDATE)
    assert first.blocked
    (name,) = cluster.take(first)
    cluster.end(name, {"revision": "c0ffee"})
    assert look(cluster, model=UPDATE).server.model.uri == "hf://acme/chat-7b@c0ffee"


def test_between_its_times_a_followed_source_is_left_alone() -> None:
    found = look(Cluster(), known("c0ffee", "2026-11-21T03:00:01Z"), model=UPDATE)
    assert (found.apply, found.blocked) == ((), None)
    assert found.after == 15 * 3600 + 1, "the next look is at 3 in the morning"


def test_a_moved_revision_is_found_at_its_time_and_rolled_out() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-21T02:59:59Z")
    due = look(cluster, before, model=UPDATE)
    assert due.blocked is None, "what serves goes on while the source is looked at"
    assert due.server.model.uri.endswith("@c0ffee")
    (name,) = cluster.take(due)
    cluster.end(name, {"revision": "beef01"})
    moved = look(cluster, before, model=UPDATE)
    assert moved.server.model.uri == "hf://acme/chat-7b@beef01"


def test_a_look_that_fails_is_told_and_stops_nothing() -> None:
    cluster = Cluster()
    before = known("c0ffee", "2026-11-21T02:59:59Z")
    (name,) = cluster.take(look(cluster, before, model=UPDATE))
    cluster.end(name, {"reason": "SourceUnreachable", "message": "no route."}, code=1)
    found = look(cluster, before, model=UPDATE)
    assert (found.blocked, found.failure) == (None, None)
    assert found.status.plan is not None
    assert "The last look for an update failed (SourceUnreachable): no route." in found.status.plan.explanation


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"schedule": "61 3 * * *"}, "model.update.schedule"),
        ({"schedule": "0 3 * * *", "timeZone": "Mars/Olympus"}, "model.update.timeZone"),
    ],
)
def test_a_schedule_that_cannot_be(update: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        look(Cluster(), model={"uri": MODELS["VLLM"], "update": update})


def test_ollama_tags_are_followed_by_the_sidecars() -> None:
    model = {"uri": MODELS["Ollama"], "update": {"schedule": "0 3 * * *"}}
    found = look(Cluster(), engine="Ollama", model=model)
    assert (found.apply, found.blocked, found.after) == ((), None, None)
