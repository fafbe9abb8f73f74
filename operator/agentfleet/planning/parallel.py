"""Which tensor and pipeline parallel sizes a model allows, by vLLM's own rules. Pure.

What a fact that is unknown would have forbidden cannot be told, so there are three answers for a size: a known fact
forbids it, nothing known forbids it, or (None for the whole list) too little is known to call any list legal.
"""

import math
from collections.abc import Iterable

from agentfleet.resources.facts import ModelFacts

MAX_SIZE = 64
"""Largest size that the contract takes."""

_VOCABULARY_PADDING = 64
_GROUP = 128
"""Weights that share a scale in 4-bit checkpoints: what nearly all of them have, and what none says in its header."""
_GROUPED = ("awq", "gptq")


def legal_tensor_sizes(facts: ModelFacts, max_size: int = MAX_SIZE) -> tuple[int, ...] | None:
    """Tensor parallel sizes up to `max_size` that split the model evenly; None where the heads are not known.

    The width of feed-forward layers and the vocabulary count where they are known; without them the heads decide.
    """
    if facts.attention_heads is None or (facts.kv_heads is None and not is_mla(facts)):
        return None
    return possible_tensor_sizes(facts, max_size)


def possible_tensor_sizes(facts: ModelFacts, max_size: int = MAX_SIZE) -> tuple[int, ...]:
    """Sizes that no known fact forbids: the legal ones where the heads are known, else candidates."""
    return tuple(size for size in range(1, max_size + 1) if not any(True for _ in tensor_problems(facts, size)))


def tensor_problems(facts: ModelFacts, size: int) -> Iterable[str]:
    """Why the model cannot be split over `size` GPUs, each in words; nothing where no known fact forbids it."""
    heads, kv_heads = facts.attention_heads, facts.kv_heads
    if heads is not None and heads % size:
        yield f"{heads} attention heads are not divisible by {size}"
    # MLA keeps one latent for all heads, a copy on every GPU, so its number of KV heads forbids nothing.
    if kv_heads is not None and not is_mla(facts) and kv_heads % size and size % kv_heads:
        yield f"{kv_heads} KV heads can neither be divided nor replicated evenly over {size}"
    if facts.intermediate_size is not None and facts.intermediate_size % size:
        yield f"feed-forward width {facts.intermediate_size} is not divisible by {size}"
    if facts.vocab_size is not None and _padded(facts.vocab_size) % size:
        yield f"vocabulary {_padded(facts.vocab_size)} (padded) is not divisible by {size}"


def tensor_doubt(facts: ModelFacts, size: int) -> str | None:
    """Why `size` may still fail although it is legal: a 4-bit group of weights would be cut in two."""
    method = (facts.quantization or "").lower()
    width = facts.intermediate_size
    if width is None or not any(name in method for name in _GROUPED) or (width // size) % _GROUP == 0:
        return None
    return (
        f"tensor {size} leaves {width // size} of {width} feed-forward columns to each GPU, not a multiple of {_GROUP},"
        f" the usual group of {facts.quantization} checkpoints: vLLM may refuse it."
    )


def legal_pipeline_sizes(facts: ModelFacts, max_size: int = MAX_SIZE) -> tuple[int, ...] | None:
    """Pipeline parallel sizes up to `max_size`; None where the layers are not known.

    Stages may be uneven, so any size up to the number of layers will do.
    """
    if facts.layers is None:
        return None
    return tuple(range(1, min(facts.layers, max_size) + 1))


def is_mla(facts: ModelFacts) -> bool:
    """True for multi-head latent attention."""
    return facts.kv_lora_rank is not None


def _padded(vocabulary: int) -> int:
    return math.ceil(vocabulary / _VOCABULARY_PADDING) * _VOCABULARY_PADDING
