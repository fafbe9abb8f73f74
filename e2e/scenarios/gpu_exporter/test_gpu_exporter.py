"""The GPU exporter in the cluster: the chart's DaemonSet, a real kubelet that assigns devices, DNS, and the operator.

What is not real is the hardware: a library that answers NVML's calls from a file, and a device plugin without devices.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from e2e import nvml
from e2e.cluster import EmbeddedCluster
from e2e.install import NAMESPACE
from e2e.scenarios.kube import Kube, Manifest, Refused, path_of
from e2e.scenarios.scenario import Scenario

DAEMONSET = "agentfleet-gpu-exporter"
FOLDER = "/var/lib/agentfleet-nvml"
LABEL = "agentfleet.dev/e2e-gpus"
GPU_A, GPU_B = "GPU-6c1f2a00-0000-0000-0000-00000000000a", "GPU-6c1f2a00-0000-0000-0000-00000000000b"
MIG = "MIG-8a2e4b00-0000-0000-0000-00000000000b"
HARDWARE = nvml.node(nvml.gpu(0, GPU_A), nvml.gpu(1, GPU_B, utilization=None, mig=7)) | {
    "1.mig.3.uuid": MIG,
    "1.mig.3.name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "1.mig.3.instance": 9,
    "1.mig.3.memory.total": 10 * nvml.GIB,
    "1.mig.3.memory.reserved": 0,
    "1.mig.3.memory.used": 3 * nvml.GIB,
}
LOST = 15

Samples = Mapping[tuple[str, str], float]
"""(UUID, pod) → value."""


class Exporter:
    """The exporter on the one node that has GPUs, and the hardware that it sees."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self._kube = kube
        self._folder = folder

    def hardware(self, **changes: object) -> None:
        """What NVML answers from now on."""
        state = HARDWARE | {name.replace("__", "."): value for name, value in changes.items()}
        fresh = self._folder / "state.new"
        fresh.write_text(nvml.text(state))
        fresh.rename(self._folder / "state")

    def pod(self) -> Manifest | None:
        """Its pod, once it runs."""
        pods = self._kube.list("Pod", NAMESPACE, labels="app.kubernetes.io/component=gpu-exporter")
        running = (pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
        return next((pod for pod in running if pod["status"]["phase"] == "Running"), None)

    def text(self, path: str) -> str:
        """What it answers; empty where it does not."""
        pod = self.pod()
        if pod is None:
            return ""
        try:
            return self._kube.text(f"{path_of('Pod', NAMESPACE, pod['metadata']['name'] + ':9902')}/proxy{path}")
        except Refused:
            return ""

    def samples(self, metric: str) -> Samples:
        """One metric."""
        return {
            (sample.labels.get("uuid", ""), sample.labels.get("pod", "")): sample.value
            for family in text_string_to_metric_families(self.text("/metrics"))
            for sample in family.samples
            if sample.name == f"agentfleet_gpu_{metric}"
        }


@pytest.fixture(scope="module")
def exporter(scenario: Scenario, embedded: EmbeddedCluster, kube: Kube) -> Iterator[Exporter]:
    """The last node gets GPUs: the driver's library, a device plugin, and the label that the DaemonSet looks for."""
    node = embedded.nodes[-1]
    folder = node.host_path(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    nvml.build(folder)
    shutil.copy(Path(nvml.__file__).with_name("device_plugin.py"), folder)
    made = Exporter(kube, folder)
    made.hardware()
    driver = yaml.safe_load((scenario.folder / "driver.yaml").read_text())
    _patch(embedded, driver)
    embedded.kubectl("label", "node", node.name, f"{LABEL}=true")
    scenario.apply("device-plugin.yaml")
    yield made
    scenario.kubectl("delete", "pod", "device-plugin", "--wait=true")
    embedded.kubectl("label", "node", node.name, f"{LABEL}-")
    _patch(embedded, _taken_back(driver))
    shutil.rmtree(folder)


def _patch(cluster: EmbeddedCluster, patch: Manifest) -> None:
    cluster.kubectl("-n", NAMESPACE, "patch", "daemonset", DAEMONSET, "--type=strategic", "-p", json.dumps(patch))


def _taken_back(driver: Manifest) -> Manifest:
    """The patch that undoes driver.yaml, by the keys of its lists."""
    pod = driver["spec"]["template"]["spec"]
    container = pod["containers"][0]
    gone = {"$patch": "delete"}
    undone = {
        "containers": [
            {
                "name": container["name"],
                "env": [{"name": entry["name"], **gone} for entry in container["env"]],
                "volumeMounts": [{"mountPath": mount["mountPath"], **gone} for mount in container["volumeMounts"]],
            }
        ],
        "volumes": [{"name": volume["name"], **gone} for volume in pod["volumes"]],
    }
    return {"spec": {"template": {"spec": undone}}}


def _pod_of(scenario: Scenario, name: str) -> str:
    (pod,) = scenario.children("Pod", name)
    return str(pod["metadata"]["name"])


def test_it_runs_on_the_node_with_gpus_alone(scenario: Scenario, exporter: Exporter, embedded: EmbeddedCluster) -> None:
    scenario.until(lambda: exporter.samples("up"), "the exporter shows GPUs", timeout=40)
    pod = exporter.pod()
    assert pod is not None
    assert pod["spec"]["nodeName"] == embedded.nodes[-1].name
    assert set(exporter.samples("up")) == {(GPU_A, ""), (GPU_B, ""), (MIG, "")}
    assert exporter.samples("pod_resources_up") == {("", ""): 1}
    assert json.loads(exporter.text("/healthz")) == {"status": "ok", "problems": []}


def test_samples_name_the_pods_to_which_the_kubelet_gave_devices(scenario: Scenario, exporter: Exporter) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready("sliced", "shared")
    sliced, shared = _pod_of(scenario, "sliced"), _pod_of(scenario, "shared")
    wanted = {(GPU_A, shared): 1.0, (MIG, sliced): 1.0}
    scenario.until(lambda: exporter.samples("allocated") == wanted, "both pods hold their devices")
    assert exporter.samples("utilization_percent") == {(GPU_A, shared): 37}
    assert exporter.samples("memory_used_bytes")[MIG, sliced] == 3 * nvml.GIB
    assert exporter.samples("supported")[MIG, sliced] == 0


def test_the_operator_finds_the_exporters_by_name(scenario: Scenario, exporter: Exporter) -> None:
    """What its loop reads, in its own pod: through the cluster's DNS, with its own settings."""
    program = (
        "import asyncio, json, os\n"
        "from agentfleet.monitor.gpus import Gpus\n"
        "async def main():\n"
        "    async with Gpus(os.environ['AGENTFLEET_GPU_EXPORTER']) as gpus:\n"
        "        found = await gpus.read()\n"
        "    print(json.dumps({key[1]: [gpu.count, gpu.utilization, gpu.memory_used] for key, gpu in found.items()}))\n"
        "asyncio.run(main())\n"
    )
    leader = scenario.operators.leader()
    assert leader is not None
    python = "/opt/agentfleet/bin/python"
    said = scenario.kube.cluster.kubectl("-n", NAMESPACE, "exec", leader, "--", python, "-c", program)
    assert json.loads(said) == {
        _pod_of(scenario, "shared"): [1, 0.37, 60 * nvml.GIB],
        _pod_of(scenario, "sliced"): [1, None, 3 * nvml.GIB],
    }


def test_a_gpu_falls_off_the_bus_and_comes_back(
    scenario: Scenario, exporter: Exporter, embedded: EmbeddedCluster
) -> None:
    shared = _pod_of(scenario, "shared")
    exporter.hardware(error__0__nvmlDeviceGetUtilizationRates=LOST)
    scenario.until(lambda: exporter.samples("up").get((GPU_A, shared)) == 0, "the GPU is down")
    assert (GPU_A, shared) not in exporter.samples("memory_used_bytes")
    assert exporter.samples("up")[MIG, _pod_of(scenario, "sliced")] == 1
    assert json.loads(exporter.text("/healthz")) == {
        "status": "degraded",
        "problems": [f"GPU 0 {GPU_A}: nvmlDeviceGetUtilizationRates: GPU is lost"],
    }
    said = f"GPUs of {embedded.nodes[-1].name}: lost: GPU 0 {GPU_A}"
    scenario.until(lambda: said in scenario.operators.log() or None, "the operator says so")
    exporter.hardware()
    scenario.until(lambda: exporter.samples("up").get((GPU_A, shared)) == 1, "the GPU is back")


def test_a_kubelet_that_restarts_is_asked_again(
    scenario: Scenario, exporter: Exporter, embedded: EmbeddedCluster
) -> None:
    before = exporter.samples("allocated")
    kubelet = embedded.nodes[-1].kubelet
    kubelet.stop()
    try:
        silent = {("", ""): 0.0}
        scenario.until(lambda: exporter.samples("pod_resources_up") == silent, "the kubelet is missed", timeout=20)
        assert exporter.samples("utilization_percent") == {(GPU_A, ""): 37}
    finally:
        embedded.nodes[-1].kubelet.start()
        embedded.wait_ready()
    scenario.until(lambda: exporter.samples("allocated") == before, "the pods are known again")
    pod = exporter.pod()
    assert pod is not None
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
