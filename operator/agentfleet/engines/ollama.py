"""Ollama: pulls its models by name, through the sidecar, and serves several from one pod."""

from collections.abc import Iterable

from agentfleet.engines.base import CACHE_DIR, MODELS_DIR, Launch, serve_argument, task
from agentfleet.resources.base import quantity_value
from agentfleet.resources.engine_options import OllamaOptions
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

CATALOG: dict[str, tuple[str, ...]] = {
    "UltraLight": ("qwen2.5:0.5b-instruct-q4_K_M", "tinyllama:1.1b-chat-q4_K_M"),
    "Balanced": ("phi3.5:3.8b-mini-instruct-q4_K_M", "llama3.2:3b-instruct-q4_K_M"),
    "CodeSpecialist": ("codellama:7b-code-q4_K_M", "codegemma:7b-code-q4_K_M"),
    "HighCapability": ("llama3.1:8b-instruct-q4_K_M", "qwen2.5:7b-instruct-q4_K_M"),
}
"""Category of small models → what is pulled for it."""


class Ollama:
    """The Ollama engine."""

    name = "Ollama"
    gpus_by_default = 0
    failures: tuple[tuple[str, str], ...] = (
        (r"address already in use", "EngineDied"),
        (r"no space left on device", "DiskFull"),
        (r"permission denied", "EngineDied"),
    )

    def launch(self, server: ModelServer, model_path: str, settings: Settings) -> Launch:
        """`ollama serve`; the sidecar pulls, verifies, renames and preloads the models."""
        options = server.spec.ollama or OllamaOptions()
        serves = [serve_argument(server), *_more_models(server, options)]
        keep_alive = "-1" if options.keep_alive in (None, "Forever") else str(options.keep_alive)
        env = {
            "HOME": CACHE_DIR,
            "OLLAMA_HOST": "0.0.0.0:11434",
            "OLLAMA_KEEP_ALIVE": keep_alive,
            "OLLAMA_MAX_LOADED_MODELS": str(options.max_loaded_models or len(serves)),
            "OLLAMA_MODELS": f"{MODELS_DIR}/ollama",
            "OLLAMA_NO_CLOUD": "1",
            # Older versions choose it by the memory that is free; the scaling loop has to know it.
            "OLLAMA_NUM_PARALLEL": str(options.parallel or 1),
            # Other pods may be pulling into the same folder; what looks unused here may be theirs.
            "OLLAMA_NOPRUNE": "1",
        }
        if options.context_length is not None:
            env["OLLAMA_CONTEXT_LENGTH"] = str(options.context_length)
        sidecar = [*serves, f"--warm-up={task(server)}", f"--keep-alive={keep_alive}", "--preload"]
        sidecar += _idle_args(server, options)
        if options.insecure_registry:
            sidecar.append("--insecure-registry")
        return Launch(
            image=server.spec.image or settings.ollama_image,
            command=("/bin/ollama",),
            args=("serve",),
            port=11434,
            health_path="/",
            env=env,
            sidecar_args=tuple(sidecar),
            stop_seconds=10,
        )

    def problems(self, server: ModelServer, image: str) -> Iterable[str]:
        """Ollama takes no arguments of users."""
        if server.spec.extra_args:
            yield "extraArgs: engine Ollama is set by environment variables; use env or spec.ollama"


def _more_models(server: ModelServer, options: OllamaOptions) -> Iterable[str]:
    """Models beside model.uri, each once: those of categories, then those named."""
    seen = {server.model.uri.removeprefix("ollama://")}
    listed = [(name, category) for category in sorted(options.categories) for name in CATALOG[category]]
    for name, category in [*listed, *((name, None) for name in options.models)]:
        if name not in seen:
            seen.add(name)
            yield f"--serve={name}={name}" + (f",category={category}" if category else "")


def _idle_args(server: ModelServer, options: OllamaOptions) -> Iterable[str]:
    idle = server.spec.idle
    if idle and idle.unload_after:
        yield f"--unload-after={idle.unload_after}"
    if idle and idle.memory_percent:
        yield f"--memory-percent={idle.memory_percent}"
    if options.max_memory:
        yield f"--max-memory={quantity_value(options.max_memory)}"
    if server.model.update:
        yield f"--update-schedule={server.model.update.schedule}"
        yield f"--update-time-zone={server.model.update.time_zone or 'UTC'}"
