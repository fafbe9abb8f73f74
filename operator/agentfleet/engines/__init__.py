"""Inference engines, one file each. Pure."""

from agentfleet.engines.base import Engine
from agentfleet.engines.llamacpp import LlamaCpp
from agentfleet.engines.ollama import Ollama
from agentfleet.engines.vllm import VLLM

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (VLLM(), LlamaCpp(), Ollama())}
"""Engines by the name that spec.engine has."""
