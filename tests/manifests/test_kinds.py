"""The three kinds of workload that run a ModelServer's pods."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.kinds import Extent, workload_key, workload_kind, workload_manifest
from agentfleet.manifests.names import pod_selector
from agentfleet.manifests.workload import workload
from agentfleet.objects import Manifest
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from tests.builders import manifest, server

SETTINGS = Settings()
GROUP = {"parallelism": {"tensor": 4, "pipeline": 2, "nodes": 2}}
GOLDEN = Path(__file__).with_name("leaderworkerset.json")


def made(asked: ModelServer, extent: Extent | None = None) -> Manifest:
    return workload_manifest(asked, workload(asked, SETTINGS), "sidecar:1", extent or Extent(replicas=2))


def test_the_kind_follows_from_placement_and_nodes() -> None:
    assert workload_kind(server()) == "Deployment"
    assert workload_kind(server(placement={"mode": "PerNode"})) == "DaemonSet"
    assert workload_kind(server("VLLM", **GROUP)) == "LeaderWorkerSet"


def test_no_two_kinds_share_a_revision() -> None:
    """With a podTemplate that says all of placement, the templates of two modes are the same."""
    template = {"spec": {"affinity": None, "topologySpreadConstraints": []}}
    asked = [server(podTemplate=template, placement={"mode": mode}) for mode in ("Spread", "PerNode")]
    templates = [workload(each, SETTINGS).template for each in asked]
    assert templates[0] == templates[1]
    assert len({workload(each, SETTINGS).revision for each in asked}) == 2


def test_a_daemon_set_is_one_for_all_revisions() -> None:
    one, two = (server(placement={"mode": "PerNode"}, image=image) for image in ("a", "b"))
    first, second = made(one), made(two)
    assert first["metadata"]["name"] == second["metadata"]["name"] == "phi-model"
    assert first["spec"]["selector"] == second["spec"]["selector"]
    assert first["metadata"]["labels"] != second["metadata"]["labels"]
    labels = first["spec"]["template"]["metadata"]["labels"]
    assert first["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["agentfleet.dev/serving"] == "true"
    assert "replicas" not in first["spec"]


@pytest.mark.parametrize(
    ("extent", "rolling"),
    [
        (Extent(surge=1, unavailable=0), {"maxSurge": 1, "maxUnavailable": 0}),
        (Extent(surge=0, unavailable=2), {"maxSurge": 0, "maxUnavailable": 2}),
    ],
)
def test_how_a_daemon_set_replaces_its_pods(extent: Extent, rolling: dict[str, int]) -> None:
    found = made(server(placement={"mode": "PerNode"}), extent)
    assert found["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_a_replica_over_two_nodes() -> None:
    """What the API server is given: nothing here runs it, so it is looked at line by line.

    Without the sidecar and the digests, which other tests are about.
    """
    found = made(server("VLLM", model={"uri": "pvc://models/chat-7b"}, gpu={"products": ["H100"]}, **GROUP))
    revision = found["metadata"]["labels"]["agentfleet.dev/revision"]
    del found["metadata"]["annotations"]["agentfleet.dev/applied"]
    del found["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["initContainers"]
    assert json.loads(json.dumps(found).replace(revision, "REVISION")) == json.loads(GOLDEN.read_text())


def engine(template: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in template["spec"]["containers"] if item["name"] == "engine")
    return found


def test_ranks_differ_only_in_what_a_rank_needs() -> None:
    template = made(server("VLLM", **GROUP))["spec"]["leaderWorkerTemplate"]
    leader, worker = engine(template["leaderTemplate"]), engine(template["workerTemplate"])
    assert worker["args"] == [*leader["args"], "--headless"]
    assert worker["env"] == leader["env"]
    assert "VLLM_HOST_IP" in {item["name"] for item in worker["env"]}
    assert worker["resources"] == leader["resources"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert not {"ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"} & worker.keys()
    labels = template["workerTemplate"]["metadata"]["labels"]
    assert "agentfleet.dev/serving" not in labels
    assert labels["agentfleet.dev/modelserver"] == "phi"
    names = [
        [item["name"] for item in template[rank]["spec"]["initContainers"]]
        for rank in ("leaderTemplate", "workerTemplate")
    ]
    assert names == [["sidecar", "loader"], ["loader"]]


@pytest.mark.parametrize("version", sorted(FLAGS))
def test_flags_of_a_rank_are_flags_of_vllm(version: str) -> None:
    args = engine(made(server("VLLM", **GROUP))["spec"]["leaderWorkerTemplate"]["workerTemplate"])["args"]
    flags = {argument.partition("=")[0] for argument in args if argument.startswith("--")}
    assert flags <= FLAGS[version] | {"--served-model-name"}
    assert {"--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless"} <= flags


def test_names_leave_room_for_what_kubernetes_appends() -> None:
    asked = server("VLLM", name="a" * 38 + "-b", **GROUP)
    name = workload_key(asked, "0123abcd").name
    assert len(f"{name}-999") + 11 <= 63, "the label controller-revision-hash of a group's pods"
    assert name == "a" * 38 + "-0123abcd"
    assert name.count("--") == 0


def test_only_leaders_are_replicas() -> None:
    assert pod_selector(server("VLLM", **GROUP)).endswith(",leaderworkerset.sigs.k8s.io/worker-index=0")
    assert "," not in pod_selector(server("VLLM"))


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"gpu": {"count": 9}}, "BadParallelism", "multiple of parallelism.nodes"),
        ({"adapters": [{"name": "x", "uri": "hf://a/x"}]}, "InvalidSpec", "adapters"),
    ],
)
def test_what_a_replica_over_nodes_cannot_have(spec: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        workload(server("VLLM", **GROUP, **spec), SETTINGS)
    assert caught.value.reason == reason


def test_an_endpoint_outside_has_one_watcher_wherever_it_may_run() -> None:
    external = {"engine": "External", "external": {"url": "https://models.example.com/v1"}}
    asked = ModelServer.from_manifest(manifest() | {"spec": external | {"placement": {"mode": "PerNode"}}})
    found = made(asked, Extent(replicas=1))
    assert found["kind"] == "Deployment"
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("prober", "sidecar:1")
