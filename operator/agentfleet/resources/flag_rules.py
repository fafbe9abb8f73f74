"""Flags and variables that users cannot pass through, with what to write instead; and the CEL that refuses them.

Two groups: those that the operator sets itself from a typed field, and those that current engines no longer know.
The same tables serve the API server (CEL below) and the operator's own check (engines/base.py).
"""

from agentfleet.resources.base import Rule

OWNED_BY_OPERATOR = "is set by the operator"

INSTEAD: dict[str, dict[str, str]] = {
    "VLLM": {
        "--model": "use model.uri",
        "--served-model-name": "use model.name",
        "--host": OWNED_BY_OPERATOR,
        "--port": OWNED_BY_OPERATOR,
        "--uds": OWNED_BY_OPERATOR,
        "--root-path": OWNED_BY_OPERATOR,
        "--tensor-parallel-size": "use parallelism.tensor",
        "-tp": "use parallelism.tensor",
        "--pipeline-parallel-size": "use parallelism.pipeline",
        "-pp": "use parallelism.pipeline",
        "--nnodes": OWNED_BY_OPERATOR,
        "--node-rank": OWNED_BY_OPERATOR,
        "--master-addr": OWNED_BY_OPERATOR,
        "--master-port": OWNED_BY_OPERATOR,
        "--headless": OWNED_BY_OPERATOR,
        "--shutdown-timeout": "use drain.timeout",
        "--api-key": "is readable by everyone who may read pods; use expose.apiKeySecretName",
        "--enable-lora": "use adapters",
        "--no-enable-lora": "use adapters",
        "--lora-modules": "use adapters",
        "--max-loras": "use vllm.maxLoras",
        "--max-lora-rank": "use vllm.maxLoraRank",
        "--runner": "use model.task",
        "--convert": "use model.task",
        "--hf-token": "is readable by everyone who may read pods; use model.auth.secretName",
        "--gpu-memory-utilization": "use vllm.gpuMemoryUtilizationPercent",
        "--device-memory-utilization": "use vllm.gpuMemoryUtilizationPercent",
        "--max-model-len": "use vllm.maxModelLen",
        "--max-num-seqs": "use vllm.maxNumSeqs",
        "--max-num-batched-tokens": "use vllm.maxNumBatchedTokens",
        "--quantization": "use vllm.quantization",
        "-q": "use vllm.quantization",
        "--enable-prefix-caching": "use vllm.prefixCaching",
        "--no-enable-prefix-caching": "use vllm.prefixCaching",
        "--enable-chunked-prefill": "use vllm.chunkedPrefill",
        "--no-enable-chunked-prefill": "use vllm.chunkedPrefill",
        "--speculative-config": "use vllm.speculative",
        "--structured-outputs-config": "use vllm.structuredOutputs.backend",
        "--trust-remote-code": "use vllm.trustRemoteCode",
        "--no-trust-remote-code": "use vllm.trustRemoteCode",
        "--enable-auto-tool-choice": "use vllm.toolCallParser",
        "--tool-call-parser": "use vllm.toolCallParser",
        "--reasoning-parser": "use vllm.reasoningParser",
        "--speculative-model": "is gone from vLLM; use vllm.speculative.model",
        "--num-speculative-tokens": "is gone from vLLM; use vllm.speculative.tokens",
        "--guided-decoding-backend": "is gone from vLLM; use vllm.structuredOutputs.backend",
        "--swap-space": "is gone from vLLM; use --kv-offloading-size",
        "--task": "is gone from vLLM; use model.task",
        "--device": "is gone from vLLM; set gpu.count 0 for the CPU and choose the image",
        "--rope-scaling": "is gone from vLLM; use --hf-overrides",
        "--enable-reasoning": "is gone from vLLM; use vllm.reasoningParser",
        "--disable-log-requests": "is not known to vLLM 0.32; use --no-enable-log-requests",
        "--worker-use-ray": "is gone from vLLM; use --distributed-executor-backend=ray",
    },
    "LlamaCpp": {
        "--model": "use model.uri",
        "-m": "use model.uri",
        "--model-url": "use model.uri",
        "-mu": "use model.uri",
        "--hf-repo": "use model.uri",
        "-hf": "use model.uri",
        "--models-dir": "use one ModelServer for each model",
        "--alias": "use model.name",
        "-a": "use model.name",
        "--host": OWNED_BY_OPERATOR,
        "--port": OWNED_BY_OPERATOR,
        "--metrics": OWNED_BY_OPERATOR,
        "--api-key": "is readable by everyone who may read pods; use expose.apiKeySecretName",
        "--api-key-file": "use expose.apiKeySecretName",
        "--mmproj": "use llamaCpp.projector",
        "-mm": "use llamaCpp.projector",
        "--embedding": "use model.task",
        "--embeddings": "use model.task",
        "--rerank": "use model.task",
        "--reranking": "use model.task",
        "--sleep-idle-seconds": "use idle.unloadAfter",
        "--ctx-size": "use llamaCpp.contextSize",
        "-c": "use llamaCpp.contextSize",
        "--parallel": "use llamaCpp.slots",
        "-np": "use llamaCpp.slots",
        "--n-gpu-layers": "use llamaCpp.gpuLayers",
        "--gpu-layers": "use llamaCpp.gpuLayers",
        "-ngl": "use llamaCpp.gpuLayers",
        "--threads": "use llamaCpp.threads",
        "-t": "use llamaCpp.threads",
        "--batch-size": "use llamaCpp.batchSize",
        "-b": "use llamaCpp.batchSize",
        "--flash-attn": "use llamaCpp.flashAttention",
        "-fa": "use llamaCpp.flashAttention",
        "--load-mode": "use llamaCpp.memoryLock",
        "-lm": "use llamaCpp.memoryLock",
        "--mlock": "is gone from llama-server; use llamaCpp.memoryLock",
        "--numa": "use llamaCpp.numa",
        "--sse-ping-interval": OWNED_BY_OPERATOR,
        "--draft": "is gone from llama-server; use --spec-draft-n-max",
    },
}
"""Engine → flag → what to do instead of passing it in extraArgs."""

