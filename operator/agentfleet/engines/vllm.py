"""vLLM: `vllm serve` of versions 0.32 and 0.33. GPUs, tensor and pipeline parallelism."""

import json
from collections.abc import Iterable

from agentfleet.engines.base import (
    CACHE_DIR,
    Launch,
    image_version,
    parallel_sizes,
    refused_flags,
    served_names,
    serving_arguments,
    startup_seconds,
    task,
)
from agentfleet.engines.sources import parse_source
from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.resources.engine_options import Speculative, VLLMOptions
from agentfleet.resources.flag_rules import INSTEAD, flag_name
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

SHUTDOWN_SECONDS = 15
"""vLLM's own drain after SIGTERM. preStop has waited for idle before, so this only covers a request that slipped in."""


_TASK_ARGS = {
    "Embedding": ("--runner=pooling", "--convert=embed"),
    "Rerank": ("--runner=pooling", "--convert=classify"),
}
"""Tasks that vLLM has to be told; it sees the others from the model."""

STRUCTURED_OUTPUTS = ("auto", "guidance", "lm-format-enforcer", "outlines", "xgrammar")
"""Backends of versions 0.32 and 0.33."""

_LOOKUP_MAX = 4
"""Longest n-gram of the prompt that is looked for, where there is no draft model."""


class VLLM:
    """The vLLM engine."""

    name = "VLLM"
    gpus_by_default = 1
    failures: tuple[tuple[str, str], ...] = (
        (r"driver[^\n]* is (too old|insufficient)|CUDA driver version is insufficient", "DriverTooOld"),
        (r"CUDA out of memory|torch\.OutOfMemoryError|No available memory for the cache blocks", "OutOfGpuMemory"),
        (r"(KV cache|Free memory on device).*(less than|is larger than|needed)", "OutOfGpuMemory"),
        (r"unrecognized arguments|ambiguous option|expected (one|at least one) argument|invalid choice", "BadFlag"),
        (r"must be divisible by tensor parallel|Cannot find the config file|Unknown quantization", "BadEngineValue"),
        (r"validation errors? for|Value error,|Input should be", "BadEngineValue"),
        (
            r"(?<!shared object file: )No such file or directory|does not appear to have a file|Repo id must be"
            r"|is not a valid model",
            "ModelNotFound",
        ),
        (r"Insufficient space in /dev/shm", "OutOfMemory"),
    )

    def launch(self, server: ModelServer, model_path: str, settings: Settings) -> Launch:
        """`vllm serve PATH …`; every flag is one that both versions take."""
        tensor, pipeline = parallel_sizes(server)
        args = [
            model_path,
            "--served-model-name",
            *served_names(server, parse_source(server.model.uri)),
            "--host=0.0.0.0",
            "--port=8000",
            f"--shutdown-timeout={SHUTDOWN_SECONDS}",
            "--disable-access-log-for-endpoints=/health,/metrics,/ping",
        ]
        if tensor > 1:
            args.append(f"--tensor-parallel-size={tensor}")
        if pipeline > 1:
            args.append(f"--pipeline-parallel-size={pipeline}")
        args += _TASK_ARGS.get(task(server), ())
        args += _option_args(server.spec.vllm or VLLMOptions())
        if server.spec.adapters:
            args.append("--enable-lora")
        return Launch(
            image=server.spec.image or settings.vllm_image,
            command=("vllm", "serve"),
            args=(*args, *server.spec.extra_args),
            port=8000,
            health_path="/health",
            env=_lora_env(server)
            | {
                "DO_NOT_TRACK": "1",
                "HF_HOME": f"{CACHE_DIR}/huggingface",
                "HF_HUB_OFFLINE": "1",
                "HOME": CACHE_DIR,
                "VLLM_CACHE_ROOT": f"{CACHE_DIR}/vllm",
                "VLLM_ENGINE_READY_TIMEOUT_S": str(startup_seconds(server)),
                "VLLM_NO_USAGE_STATS": "1",
            },
            pod_ip_variable="VLLM_HOST_IP",
            # Workers talk through shared memory; on CPUs even a single one does.
            shared_memory="2Gi" if tensor * pipeline > 1 else "1Gi",
            sidecar_args=serving_arguments(server),
            api_key_variable="VLLM_API_KEY",
            stop_seconds=SHUTDOWN_SECONDS + 15,
        )

    def problems(self, server: ModelServer, image: str) -> Iterable[str]:
        """Flags that the image's version does not know; versions without a table are not judged."""
        yield from refused_flags(self.name, server.spec.extra_args)
        yield from _abbreviations(server.spec.extra_args)
        version = image_version(image)
        known = FLAGS.get(version or "")
        if known is None:
            return
        wanted = server.spec.vllm.structured_outputs if server.spec.vllm else None
        if wanted and wanted.backend not in STRUCTURED_OUTPUTS:
            yield f"vllm.structuredOutputs.backend: {wanted.backend} is none of {', '.join(STRUCTURED_OUTPUTS)}"
        for argument in server.spec.extra_args:
            if argument.startswith("-") and not argument[1:2].isdigit() and not _is_known(argument, known):
                yield f"extraArgs: {flag_name(argument)} is not a flag of vLLM {version} (image {image})"


