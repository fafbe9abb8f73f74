"""Arithmetic of a model's memory: parameters, weights and KV cache from its shape. Pure.

Every function answers None where a fact that it needs is not known; none puts a guess in its place.
"""

import math

from agentfleet.planning.parallel import is_mla
from agentfleet.planning.quantization import checkpoint_bits, file_bits
from agentfleet.resources.facts import ModelFacts

_GATED = ("llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3")
"""Architectures whose every parameter the formula below counts: grouped-query attention, gated feed-forward layers."""


def parameters(facts: ModelFacts) -> int | None:
    """Parameters as the model's files say, else counted from its shape."""
    if facts.parameters is not None:
        return facts.parameters
    shape = _shape(facts)
    return None if shape is None else sum(shape)


def weights_bytes(facts: ModelFacts) -> int | None:
    """Size of the weights: that of the files where it is known, else parameters × bytes of their form."""
    if facts.weights_bytes is not None:
        return facts.weights_bytes
    shape, bits = _shape(facts), checkpoint_bits(facts.quantization)
    if bits is not None and shape is not None:
        linear, rest = shape
        return math.ceil(linear * bits / 8) + 2 * rest
    count = parameters(facts)
    bits = bits or file_bits(facts.quantization, facts.dtype_bytes)
    return None if count is None or bits is None else math.ceil(count * bits / 8)


def kv_bytes_per_token(facts: ModelFacts, tensor: int = 1, pipeline: int = 1, bits: float = 16) -> int | None:
    """Bytes of KV cache that one token takes on one GPU, the one with the most layers.

    KV heads are split over `tensor` GPUs until each has one, then replicated; MLA's latent is on every GPU. Layers with
    a sliding window are counted like the others, so models that have them need less.
    """
    width = _kv_width(facts, tensor)
    if width is None or facts.layers is None:
        return None
    return math.ceil(math.ceil(facts.layers / pipeline) * width * bits / 8)


def kv_tokens(kv_bytes: int, facts: ModelFacts, tensor: int = 1, pipeline: int = 1, bits: float = 16) -> int | None:
    """Tokens for which `kv_bytes` of KV cache on each GPU suffice."""
    each = kv_bytes_per_token(facts, tensor, pipeline, bits)
    return None if each is None else max(0, kv_bytes) // each


def _kv_width(facts: ModelFacts, tensor: int) -> int | None:
    """Elements that one layer keeps for one token on one GPU."""
    if is_mla(facts):
        if facts.kv_lora_rank is None or facts.qk_rope_head_dim is None:
            return None
        return facts.kv_lora_rank + facts.qk_rope_head_dim
    head = head_dim(facts)
    if facts.kv_heads is None or head is None:
        return None
    return 2 * max(1, facts.kv_heads // tensor) * head


def head_dim(facts: ModelFacts) -> int | None:
    """Width of one attention head."""
    if facts.head_dim is not None or facts.hidden_size is None or facts.attention_heads is None:
        return facts.head_dim
    return facts.hidden_size // facts.attention_heads


def _shape(facts: ModelFacts) -> tuple[int, int] | None:
    """(parameters of linear layers, all others) of an architecture that the formula knows."""
    name = (facts.architecture or "").lower().removesuffix("forcausallm")
    layers, hidden, heads, kv_heads = facts.layers, facts.hidden_size, facts.attention_heads, facts.kv_heads
    width, vocabulary, tied, head = facts.intermediate_size, facts.vocab_size, facts.tied_embeddings, head_dim(facts)
    if (
        name not in _GATED
        or layers is None
        or hidden is None
        or heads is None
        or kv_heads is None
        or width is None
        or vocabulary is None
        or tied is None
        or head is None
    ):
        return None
    projections = 2 * heads * head + 2 * kv_heads * head
    attention = hidden * projections + ((heads + 2 * kv_heads) * head if name == "qwen2" else 0)
    experts = facts.experts or 0
    feed_forward = 3 * hidden * width * max(1, experts) + hidden * experts
    norms = (2 * layers + 1) * hidden + (2 * layers * head if name == "qwen3" else 0)
    return layers * (attention + feed_forward), vocabulary * hidden * (1 if tied else 2) + norms
