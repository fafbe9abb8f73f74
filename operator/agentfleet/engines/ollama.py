"""Ollama: pulls its models by name, through the sidecar, and serves several from one pod."""

from collections.abc import Iterable

from agentfleet.engines.base import CACHE_DIR, MODELS_DIR, Launch, serve_argument
from agentfleet.resources.engine_options import OllamaOptions
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings


class Ollama:
    """The Ollama engine."""

    name = "Ollama"
    gpus_by_default = 0
    failures: tuple[tuple[str, str], ...] = (
        (r"address already in use", "EngineCrashed"),
        (r"no space left on device", "DiskFull"),
        (r"permission denied", "EngineCrashed"),
    )

    def launch(self, server: ModelServer, model_path: str, settings: Settings) -> Launch:
        """`ollama serve`; the sidecar pulls, verifies, renames and preloads the models."""
        options = server.spec.ollama or OllamaOptions()
        serves = [serve_argument(server), *(f"--serve={name}={name}" for name in options.models)]
        keep_alive = "-1" if options.keep_alive in (None, "Forever") else str(options.keep_alive)
        env = {
            "HOME": CACHE_DIR,
            "OLLAMA_HOST": "0.0.0.0:11434",
            "OLLAMA_KEEP_ALIVE": keep_alive,
            "OLLAMA_MAX_LOADED_MODELS": str(options.max_loaded_models or len(serves)),
            "OLLAMA_MODELS": f"{MODELS_DIR}/ollama",
            "OLLAMA_NO_CLOUD": "1",
            # Other pods may be pulling into the same folder; what looks unused here may be theirs.
            "OLLAMA_NOPRUNE": "1",
        }
        if options.context_length is not None:
            env["OLLAMA_CONTEXT_LENGTH"] = str(options.context_length)
        if options.parallel is not None:
            env["OLLAMA_NUM_PARALLEL"] = str(options.parallel)
        sidecar = [*serves, f"--keep-alive={keep_alive}", "--preload"]
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
