"""The tiny model for vLLM and its adapters: the same bytes everywhere, in the formats of Hugging Face and PEFT."""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from e2e.models import tiny_gguf, tiny_vllm

WEIGHTS = "3d479e3ff7dc03b1dc83f93a8139c4627d6bce85b63f897f0144d5ff8432c776"
ADAPTER = "0e28618aa04f9c964acd5774d471ac020e0eb20f00907eace370cab9672ed792"


def tensors(path: Path) -> dict[str, Any]:
    """What a safetensors file holds: name → array."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert {about["dtype"] for about in header.values()} == {"F32"}
    found = {}
    for name, about in header.items():
        start, end = (begin + offset for offset in about["data_offsets"])
        found[name] = np.frombuffer(content[start:end], "<f4").reshape(about["shape"])
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vllm.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vllm.make_adapter(tmp_path_factory.mktemp("adapter") / "pirate")


def test_the_files_are_always_the_same(model: Path, adapter: Path) -> None:
    files = {"weights": model / "model.safetensors", "adapter": adapter / "adapter_model.safetensors"}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == {
        "weights": WEIGHTS,
        "adapter": ADAPTER,
    }


def test_other_users_may_read_them(model: Path, adapter: Path) -> None:
    assert all(file.stat().st_mode & 0o444 == 0o444 for folder in (model, adapter) for file in folder.iterdir())


def test_the_weights_fill_the_file_and_have_the_shapes_of_the_configuration(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    weights = tensors(model / "model.safetensors")
    size = (model / "model.safetensors").stat().st_size
    assert 4 * sum(prod(values.shape) for values in weights.values()) < size < 5_000_000
    assert weights["lm_head.weight"].shape == (config["vocab_size"], config["hidden_size"])
    queries = config["num_attention_heads"] * config["head_dim"]
    for layer in range(config["num_hidden_layers"]):
        assert weights[f"model.layers.{layer}.self_attn.q_proj.weight"].shape == (queries, config["hidden_size"])
    assert all(np.isfinite(values).all() for values in weights.values())


def test_the_tokenizer_knows_the_special_tokens_of_the_template(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == tiny_gguf.VOCABULARY
    config = json.loads((model / "config.json").read_text())
    assert tokenizer.token_to_id("<|im_end|>") == config["eos_token_id"]
    question = "<|im_start|>user\nWhere is my order?<|im_end|>"
    assert tokenizer.decode(tokenizer.encode(question).ids, skip_special_tokens=False) == question


def test_an_adapter_fits_the_model_and_changes_it(model: Path, adapter: Path) -> None:
    weights, deltas = tensors(model / "model.safetensors"), tensors(adapter / "adapter_model.safetensors")
    rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
    for name, down in deltas.items():
        if "lora_A" in name:
            up = deltas[name.replace("lora_A", "lora_B")]
            changed = weights[name.removeprefix("base_model.model.").replace(".lora_A", "")]
            assert (up @ down).shape == changed.shape
            assert down.shape[0] == rank
            assert np.abs(up @ down).max() > np.abs(changed).max()


def test_another_seed_is_another_adapter(tmp_path: Path, adapter: Path) -> None:
    other = tiny_vllm.make_adapter(tmp_path / "poet", seed=2)
    one, two = (folder / "adapter_model.safetensors" for folder in (adapter, other))
    assert one.stat().st_size == two.stat().st_size
    assert one.read_bytes() != two.read_bytes()