OWNED_VARIABLES: dict[str, tuple[str, ...]] = {
    "VLLM": (
        "DO_NOT_TRACK",
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "HOME",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "VLLM_API_KEY",
        "VLLM_CACHE_ROOT",
        "VLLM_ENGINE_READY_TIMEOUT_S",
        "VLLM_HOST_IP",
        "VLLM_NO_USAGE_STATS",
        "VLLM_PORT",
    ),
    "LlamaCpp": ("HOME", "LLAMA_ARG_HOST", "LLAMA_ARG_PORT", "LLAMA_ARG_MODEL", "LLAMA_ARG_ALIAS", "LLAMA_API_KEY"),
    "Ollama": (
        "HOME",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_HOST",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MODELS",
        "OLLAMA_NOPRUNE",
        "OLLAMA_NO_CLOUD",
        "OLLAMA_NUM_PARALLEL",
    ),
}
"""Engine → environment variables that the operator sets itself."""


def flag_name(argument: str) -> str:
    """The flag of one argument as engines see it: no value, underscores as dashes (`--a_b=1` → `--a-b`)."""
    return argument.split("=", 1)[0].replace("_", "-")


def _flag_rules(engine: str) -> list[Rule]:
    """One rule for each thing to do instead: a message that is built from the flag would exceed the API server's cost
    limit, and one rule for each flag would make many more."""
    flags_by_hint: dict[str, list[str]] = {}
    for flag, hint in INSTEAD[engine].items():
        flags_by_hint.setdefault(hint, []).append(flag)
    return [
        Rule(
            f"self.engine != '{engine}' || !has(self.extraArgs)"
            f" || !self.extraArgs.exists(a, a.split('=')[0].replace('_', '-') in {sorted(flags)})",
            f"{', '.join(sorted(flags))} {hint}",
            ".extraArgs",
        )
        for hint, flags in sorted(flags_by_hint.items())
    ]


def _variable_rule(engine: str) -> Rule:
    names = ", ".join(f"'{name}'" for name in sorted(OWNED_VARIABLES[engine]))
    return Rule(
        f"self.engine != '{engine}' || !has(self.env) || !self.env.exists(e, e.name in [{names}])",
        f"must not set what the operator sets itself for {engine}: {', '.join(sorted(OWNED_VARIABLES[engine]))}",
        ".env",
    )


FLAG_RULES = [
    *(rule for engine in INSTEAD for rule in _flag_rules(engine)),
    *(_variable_rule(engine) for engine in OWNED_VARIABLES),
]
"""CEL for ModelServerSpec."""
