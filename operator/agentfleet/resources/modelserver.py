"""ModelServer: one model, served by one engine, as pods on a cluster."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.errors import InvalidSpec
from agentfleet.resources.base import (
    Contract,
    DnsName,
    Duration,
    LabelValue,
    Resource,
    atomic_list,
    map_list,
    rules,
)
from agentfleet.resources.engine_options import LlamaCppOptions, OllamaOptions, VLLMOptions
from agentfleet.resources.external import EXTERNAL_ENGINES, External
from agentfleet.resources.flag_rules import FLAG_RULES
from agentfleet.resources.gpu import Gpu, Parallelism
from agentfleet.resources.model import Cache, Model, Uri
from agentfleet.resources.modelserver_rules import SPEC_RULES
from agentfleet.resources.pods import EnginePod, Placement
from agentfleet.resources.scaling import Scaling, Thresholds

EngineName = Literal["VLLM", "Ollama", "LlamaCpp", "FoundryLocal", "External"]
ScenarioName = Literal["Development", "Staging", "ProductionLow", "ProductionHigh", "Enterprise"]


class Adapter(Contract):
    """A LoRA adapter, served under its own model id."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:]*$")]
    """The adapter's id in the OpenAI API."""

    uri: Uri
    """Where it comes from: hf://, s3://, gs://, oci:// or https://, as model.uri; credentials are those of
    model.auth."""


class Idle(Contract):
    """When models that nobody uses leave memory; they are loaded again by the next request."""

    unload_after: Duration | None = None
    """A model that nobody has used for so long leaves memory, such as 300s. Default: never."""

    memory_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """Above this share of the node's memory, idle models leave it, those unused for longest first. Default: never."""


class Rollout(Contract):
    """How pods of a changed spec replace the old ones."""

    strategy: Literal["Auto", "Surge", "NoSurge"] | None = None
    """Surge (new pods first), NoSurge (one by one, the old pod first: for when no GPU is spare) or Auto: Surge where
    the GPUs for it are free now. status.rollout says what is done and why. Default: Auto."""


class Expose(Contract):
    """Who may use the endpoint."""

    api_key_secret_name: DnsName | None = None
    """Secret whose key `apiKey` clients must send as a Bearer token. LlamaCpp asks for it everywhere but at its health;
    VLLM only under /v1, while its /invocations answers without it: there the NetworkPolicy has to keep strangers out.
    To rotate the key name another Secret, and the pods are rolled.
    Default: no key; the NetworkPolicy alone limits who reaches the pods."""

    inference_pool: bool | None = None
    """Make an InferencePool NAME-model of the pods, for Gateways with the Gateway API Inference Extension. Its
    endpoint picker is the Service NAME-model-epp, port 9002, where one is there: without it Gateways choose among the
    pods themselves. Not for External and FoundryLocal, which have no pods that serve. Default: false."""


class NamespaceSelector(Contract):
    """Chooses namespaces by their labels."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16)]
    """Labels that a namespace must have, all of them."""


class AllowedNamespaces(Contract):
    """Namespaces whose pods may reach the model, and whose objects may refer to it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.from == 'Selector') == has(self.selector)",
                "from Selector needs selector, others take none",
                ".from",
            ),
        )
    )

    from_: Annotated[Literal["Same", "All", "Selector"], Field(alias="from")]
    """Same (the ModelServer's own), All or Selector."""

    selector: NamespaceSelector | None = None
    """Labels of namespaces, for Selector."""


class Drain(Contract):
    """How a pod that must go finishes its work."""

    timeout: Duration = "120s"
    """How long requests in flight may take after the pod has left the endpoints. Default: 120s."""


