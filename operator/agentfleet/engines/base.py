"""What an engine has to answer: how it is started, which flags it takes, and what its last words mean. Pure.

The pod exists once, in manifests/workload.py; an engine says only what differs. A new engine is one new file here.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agentfleet.durations import parse_duration
from agentfleet.engines.sources import Source
from agentfleet.resources.flag_rules import INSTEAD, flag_name
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

CACHE_DIR = "/cache"
"""Writable scratch space of the engine container: HOME, compile caches."""

MODELS_DIR = "/models"
"""Where models are mounted or downloaded to, in every container of the pod."""

DEFAULT_STARTUP = "30m"


@dataclass(frozen=True)
class Launch:
    """How one engine is started for one ModelServer."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    port: int
    health_path: str
    """Answers 200 once the engine can take requests; used for startup, liveness and readiness."""

    env: Mapping[str, str] = field(default_factory=dict)
    pod_ip_variable: str | None = None
    """Variable that must hold the pod's own address."""

    shared_memory: str | None = None
    """Size of /dev/shm where the container default of 64 MiB does not do."""

    sidecar_args: tuple[str, ...] = ()
    api_key_variable: str | None = None
    """Variable that makes the engine ask clients for a key; None where it cannot."""

    stop_seconds: int = 5
    """What the engine itself may take from SIGTERM to its exit, once it is idle."""


class Engine(Protocol):
    """One inference engine."""

    name: str
    """As in spec.engine."""

    gpus_by_default: int
    """GPUs of a replica whose spec has no gpu block (times tensor × pipeline)."""

    failures: tuple[tuple[str, str], ...]
    """(pattern in the last lines of the log, reason), most telling first."""

    def launch(self, server: ModelServer, model_path: str, settings: Settings) -> Launch:
        """How to start the engine; `model_path` is where the model lies in the container."""

    def problems(self, server: ModelServer, image: str) -> Iterable[str]:
        """What this version of the engine would not accept, each in words; nothing where all is well."""


def gpu_count(engine: Engine, server: ModelServer) -> int:
    """GPUs of one replica: gpu.count, else tensor × pipeline for engines on GPUs, else 1 where a gpu block is given."""
    spec = server.spec
    if spec.gpu and spec.gpu.count is not None:
        return spec.gpu.count
    if spec.gpu and spec.gpu.claims:
        return 0
    tensor, pipeline = parallel_sizes(server)
    return tensor * pipeline if engine.gpus_by_default or spec.gpu else 0


def runs_on_gpus(engine: Engine, server: ModelServer) -> bool:
    """Whether a replica has GPUs, by an extended resource or by claims (DRA)."""
    return gpu_count(engine, server) > 0 or bool(server.spec.gpu and server.spec.gpu.claims)


def gpu_resource(server: ModelServer) -> str:
    """The extended resource that GPUs are on the nodes."""
    return (server.spec.gpu.resource if server.spec.gpu else None) or "nvidia.com/gpu"


def parallel_sizes(server: ModelServer) -> tuple[int, int]:
    """Tensor and pipeline parallel size of a replica; Auto has been replaced by planning/resolve.py before."""
    parallelism = server.spec.parallelism
    if parallelism is None:
        return 1, 1
    tensor, pipeline = parallelism.tensor or 1, parallelism.pipeline or 1
    if tensor == "Auto" or pipeline == "Auto":
        raise ValueError("parallel sizes must be resolved before a launch is built")
    return tensor, pipeline


def node_count(server: ModelServer) -> int:
    """Nodes that one replica spans."""
    return (server.spec.parallelism.nodes if server.spec.parallelism else None) or 1


def startup_seconds(server: ModelServer) -> int:
    """How long a pod may take to its first healthy answer."""
    return math.ceil(parse_duration(server.spec.startup_timeout or DEFAULT_STARTUP))


def drain_seconds(server: ModelServer) -> int:
    """How long requests in flight may take after the pod has left the endpoints."""
    return math.ceil(parse_duration(server.spec.drain.timeout if server.spec.drain else "120s"))


def refused_flags(engine: str, arguments: Iterable[str]) -> Iterable[str]:
    """Flags that have a field of their own or are gone, with what to use: the check of the CRD, repeated here for
    objects that were stored before the rule existed."""
    table = INSTEAD.get(engine, {})
    for argument in arguments:
        if flag_name(argument) in table:
            yield f"extraArgs: {flag_name(argument)} {table[flag_name(argument)]}"


def image_version(image: str) -> str | None:
    """`0.33` of `registry/name:v0.33.0-cu129`; None for tags that name no version and for digests."""
    tag = image.rsplit("@", 1)[0].rsplit("/", 1)[-1].partition(":")[2]
    match = re.match(r"v?(\d+\.\d+)", tag)
    return match.group(1) if match else None


def task(server: ModelServer) -> str:
    """What the model is for."""
    return server.model.task or "Chat"


def serving_arguments(server: ModelServer) -> tuple[str, ...]:
    """What every sidecar is told: the model, its name, and how to warm it up."""
    return serve_argument(server), f"--warm-up={task(server)}"


def serve_argument(server: ModelServer) -> str:
    """Tells the sidecar what the engine serves, and as what."""
    return f"--serve={server.model.uri.removeprefix('ollama://')}={server.model_name}"


def served_names(server: ModelServer, source: Source) -> tuple[str, ...]:
    """Ids in the OpenAI API: the wanted name first (it is the label of the engine's metrics), then the repository's."""
    names = [server.model_name]
    if source.repository:
        names.append(source.repository.replace("/", "--"))
    return tuple(dict.fromkeys(names))
