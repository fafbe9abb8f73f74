"""A tiny Llama as vLLM loads it: a folder in the format of Hugging Face, and LoRA adapters for it in that of PEFT.

The same kind of model as tiny_gguf.py, with its tokenizer and chat template: random weights, the same bytes wherever it
is made. Weights are written by hand, in some ten lines, because that format is a JSON header before plain numbers and
the libraries that write it bring PyTorch. It must not depend on the clock, the platform or the machine's files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from e2e.models import tiny_gguf
from e2e.models.tiny_gguf import Matrix

CONTEXT_LENGTH = 2048
LAYERS = 8
HIDDEN = 64
FEED_FORWARD = 128
HEADS = 4
KV_HEADS = 2
# vLLM's attention on CPUs knows some sizes only; with another one it starts, and dies of its first request.
HEAD_DIM = 64
LORA_RANK = 8
_ADAPTED = {"q_proj": (HIDDEN, HEADS * HEAD_DIM), "v_proj": (HIDDEN, KV_HEADS * HEAD_DIM)}
"""What an adapter changes, with the sizes of its input and output."""


def make(folder: Path, *, seed: int = 0) -> Path:
    """Write the model into the new `folder`; any user may read it."""
    special = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    ids = {name.replace("token", "token_id"): tiny_gguf.SPECIAL.index(token) for name, token in special.items()}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": tiny_gguf.VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        **ids,
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_LENGTH,
        "chat_template": tiny_gguf.CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        **special,
    }
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", ids)
    _write_json(folder / "tokenizer_config.json", tokenizer)
    (folder / "tokenizer.json").write_text(tiny_gguf.tokenizer().to_str(), encoding="utf-8")
    _write_tensors(folder / "model.safetensors", _weights(seed))
    return folder


def make_adapter(folder: Path, *, seed: int = 1) -> Path:
    """Write a LoRA adapter into the new `folder`, strong enough that the model says something else with it."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": LORA_RANK,
        "lora_alpha": 8 * LORA_RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(_ADAPTED),
    }
    random = np.random.RandomState(seed)
    tensors = {}
    for layer in range(LAYERS):
        for projection, (inputs, outputs) in _ADAPTED.items():
            part = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            tensors[f"{part}.lora_A.weight"] = _matrix(random, LORA_RANK, inputs, 0.5)
            tensors[f"{part}.lora_B.weight"] = _matrix(random, outputs, LORA_RANK, 0.5)
    folder.mkdir(parents=True)
    _write_json(folder / "adapter_config.json", config)
    _write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def _weights(seed: int) -> dict[str, Matrix]:
    random = np.random.RandomState(seed)
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM

    def matrix(rows: int, columns: int) -> Matrix:
        return _matrix(random, rows, columns, 0.05)

    def ones() -> Matrix:
        return np.ones(HIDDEN, dtype=np.float32)

    weights = {
        "model.embed_tokens.weight": matrix(tiny_gguf.VOCABULARY, HIDDEN),
        "model.norm.weight": ones(),
        "lm_head.weight": matrix(tiny_gguf.VOCABULARY, HIDDEN),
    }
    for layer in range(LAYERS):
        block = f"model.layers.{layer}."
        weights |= {
            block + "input_layernorm.weight": ones(),
            block + "self_attn.q_proj.weight": matrix(queries, HIDDEN),
            block + "self_attn.k_proj.weight": matrix(keys, HIDDEN),
            block + "self_attn.v_proj.weight": matrix(keys, HIDDEN),
            block + "self_attn.o_proj.weight": matrix(HIDDEN, queries),
            block + "post_attention_layernorm.weight": ones(),
            block + "mlp.gate_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            block + "mlp.up_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            block + "mlp.down_proj.weight": matrix(HIDDEN, FEED_FORWARD),
        }
    return weights


def _matrix(random: np.random.RandomState, rows: int, columns: int, scale: float) -> Matrix:
    return (random.standard_normal((rows, columns)) * scale).astype(np.float32)


def _write_tensors(path: Path, tensors: dict[str, Matrix]) -> None:
    """The safetensors format: the header's length in eight bytes, the header, and the numbers, little-endian."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in tensors.items():
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [begin, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for values in tensors.values():
            file.write(values.astype("<f4").tobytes())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
