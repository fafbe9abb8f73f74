"""From what kubelet, scheduler, loader and engine say to a stable reason. The rows are what real clusters showed."""

import json
from typing import Any

import pytest

from agentfleet.engines import ENGINES
from agentfleet.objects import Manifest
from agentfleet.planning.failures import PodView, failure, loader_failure, workload_failure


def pod(**status: Any) -> Manifest:
    return {
        "metadata": {"name": "phi-0", "namespace": "demo", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "status": {"phase": "Pending"} | status,
    }


def waiting(reason: str, message: str = "", name: str = "engine") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": name, "image": "repo/engine:1", "ready": False, "state": state}]}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    now = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {"containerStatuses": [{"name": "engine", "ready": False, "state": now, "lastState": last}]}


def loader(code: int, message: str) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": "Error", "message": message}}
    return {"initContainerStatuses": [{"name": "loader", "ready": False, "state": state}]}


def unschedulable(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"conditions": [condition]}


@pytest.mark.parametrize(
    ("engine", "status", "reason", "words"),
    [
        (
            "LlamaCpp",
            unschedulable("0/2 nodes are available: 2 Insufficient cpu."),
            "Unschedulable",
            "Insufficient cpu",
        ),
        ("LlamaCpp", unschedulable('persistentvolumeclaim "m" not found'), "ClaimNotFound", '"m" not found'),
        ("LlamaCpp", waiting("ErrImagePull", "not found"), "ImagePullFailed", "repo/engine:1"),
        ("LlamaCpp", waiting("ImagePullBackOff", "Back-off pulling"), "ImagePullFailed", "repo/engine:1"),
        ("LlamaCpp", waiting("CreateContainerConfigError", 'secret "hub" not found'), "ConfigNotFound", '"hub"'),
        ("LlamaCpp", ended(137, reason="OOMKilled"), "OutOfMemory", "137"),
        ("LlamaCpp", ended(1, "error: invalid argument: --flash-attention"), "BadFlag", "--flash-attention"),
        (
            "LlamaCpp",
            ended(
                1, "x\ngguf_init_from_file: failed to open GGUF file '/models/no.gguf' (No such file or directory)\ny"
            ),
            "ModelNotFound",
            "/models/no.gguf",
        ),
        ("VLLM", ended(2, "vllm: error: unrecognized arguments: --swap"), "BadFlag", "--swap"),
        ("VLLM", ended(0, "EngineDeadError: EngineCore died"), "EngineDied", "exit code 0"),
        (
            "VLLM",
            ended(1, "ImportError: libx.so.1: cannot open shared object file: No such file or directory"),
            "EngineDied",
            "libx.so.1",
        ),
        (
            "VLLM",
            ended(
                128,
                "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9, please update your driver",
                reason="StartError",
            ),
            "DriverTooOld",
            "cuda>=12.9",
        ),
        (
            "VLLM",
            ended(1, "RuntimeError: The NVIDIA driver on your system is too old (found version 11040)."),
            "DriverTooOld",
            "too old",
        ),
        (
            "VLLM",
            ended(1, "Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3)."),
            "BadEngineValue",
            "divisible",
        ),
        ("VLLM", ended(1, "torch.OutOfMemoryError: CUDA out of memory. Tried"), "OutOfGpuMemory", "CUDA out of memory"),
        ("VLLM", ended(1, "Insufficient space in /dev/shm: 160 MiB required"), "OutOfMemory", "/dev/shm"),
        ("VLLM", ended(0, "", reason="Completed"), "EngineDied", "exit code 0"),
        ("VLLM", ended(1, "first\nsomething odd\n\n"), "EngineDied", "something odd"),
        ("VLLM", loader(1, json.dumps({"reason": "ModelGated", "message": "acme/x"})), "ModelGated", "acme/x"),
        ("VLLM", loader(1, "Traceback"), "EngineDied", "Traceback"),
        ("VLLM", loader(1, json.dumps({"reason": "MadeUp", "message": "m"})), "EngineDied", "m"),
        (
            "Ollama",
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "Usage of EmptyDir volume exceeds the limit. ephemeral",
            },
            "DiskFull",
            "EmptyDir",
        ),
    ],
)
def test_reason(engine: str, status: dict[str, Any], reason: str, words: str) -> None:
    found = failure(PodView(pod(**status), ENGINES[engine], None))
    assert found is not None
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            'MountVolume.SetUp failed for volume "models": hostPath type check failed: /srv/x is not a directory',
            "ModelNotFound",
        ),
        ('MountVolume.SetUp failed for volume "token" : secret "hub" not found', "ConfigNotFound"),
        ('MountVolume.SetUp failed for volume "token" : references non-existent secret key: token', "ConfigNotFound"),
        ("MountVolume.SetUp failed for volume: timed out", "VolumeMountFailed"),
    ],
)
def test_volumes(said: str, reason: str) -> None:
    found = failure(PodView(pod(), ENGINES["LlamaCpp"], said))
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(
    "status",
    [
        {},
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        {"conditions": [{"type": "Ready", "status": "True"}], **ended(1, "an old crash")},
        {"initContainerStatuses": [{"name": "loader", "ready": True, "state": {"terminated": {"exitCode": 0}}}]},
    ],
)
def test_nothing_speaks_against_it(status: dict[str, Any]) -> None:
    assert failure(PodView(pod(**status), ENGINES["LlamaCpp"], None)) is None


def test_only_a_full_cluster_may_pass_by_itself() -> None:
    found = failure(PodView(pod(**unschedulable("0/1 nodes are available")), ENGINES["VLLM"], None))
    assert found is not None
    assert found.transient


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: gpus, requested: 2', "QuotaExceeded"),
        ('pods "x" is forbidden: no PriorityClass with name high was found', "Rejected"),
    ],
)
def test_pods_that_cannot_even_be_created(message: str, reason: str) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    found = workload_failure({"status": {"conditions": [condition]}})
    assert found is not None
    assert found.reason == reason


def test_a_failed_job_is_explained_by_its_loader() -> None:
    said = json.dumps({"reason": "ModelGated", "message": "acme/gated is gated"})
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": said}}
    found = loader_failure(pod(phase="Failed", containerStatuses=[{"name": "loader", "ready": False, "state": ended}]))
    assert found is not None
    assert (found.reason, found.message) == ("ModelGated", "acme/gated is gated")
