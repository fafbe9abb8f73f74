"""ModelServer: one model, served by one engine, as pods on a cluster."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import (
    Contract,
    DnsLabel,
    DnsName,
    Duration,
    rules,
    showing,
    string_set,
)
from agentfleet.resources.engine_options import LlamaCppOptions, OllamaOptions, VLLMOptions
from agentfleet.resources.flag_rules import FLAG_RULES
from agentfleet.resources.model import Cache, Model
from agentfleet.resources.pods import EnginePod, Placement

EngineName = Literal["VLLM", "Ollama", "LlamaCpp"]

_OLLAMA_SOURCE = "engine Ollama takes ollama:// sources and no others; VLLM and LlamaCpp take hf://, pvc:// or file://"
_GGUF_NEEDED = "engine LlamaCpp needs one .gguf file, for example hf://owner/repo/file.gguf or pvc://claim/file.gguf"
_GGUF_REFUSED = "engine VLLM takes a repository or folder, not a .gguf file; use engine LlamaCpp for GGUF"
_WANTED_GPUS = (
    "(has(self.parallelism.tensor) ? self.parallelism.tensor : 1)"
    " * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
)


class Parallelism(Contract):
    """How one replica of vLLM spreads over GPUs."""

    tensor: Annotated[int, Field(ge=1, le=64)] | None = None
    """Tensor parallel size, 1 to 64: GPUs that share every layer. Must divide the model's attention heads.
    Default: 1."""

    pipeline: Annotated[int, Field(ge=1, le=64)] | None = None
    """Pipeline parallel size, 1 to 64: groups of layers, one after the other. At most the model's layers.
    Default: 1."""


class Gpu(Contract):
    """GPUs of one replica."""

    resource: (
        Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9][-.a-z0-9]*/[A-Za-z0-9][-A-Za-z0-9_.]*$")] | None
    ) = None
    """Extended resource that a GPU is on the nodes, for example nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu or
    gpu.intel.com/i915. Default: nvidia.com/gpu."""

    count: Annotated[int, Field(ge=0, le=64)] | None = None
    """GPUs of one replica, 0 to 64; at least tensor × pipeline, or 0 to run on the CPU. Default: tensor × pipeline for
    VLLM; for LlamaCpp and Ollama 1 where spec.gpu is given, else 0."""

    products: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], string_set(16)]
    """GPU products that will do, as in the node label nvidia.com/gpu.product. Default: any."""

    runtime_class_name: DnsName | None = None
    """RuntimeClass of the pods, for example nvidia. Default: the cluster's own."""


class Drain(Contract):
    """How a pod that must go finishes its work."""

    timeout: Duration = "120s"
    """How long requests in flight may take after the pod has left the endpoints. Default: 120s."""


