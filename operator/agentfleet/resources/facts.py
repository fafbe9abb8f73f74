"""Facts about a model that sizing rests on: read from its own files by the loader, or given by the user."""

from typing import Annotated

from pydantic import Field

from agentfleet.resources.base import Contract

Count = Annotated[int, Field(ge=1, le=10**15)]
Small = Annotated[int, Field(ge=1, le=10**9)]


class ModelFacts(Contract):
    """Shape and size of a model. What is absent is unknown; nothing is assumed for it."""

    architecture: Annotated[str, Field(max_length=128)] | None = None
    """Name of the architecture, such as LlamaForCausalLM or llama."""

    parameters: Count | None = None
    """Parameters of the model, all experts included."""

    weights_bytes: Count | None = None
    """Size of the weights in bytes, as they are stored."""

    layers: Small | None = None
    """Transformer layers; the largest legal pipeline parallel size."""

    hidden_size: Small | None = None
    """Width of the hidden state."""

    intermediate_size: Small | None = None
    """Width of the feed-forward layers."""

    attention_heads: Small | None = None
    """Attention heads; the tensor parallel size must divide them."""

    kv_heads: Small | None = None
    """Key-value heads; the tensor parallel size must divide them, or be a multiple of them (they are replicated)."""

    head_dim: Small | None = None
    """Width of one head. Default: hiddenSize / attentionHeads."""

    vocab_size: Small | None = None
    """Entries of the vocabulary."""

    context_length: Small | None = None
    """Longest context that the model was made for, in tokens."""

    quantization: Annotated[str, Field(max_length=64)] | None = None
    """How the weights are stored: awq, gptq, fp8, Q4_K_M; absent for plain 16-bit weights."""

    dtype_bytes: Annotated[int, Field(ge=1, le=8)] | None = None
    """Bytes of one unquantized weight: 2 for bfloat16 and float16. Default: 2 in facts that the
    spec gives without a quantization, else unknown."""

    experts: Small | None = None
    """Experts of a mixture-of-experts model."""

    kv_lora_rank: Small | None = None
    """Width of the latent of multi-head latent attention (MLA), which replaces keys and values."""

    qk_rope_head_dim: Small | None = None
    """Width of MLA's positional part."""

    sliding_window: Small | None = None
    """Tokens that layers with a sliding window look back."""

    tied_embeddings: bool | None = None
    """True where input and output embeddings are one matrix."""
