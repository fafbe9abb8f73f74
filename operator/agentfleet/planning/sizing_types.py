"""What sizing is asked and what it answers. Pure data."""

from dataclasses import dataclass
from typing import Literal

from agentfleet.planning.kv_type import DEFAULT_BITS
from agentfleet.resources.facts import ModelFacts

EngineOnNodes = Literal["VLLM", "LlamaCpp", "Ollama"]
ParallelSize = int | Literal["Auto"]


@dataclass(frozen=True)
class SizingRequest:
    """A model, the GPUs for one replica of it, and what the spec or its scenario asks for. None is unknown or unset."""

    facts: ModelFacts
    engine: EngineOnNodes = "VLLM"
    gpu_memory_bytes: int | None = None
    """Of one GPU."""
    gpus_per_node: int | None = None
    """Of the largest node that the replica may run on."""
    max_gpus: int | None = None
    """GPUs that one replica may take; 0 runs on the CPU."""
    max_nodes: int | None = None
    """Nodes that one replica may span."""
    tensor: ParallelSize = 1
    pipeline: ParallelSize = 1
    nodes: int | None = None
    max_model_len: int | None = None
    """Tokens of one request; for LlamaCpp and Ollama its context."""
    firm_length: bool = True
    """False where a scenario rather than the spec wants max_model_len: a shorter one is taken where it does not fit."""
    max_num_seqs: int | None = None
    """Requests at once; for LlamaCpp and Ollama slots."""
    utilization_percent: int = 92
    """Share of a GPU's memory that vLLM takes."""
    kv_bits: float = DEFAULT_BITS
    """Of one element of the KV cache."""
    gpu_layers: int | None = None
    """Layers that LlamaCpp keeps on the GPU; None is all."""


@dataclass(frozen=True)
class Sizing:
    """How one replica is laid out. None is unknown."""

    tensor: int
    pipeline: int
    nodes: int
    weights_bytes: int | None
    kv_cache_tokens: int | None
    """Tokens that the KV cache of the replica holds."""
    max_model_len: int | None
    """What the engine has to be told: the wanted length, or a shorter one that fits where none was wanted; None leaves
    it to the engine."""
    memory_bytes: int | None
    """GPU memory of the replica (RAM on the CPU) for weights and the wanted context; for variants and limits."""
    explanation: tuple[str, ...]

    @property
    def gpus(self) -> int:
        """GPUs of the replica where it runs on GPUs."""
        return self.tensor * self.pipeline


def gib(amount: int) -> str:
    """`14.96 GiB`."""
    return f"{amount / 2**30:.2f} GiB"


def listed(sizes: tuple[int, ...]) -> str:
    """`1, 2, 4`."""
    return ", ".join(map(str, sizes)) or "none"