class ModelServerSpec(EnginePod):
    """What is to be served and how."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.engine == 'Ollama') == self.model.uri.startsWith('ollama://')",
                _OLLAMA_SOURCE,
                ".model.uri",
                showing(_OLLAMA_SOURCE, "self.model.uri"),
            ),
            (
                "self.engine != 'LlamaCpp' || self.model.uri.matches('[.]gguf(@.*)?$')",
                _GGUF_NEEDED,
                ".model.uri",
                showing(_GGUF_NEEDED, "self.model.uri"),
            ),
            (
                "self.engine != 'VLLM' || !self.model.uri.matches('[.]gguf(@.*)?$')",
                _GGUF_REFUSED,
                ".model.uri",
                showing(_GGUF_REFUSED, "self.model.uri"),
            ),
            ("self.engine == 'VLLM' || !has(self.vllm)", "vllm is for engine VLLM", ".vllm"),
            ("self.engine == 'LlamaCpp' || !has(self.llamaCpp)", "llamaCpp is for engine LlamaCpp", ".llamaCpp"),
            ("self.engine == 'Ollama' || !has(self.ollama)", "ollama is for engine Ollama", ".ollama"),
            (
                "self.engine == 'VLLM' || !has(self.parallelism)",
                "parallelism is for engine VLLM; LlamaCpp and Ollama split layers over gpu.count GPUs by themselves",
                ".parallelism",
            ),
            (
                "!has(self.gpu) || !has(self.gpu.count) || self.gpu.count == 0 || !has(self.parallelism)"
                f" || self.gpu.count >= {_WANTED_GPUS}",
                "gpu.count must be at least parallelism.tensor × parallelism.pipeline, or 0 for the CPU",
                ".gpu.count",
                "'gpu.count is %d; it must be at least %d (parallelism.tensor × pipeline), or 0 for the CPU'"
                f".format([self.gpu.count, {_WANTED_GPUS}])",
            ),
            (
                "!has(self.extraArgs) || self.engine != 'Ollama'",
                "engine Ollama is set by environment variables: use env or spec.ollama, not extraArgs",
                ".extraArgs",
            ),
            (
                "!has(self.cache) || self.model.uri.startsWith('hf://') || self.model.uri.startsWith('ollama://')",
                "cache is for downloaded sources (hf://, ollama://); pvc:// and file:// are used where they are",
                ".cache",
            ),
            *FLAG_RULES,
        )
    )

    engine: EngineName
    """VLLM (GPUs, highest throughput), LlamaCpp (llama-server: GGUF files on CPUs and GPUs) or Ollama (pulls models by
    name)."""

    model: Model
    """The model and its name."""

    parallelism: Parallelism | None = None
    """Tensor and pipeline parallel sizes of one replica of VLLM. Default: 1 × 1."""

    gpu: Gpu | None = None
    """GPUs of one replica. Default: tensor × pipeline of nvidia.com/gpu for VLLM, none for LlamaCpp and Ollama."""

    vllm: VLLMOptions | None = None
    """Settings of engine VLLM."""

    llama_cpp: LlamaCppOptions | None = None
    """Settings of engine LlamaCpp."""

    ollama: OllamaOptions | None = None
    """Settings of engine Ollama."""

    startup_timeout: Duration | None = None
    """How long a pod may take from start to its first healthy answer, download included. Default: 30m."""

    cache: Cache | None = None
    """Where downloaded models are kept. Default: Ephemeral."""

    placement: Placement | None = None
    """Which nodes the pods run on. Default: any that fits."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods that serve the model, 0 to 1000. Also set through /scale (kubectl scale, HPA), which is why the API server
    itself fills in the default: /scale of an object without replicas is an error. Default: 1."""

    drain: Drain | None = None
    """How a stopping pod finishes its requests. Default: up to 120s."""


NAME_RULE = (
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
    "metadata.name must be 1 to 40 characters a-z, 0-9 and '-', start with a letter and end with a letter or digit:"
    " it becomes part of DNS names",
)


class ModelServer(Contract):
    """A model served by an inference engine (vLLM, llama.cpp or Ollama) as pods behind one address.

    Clients use status.url, an OpenAI-compatible endpoint inside the cluster.
    """

    model_config = ConfigDict(json_schema_extra=rules(NAME_RULE))

    name: DnsLabel
    namespace: DnsLabel
    uid: str
    generation: int
    annotations: dict[str, str] = {}
    spec: ModelServerSpec

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> "ModelServer":
        """The validated object; pydantic's ValidationError where the API server's checks were not in force."""
        metadata = manifest["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            annotations=metadata.get("annotations", {}),
            spec=manifest["spec"],
        )

    @property
    def model_name(self) -> str:
        """The model's id in the OpenAI API."""
        return self.spec.model.name or self.name

    @property
    def replicas(self) -> int:
        """Wanted pods."""
        return self.spec.replicas

    @property
    def claims(self) -> tuple[str, ...]:
        """PersistentVolumeClaims that the pods mount."""
        scheme, _, rest = self.spec.model.uri.partition("://")
        claims = [rest.partition("/")[0]] if scheme == "pvc" else []
        if self.spec.cache and self.spec.cache.claim_name:
            claims.append(self.spec.cache.claim_name)
        return tuple(claims)
