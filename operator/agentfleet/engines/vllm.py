"""vLLM: `vllm serve` of versions 0.32 and 0.33. GPUs, tensor and pipeline parallelism."""

import json
from collections.abc import Iterable

from agentfleet.engines.base import (
    CACHE_DIR,
    Launch,
    image_version,
    parallel_sizes,
    refused_flags,
    serve_argument,
    served_names,
    startup_seconds,
)
from agentfleet.engines.sources import parse_source
from agentfleet.engines.vllm_flags import FLAGS
from agentfleet.resources.engine_options import VLLMOptions
from agentfleet.resources.flag_rules import INSTEAD, flag_name
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

SHUTDOWN_SECONDS = 15
"""vLLM's own drain after SIGTERM. preStop has waited for idle before, so this only covers a request that slipped in."""


class VLLM:
    """The vLLM engine."""

    name = "VLLM"
    gpus_by_default = 1
    failures: tuple[tuple[str, str], ...] = (
        (r"CUDA out of memory|torch\.OutOfMemoryError|No available memory for the cache blocks", "OutOfGpuMemory"),
        (r"(KV cache|Free memory on device).*(less than|is larger than|needed)", "OutOfGpuMemory"),
        (r"unrecognized arguments|ambiguous option|expected (one|at least one) argument|invalid choice", "BadFlag"),
        (r"must be divisible by tensor parallel|Cannot find the config file|Unknown quantization", "BadEngineValue"),
        (r"validation errors? for|Value error,|Input should be", "BadEngineValue"),
        (
            r"No such file or directory|does not appear to have a file|Repo id must be|is not a valid model",
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
        args += _option_args(server.spec.vllm or VLLMOptions())
        return Launch(
            image=server.spec.image or settings.vllm_image,
            command=("vllm", "serve"),
            args=(*args, *server.spec.extra_args),
            port=8000,
            health_path="/health",
            env={
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
            sidecar_args=(serve_argument(server),),
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


def _option_args(options: VLLMOptions) -> Iterable[str]:
    if options.gpu_memory_utilization_percent is not None:
        yield f"--gpu-memory-utilization={options.gpu_memory_utilization_percent / 100:g}"
    if options.max_model_len is not None:
        yield f"--max-model-len={options.max_model_len}"
    if options.max_num_seqs is not None:
        yield f"--max-num-seqs={options.max_num_seqs}"
    if options.max_num_batched_tokens is not None:
        yield f"--max-num-batched-tokens={options.max_num_batched_tokens}"
    if options.quantization is not None:
        yield f"--quantization={options.quantization}"
    if options.prefix_caching is not None:
        yield "--enable-prefix-caching" if options.prefix_caching else "--no-enable-prefix-caching"
    if options.chunked_prefill is not None:
        yield "--enable-chunked-prefill" if options.chunked_prefill else "--no-enable-chunked-prefill"
    if options.speculative is not None:
        draft = {"model": options.speculative.model, "num_speculative_tokens": options.speculative.tokens}
        yield f"--speculative-config={json.dumps(draft)}"
    if options.structured_outputs is not None:
        yield f"--structured-outputs-config={json.dumps({'backend': options.structured_outputs.backend})}"
    if options.trust_remote_code:
        yield "--trust-remote-code"
    if options.tool_call_parser is not None:
        yield "--enable-auto-tool-choice"
        yield f"--tool-call-parser={options.tool_call_parser}"
    if options.reasoning_parser is not None:
        yield f"--reasoning-parser={options.reasoning_parser}"