ProfileName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class ModelServerSpec(EnginePod):
    """What is to be served and how."""

    model_config = ConfigDict(json_schema_extra=rules(*SPEC_RULES, *FLAG_RULES))

    engine: EngineName
    """VLLM (GPUs, highest throughput), LlamaCpp (llama-server: GGUF files on CPUs and GPUs), Ollama (pulls models by
    name), FoundryLocal (a Foundry Local that runs outside the cluster) or External (any OpenAI-compatible endpoint
    outside the cluster). A hardware profile may choose another of the first three, with a variant of the model."""

    model: Model | None = None
    """The model and its name. Required but for External, which names its model in external.model."""

    external: External | None = None
    """The endpoint of engines External and FoundryLocal."""

    scenario: ScenarioName | None = None
    """A set of vLLM's settings for a kind of use; fields that are set in spec win over it, and status.plan says what
    was taken and what was not. Memory share, context, tensor × pipeline, sequences at once, batched tokens:
    Development 60 %, 2048, 1 × 1, 32, 2048, no prefix cache.
    Staging 80 %, 4096, 1 × 1, 64, 4096, prefix cache, AWQ.
    ProductionLow 85 %, 4096, 1 × 1, 128, 8192, prefix cache, AWQ, chunked prefill.
    ProductionHigh 90 %, 8192, 2 × 1, 256, 16384, as before and speculative decoding.
    Enterprise 95 %, 16384, 4 × 2, 512, 32768, as before and structured outputs by outlines.
    AWQ is used where the checkpoint is AWQ; speculation takes vllm.speculative.model, else n-grams. Default: none."""

    profile: ProfileName | None = None
    """Hardware profile of the operator's settings (chart value profiles) whose fields are used where spec sets none.
    Default: none."""

    profiles: Annotated[tuple[ProfileName, ...], atomic_list(8)]
    """Hardware profiles in order of preference: the first that the nodes have room for is used, and status.profile
    names it. When a better one has had room for a while, the pods move to it as to a changed spec. Default: none."""

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

    adapters: Annotated[tuple[Adapter, ...], map_list("name", max_items=32)]
    """LoRA adapters of engine VLLM. Adding and removing some restarts nothing; the first one ever does, since vLLM has
    to be started for adapters."""

    cache: Cache | None = None
    """Where downloaded models are kept. Default: Ephemeral."""

    placement: Placement | None = None
    """Which nodes the pods run on. Default: any that fits."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods that serve the model, 0 to 1000; ignored with scaling.mode Apply. Also set through /scale (kubectl scale,
    HPA), which is why the API server itself fills in the default: /scale of an object without replicas is an error.
    Default: 1."""

    scaling: Scaling | None = None
    """How many replicas there shall be, and who decides. Default: spec.replicas, with advice in status.scaling."""

    thresholds: Thresholds | None = None
    """What is worth an alert. Default: the values that its fields name."""

    drain: Drain | None = None
    """How a stopping pod finishes its requests. Default: up to 120s."""

    idle: Idle | None = None
    """When models that nobody uses leave memory. Default: never."""

    rollout: Rollout | None = None
    """How pods of a changed spec replace the old ones. Default: Auto."""

    expose: Expose | None = None
    """Who may use the endpoint. Default: pods of the allowed namespaces, without a key."""

    allowed_namespaces: AllowedNamespaces | None = None
    """Namespaces whose pods may reach the model. Default: its own."""


class ModelServer(Resource):
    """A model served by an inference engine (vLLM, llama.cpp or Ollama) as pods behind one address, or by an endpoint
    outside the cluster (Foundry Local, or any that speaks OpenAI's API) that is watched.

    Clients use status.url, an OpenAI-compatible endpoint inside the cluster.
    """

    spec: ModelServerSpec

    @property
    def model_name(self) -> str:
        """The model's id in the OpenAI API."""
        if self.spec.external:
            return self.spec.external.model or self.name
        return self.model.name or self.name

    @property
    def model(self) -> Model:
        """The model of an engine that runs in the cluster; InvalidSpec for objects stored before it was required."""
        if self.spec.model is None:
            raise InvalidSpec("InvalidSpec", f"model is required for engine {self.spec.engine}.")
        return self.spec.model

    @property
    def is_external(self) -> bool:
        """True where the engine runs outside the cluster."""
        return self.spec.engine in EXTERNAL_ENGINES

    @property
    def replicas(self) -> int:
        """Wanted pods."""
        return self.spec.replicas

    @property
    def claims(self) -> tuple[str, ...]:
        """PersistentVolumeClaims that the pods mount."""
        scheme, _, rest = (self.spec.model.uri if self.spec.model else "").partition("://")
        claims = [rest.partition("/")[0]] if scheme == "pvc" else []
        if self.spec.cache and self.spec.cache.claim_name:
            claims.append(self.spec.cache.claim_name)
        return tuple(claims)
