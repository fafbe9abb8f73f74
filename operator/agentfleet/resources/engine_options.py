"""Typed settings of each engine. None has a default here: what is absent is left to the scenario or the engine."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from agentfleet.resources.base import Contract, Duration, Quantity, rules, string_set

Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$")]
ModelReference = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9/][-A-Za-z0-9_./:@]*$")]


_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_RANK_MESSAGE = f"must be one of {', '.join(map(str, _RANKS))}"


def _is_rank(value: int) -> int:
    if value not in _RANKS:
        raise ValueError(_RANK_MESSAGE)
    return value


LoraRank = Annotated[
    int,
    Field(ge=1, le=512, json_schema_extra=rules((f"self in {list(_RANKS)}", _RANK_MESSAGE))),
    AfterValidator(_is_rank),
]


class Speculative(Contract):
    """Speculative decoding: by a draft model, or by n-grams of the prompt."""

    model: ModelReference | None = None
    """The draft model's folder in the engine container, for example beside the model in its claim: /models/draft.
    Nothing is downloaded for it, since engines run offline. Default: none; the prompt's own n-grams are proposed."""

    tokens: Annotated[int, Field(ge=1, le=32)] = 5
    """Tokens proposed at a time, 1 to 32. Default: 5."""


class StructuredOutputs(Contract):
    """How answers are held to a grammar or JSON schema."""

    backend: Identifier
    """A backend by vLLM's own name for it: auto, xgrammar, guidance, outlines or lm-format-enforcer in 0.33."""


class VLLMOptions(Contract):
    """Settings of the vLLM engine; each is one flag of `vllm serve`."""

    gpu_memory_utilization_percent: Annotated[int, Field(ge=1, le=100)] | None = None
    """Share of each GPU's memory that vLLM may use, 1 to 100 (--gpu-memory-utilization). Default: vLLM's own, 92."""

    max_model_len: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Longest prompt plus answer in tokens (--max-model-len). Default: what the model says."""

    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Requests that are worked on at once (--max-num-seqs). Default: vLLM's own."""

    max_num_batched_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Tokens in one step of the engine (--max-num-batched-tokens). Default: vLLM's own."""

    quantization: Identifier | None = None
    """Quantization method such as awq, gptq or fp8 (--quantization). Default: what the checkpoint says. Naming a method
    that the checkpoint does not have ends the engine at start."""

    prefix_caching: bool | None = None
    """Keep the KV cache of common prefixes (--[no-]enable-prefix-caching). Default: vLLM's own, true."""

    chunked_prefill: bool | None = None
    """Split long prompts over several steps (--[no-]enable-chunked-prefill). Default: vLLM's own, true."""

    speculative: Speculative | None = None
    """Speculative decoding (--speculative-config). Default: none."""

    structured_outputs: StructuredOutputs | None = None
    """Structured outputs (--structured-outputs-config). Default: vLLM's own, auto."""

    trust_remote_code: bool | None = None
    """Run Python code that comes with the model (--trust-remote-code). Default: false, for it runs what the model's
    author wrote."""

    tool_call_parser: Identifier | None = None
    """Parser of tool calls, such as hermes or llama3_json (--enable-auto-tool-choice --tool-call-parser).
    Default: none."""

    reasoning_parser: Identifier | None = None
    """Parser of reasoning text, such as qwen3 (--reasoning-parser). Default: none."""

    max_loras: Annotated[int, Field(ge=1, le=64)] | None = None
    """Adapters that one batch may mix, 1 to 64 (--max-loras). Default: vLLM's own, 1."""

    max_lora_rank: LoraRank | None = None
    """Highest rank of spec.adapters: 1, 8, 16, 32, 64, 128, 256, 320 or 512 (--max-lora-rank).
    Default: vLLM's own, 16."""


class LlamaCppOptions(Contract):
    """Settings of llama-server (llama.cpp); each is one of its flags."""

    context_size: Annotated[int, Field(ge=64, le=10_000_000)] | None = None
    """Context of one request in tokens; llama-server gets context × slots (--ctx-size). Default: what the
    model says, divided by slots."""

    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Requests that are worked on at once (--parallel). Default: 1."""

    gpu_layers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Layers kept on the GPU (--n-gpu-layers). Default: all with a GPU, 0 without."""

    threads: Annotated[int, Field(ge=1, le=512)] | None = None
    """CPU threads (--threads). Default: llama-server's own, the number of physical cores."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Tokens of a prompt taken at once (--batch-size). Default: llama-server's own, 2048."""

    flash_attention: Literal["Auto", "Enabled", "Disabled"] | None = None
    """Auto, Enabled or Disabled (--flash-attn). Default: Auto."""

    memory_lock: bool | None = None
    """Keep the weights in RAM (--load-mode mlock). Needs a memory lock limit of the node. Default: false."""

    numa: Literal["Distribute", "Isolate", "Numactl"] | None = None
    """Distribute, Isolate or Numactl (--numa). Default: none."""

    projector: Annotated[str, Field(max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_./]*[.]gguf$")] | None = None
    """File of the multimodal projector, relative to the model's folder, such as mmproj.gguf (--mmproj); for task
    Vision with a pvc:// or file:// source. Default: none."""


class OllamaOptions(Contract):
    """Settings of Ollama; each is one of its environment variables or of its API."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.models) || self.models.all(m, !m.contains('://'))",
                "models are names such as qwen2.5:0.5b, without a scheme",
                ".models",
            ),
        )
    )

    context_length: Annotated[int, Field(ge=64, le=10_000_000)] | None = None
    """Context of one request in tokens (OLLAMA_CONTEXT_LENGTH). Default: Ollama's own, by GPU memory, at least 4096."""

    parallel: Annotated[int, Field(ge=1, le=256)] | None = None
    """Requests for each loaded model at once (OLLAMA_NUM_PARALLEL). Default: 1."""

    keep_alive: Duration | Literal["Forever"] | None = None
    """How long an idle model stays in memory, such as 10m, or Forever (OLLAMA_KEEP_ALIVE). Default: Forever, since the
    pod serves these models alone."""

    max_loaded_models: Annotated[int, Field(ge=1, le=64)] | None = None
    """Models in memory at once (OLLAMA_MAX_LOADED_MODELS). Default: as many as the pod serves."""

    models: Annotated[tuple[ModelReference, ...], string_set(32)]
    """More models to pull beside model.uri, such as qwen2.5:0.5b; each is served under its own name. One that fails
    does not stop the others: see status.models."""

    categories: Annotated[
        tuple[Literal["UltraLight", "Balanced", "CodeSpecialist", "HighCapability"], ...], string_set(4)
    ]
    """Whole categories of small models to pull beside model.uri: UltraLight (qwen2.5:0.5b-instruct-q4_K_M,
    tinyllama:1.1b-chat-q4_K_M), Balanced (phi3.5:3.8b-mini-instruct-q4_K_M, llama3.2:3b-instruct-q4_K_M),
    CodeSpecialist (codellama:7b-code-q4_K_M, codegemma:7b-code-q4_K_M) or HighCapability
    (llama3.1:8b-instruct-q4_K_M, qwen2.5:7b-instruct-q4_K_M). Each model has its own entry in status.models."""

    max_memory: Quantity | None = None
    """Most memory that loaded models may take in one pod, such as 8Gi; above it idle models are unloaded, those unused
    for longest first. Default: no limit."""

    insecure_registry: bool | None = None
    """Pull over plain HTTP, for a registry inside the cluster. Default: false."""
