"""From a model's own description to facts about it: config.json of transformers, or the header of a GGUF file. Pure.

What is not said, or makes no sense, is absent: sizing must not rest on a guess. Names are those of the contract
(`status.model.facts`, resources/facts.py).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from agentfleet.sidecar.gguf import Array, Header

Facts = dict[str, int | str | bool]

LARGEST = 10**15
LARGEST_SMALL = 10**9
LONGEST_NAME = 64

_DTYPES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}

_CONFIG_KEYS: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hiddenSize": ("hidden_size", "n_embd", "d_model", "dim"),
    "intermediateSize": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff"),
    "attentionHeads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kvHeads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "headDim": ("head_dim",),
    "vocabSize": ("vocab_size",),
    "contextLength": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "kvLoraRank": ("kv_lora_rank",),
    "qkRopeHeadDim": ("qk_rope_head_dim",),
    "slidingWindow": ("sliding_window",),
}
"""Fact → the names that architectures give it; the first that is there counts."""

_NESTED = ("text_config", "llm_config", "language_config")
"""Where models of several modalities describe the language model."""

_GGUF_KEYS: dict[str, str] = {
    "layers": "block_count",
    "hiddenSize": "embedding_length",
    "intermediateSize": "feed_forward_length",
    "attentionHeads": "attention.head_count",
    "kvHeads": "attention.head_count_kv",
    "headDim": "attention.key_length",
    "vocabSize": "vocab_size",
    "contextLength": "context_length",
    "experts": "expert_count",
    "kvLoraRank": "attention.kv_lora_rank",
    "slidingWindow": "attention.sliding_window",
}

PLAIN_FILE_TYPES = {0: 4, 1: 2, 32: 2}
"""GGUF file types that are not quantized (F32, F16, BF16) → bytes of a weight."""

FILE_TYPES = {
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""general.file_type of a GGUF file → its usual name."""


def of_config(config: Mapping[str, Any]) -> Facts:
    """Facts from a config.json."""
    text: Mapping[str, Any] = next((config[key] for key in _NESTED if isinstance(config.get(key), dict)), config)
    found: Facts = {}
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        _name(found, "architecture", architectures[0])
    for fact, keys in _CONFIG_KEYS.items():
        _small(found, fact, next((text[key] for key in keys if text.get(key) is not None), None))
    if text.get("use_sliding_window") is False:
        found.pop("slidingWindow", None)
    if "kvHeads" not in found and "attentionHeads" in found:
        # Architectures without the key share no keys between heads, unless they share one among all.
        found["kvHeads"] = 1 if text.get("multi_query") is True else found["attentionHeads"]
    for place in (text, config):
        quantization = place.get("quantization_config")
        if isinstance(quantization, dict):
            _name(found, "quantization", quantization.get("quant_method"))
        if isinstance(tied := place.get("tie_word_embeddings"), bool):
            found.setdefault("tiedEmbeddings", tied)
        dtype = str(place.get("dtype") or place.get("torch_dtype")).removeprefix("torch.")
        if dtype in _DTYPES:
            found.setdefault("dtypeBytes", _DTYPES[dtype])
    return found


def of_gguf(headers: Iterable[Header]) -> Facts:
    """Facts from the headers of a GGUF file, all parts of it where it is split: the first describes the model."""
    parts = list(headers)
    metadata = parts[0].metadata
    found: Facts = {}
    architecture = metadata.get("general.architecture")
    _name(found, "architecture", architecture)
    for fact, key in _GGUF_KEYS.items():
        _small(found, fact, _largest(metadata.get(f"{architecture}.{key}")))
    if "kvLoraRank" in found:
        _small(found, "qkRopeHeadDim", metadata.get(f"{architecture}.rope.dimension_count"))
    tokens = metadata.get("tokenizer.ggml.tokens")
    if "vocabSize" not in found and isinstance(tokens, Array):
        _small(found, "vocabSize", tokens.length)
    file_type = metadata.get("general.file_type")
    if isinstance(file_type, int) and file_type in FILE_TYPES:
        found["quantization"] = FILE_TYPES[file_type]
    elif isinstance(file_type, int) and file_type in PLAIN_FILE_TYPES:
        found["dtypeBytes"] = PLAIN_FILE_TYPES[file_type]
    found["chatTemplate"] = "tokenizer.chat_template" in metadata
    tensors = {name: elements for part in parts for name, elements in part.tensors.items()}
    if tensors:
        set_count(found, "parameters", sum(tensors.values()))
        found["tiedEmbeddings"] = "output.weight" not in tensors
    return found


def set_count(facts: Facts, fact: str, value: object) -> None:
    """Notes a number that may be large, if it is one."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST:
        facts[fact] = value


def _small(facts: Facts, fact: str, value: object) -> None:
    if isinstance(value, int) and value <= LARGEST_SMALL:
        set_count(facts, fact, value)


def _name(facts: Facts, fact: str, value: object) -> None:
    if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable():
        facts[fact] = value


def _largest(value: object) -> object:
    """The largest of values that differ from layer to layer: what the widest layer needs."""
    return max(value.numbers, default=None) if isinstance(value, Array) and _numeric(value) else value


def _numeric(array: Array) -> bool:
    return all(isinstance(number, int) for number in array.numbers)
