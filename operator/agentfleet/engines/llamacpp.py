"""llama.cpp's llama-server: one GGUF file on CPUs or GPUs."""

import math
from collections.abc import Iterable
from pathlib import PurePosixPath

from agentfleet.durations import parse_duration
from agentfleet.engines.base import (
    CACHE_DIR,
    Launch,
    gpu_resource,
    refused_flags,
    runs_on_gpus,
    served_names,
    serving_arguments,
    task,
)
from agentfleet.engines.sources import parse_source
from agentfleet.resources.engine_options import LlamaCppOptions
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

_TASK_ARGS = {"Embedding": ("--embeddings",), "Rerank": ("--reranking",)}

ALL_LAYERS = 999
"""More layers than any model has; `all` is not known to older builds."""


class LlamaCpp:
    """The llama.cpp engine."""

    name = "LlamaCpp"
    gpus_by_default = 0
    failures: tuple[tuple[str, str], ...] = (
        (
            r"error: invalid argument|unknown argument|error while handling argument|expected value for argument",
            "BadFlag",
        ),
        (
            r"No such file or directory|failed to open GGUF|gguf_init_from_file.*failed|model.* not found",
            "ModelNotFound",
        ),
        (r"CUDA driver version is insufficient|driver is too old", "DriverTooOld"),
        (r"CUDA error: out of memory|cudaMalloc failed|failed to allocate.*(CUDA|ROCm|Vulkan)", "OutOfGpuMemory"),
        (r"failed to allocate|bad_alloc|cannot allocate memory", "OutOfMemory"),
        (r"invalid magic|error loading model|failed to load model", "BadEngineValue"),
    )

    def launch(self, server: ModelServer, model_path: str, settings: Settings) -> Launch:
        """`/app/llama-server --model PATH …`; context is split over slots, so it is given as context × slots."""
        options = server.spec.llama_cpp or LlamaCppOptions()
        slots = options.slots or 1
        on_gpu = runs_on_gpus(self, server)
        names = served_names(server, parse_source(server.model.uri))
        layers = options.gpu_layers if options.gpu_layers is not None else (ALL_LAYERS if on_gpu else 0)
        args = [
            f"--model={model_path}",
            f"--alias={','.join(names)}",
            "--host=0.0.0.0",
            "--port=8080",
            "--metrics",
            "--offline",
            f"--parallel={slots}",
            f"--n-gpu-layers={layers}",
            # A closed connection is noticed at the next ping only: a short one lets a stopping server end.
            "--sse-ping-interval=5",
        ]
        if options.context_size is not None:
            args.append(f"--ctx-size={options.context_size * slots}")
        if options.threads is not None:
            args.append(f"--threads={options.threads}")
        if options.batch_size is not None:
            args.append(f"--batch-size={options.batch_size}")
        if options.flash_attention is not None:
            args.append("--flash-attn=" + {"Auto": "auto", "Enabled": "on", "Disabled": "off"}[options.flash_attention])
        if options.memory_lock:
            args.append("--load-mode=mlock")
        if options.numa is not None:
            args.append(f"--numa={options.numa.lower()}")
        if options.projector is not None:
            args.append(f"--mmproj={PurePosixPath(model_path).parent / options.projector}")
        args += _TASK_ARGS.get(task(server), ())
        if server.spec.idle and server.spec.idle.unload_after:
            args.append(f"--sleep-idle-seconds={math.ceil(parse_duration(server.spec.idle.unload_after))}")
        return Launch(
            image=server.spec.image or _image(server, settings, on_gpu=on_gpu),
            command=("/app/llama-server",),
            args=tuple(_split([*args, *server.spec.extra_args])),
            port=8080,
            health_path="/health",
            env={"HOME": CACHE_DIR},
            sidecar_args=serving_arguments(server),
            api_key_variable="LLAMA_API_KEY",
            stop_seconds=10,
        )

    def problems(self, server: ModelServer, image: str) -> Iterable[str]:
        """Refused flags. llama.cpp has no stable versions to hold a table of: an unknown flag ends the engine at once
        and is told by its last words."""
        yield from refused_flags(self.name, server.spec.extra_args)


def _image(server: ModelServer, settings: Settings, *, on_gpu: bool) -> str:
    if not on_gpu:
        return settings.llama_cpp_image
    vendor = gpu_resource(server).partition("/")[0]
    return settings.llama_cpp_rocm_image if vendor == "amd.com" else settings.llama_cpp_gpu_image


def _split(args: Iterable[str]) -> Iterable[str]:
    # llama-server takes a value only as an argument of its own.
    for arg in args:
        yield from arg.split("=", 1) if arg.startswith("--") else [arg]