def _abbreviations(arguments: Iterable[str]) -> Iterable[str]:
    # vLLM's parser takes unique prefixes, so `--api-k=x` would be the `--api-key` that is refused.
    known = frozenset().union(*FLAGS.values())
    refused = INSTEAD["VLLM"]
    for name in (flag_name(argument) for argument in arguments if argument.startswith("--")):
        full = next((flag for flag in sorted(refused) if flag.startswith(name)), None)
        if full and name not in known and name not in refused:
            yield f"extraArgs: {name} is short for {full}, which {refused[full]}"


def _is_known(argument: str, known: frozenset[str]) -> bool:
    # vLLM's parser pairs --x with --no-x, and takes dotted paths into JSON options.
    name = flag_name(argument).split(".")[0]
    return bool({name, name.replace("--no-", "--", 1)} & known)


def _lora_env(server: ModelServer) -> dict[str, str]:
    # The sidecar adds and removes adapters through the engine's API.
    return {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"} if server.spec.adapters else {}


def _speculation(wish: Speculative) -> dict[str, str | int]:
    if wish.model:
        return {"model": wish.model, "num_speculative_tokens": wish.tokens}
    return {"method": "ngram", "num_speculative_tokens": wish.tokens, "prompt_lookup_max": _LOOKUP_MAX}


def _option_args(options: VLLMOptions) -> Iterable[str]:
    for flag, value in (
        ("--gpu-memory-utilization", _share(options.gpu_memory_utilization_percent)),
        ("--max-model-len", options.max_model_len),
        ("--max-num-seqs", options.max_num_seqs),
        ("--max-num-batched-tokens", options.max_num_batched_tokens),
        ("--quantization", options.quantization),
        ("--max-loras", options.max_loras),
        ("--max-lora-rank", options.max_lora_rank),
        ("--reasoning-parser", options.reasoning_parser),
    ):
        if value is not None:
            yield f"{flag}={value}"
    if options.prefix_caching is not None:
        yield "--enable-prefix-caching" if options.prefix_caching else "--no-enable-prefix-caching"
    if options.chunked_prefill is not None:
        yield "--enable-chunked-prefill" if options.chunked_prefill else "--no-enable-chunked-prefill"
    if options.speculative is not None:
        yield f"--speculative-config={json.dumps(_speculation(options.speculative))}"
    if options.structured_outputs is not None:
        yield f"--structured-outputs-config={json.dumps({'backend': options.structured_outputs.backend})}"
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.tool_call_parser is not None:
        yield "--enable-auto-tool-choice"
        yield f"--tool-call-parser={options.tool_call_parser}"


def _share(percent: int | None) -> str | None:
    return None if percent is None else f"{percent / 100:g}"
