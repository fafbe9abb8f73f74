"""llama.cpp and Ollama: what they need, where it fits, and when llama.cpp could not start."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.planning.sizing import size
from agentfleet.planning.sizing_layers import OVERHEAD_BYTES, memory_needed
from agentfleet.planning.sizing_types import Sizing, SizingRequest
from agentfleet.resources.facts import ModelFacts
from tests.planning.shapes import LLAMA_8B

GIB = 2**30
Q4 = LLAMA_8B.model_copy(update={"weights_bytes": 4 * GIB, "quantization": "Q4_K_M"})


def sized(engine: str = "LlamaCpp", facts: ModelFacts = Q4, memory: int | None = None, **more: Any) -> Sizing:
    given = None if memory is None else memory * GIB
    return size(SizingRequest(facts, engine=engine, gpu_memory_bytes=given, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "facts", "length", "slots", "needed"),
    [
        ("context × slots", Q4, 8192, 2, 4 * GIB + 2 * GIB + OVERHEAD_BYTES),
        ("one slot by default", Q4, 8192, None, 4 * GIB + GIB + OVERHEAD_BYTES),
        ("a context that nobody gave shrinks to fit", Q4, None, 4, 4 * GIB + OVERHEAD_BYTES),
        ("KV cache that cannot be told", ModelFacts(weights_bytes=GIB), 8192, 1, GIB + OVERHEAD_BYTES),
        ("weights that cannot be told", ModelFacts(), 8192, 1, None),
    ],
)
def test_memory_needed(what: str, facts: ModelFacts, length: int | None, slots: int | None, needed: int | None) -> None:
    assert memory_needed(SizingRequest(facts, "LlamaCpp", max_model_len=length, max_num_seqs=slots)) == needed, what


@pytest.mark.parametrize(
    ("what", "engine", "more", "words"),
    [
        ("fits", "LlamaCpp", {"memory": 8, "max_gpus": 1, "max_model_len": 8192}, "It fits 1 GPU with 8.00 GiB."),
        ("over two GPUs", "LlamaCpp", {"memory": 3, "max_gpus": 2, "max_model_len": 8192}, "It fits 2 GPUs"),
        ("to the brim", "LlamaCpp", {"memory": 5, "max_gpus": 1, "max_model_len": 8192}, "to the brim"),
        ("half of the layers", "LlamaCpp", {"memory": 3, "max_gpus": 1, "gpu_layers": 16}, "It fits 1 GPU"),
        ("Ollama keeps the rest in RAM", "Ollama", {"memory": 3, "max_gpus": 1}, "rest of the layers in RAM"),
        ("on the CPU", "LlamaCpp", {"max_gpus": 0, "max_model_len": 8192}, "about 5.50 GiB of RAM"),
        ("the prompt cache", "LlamaCpp", {"max_gpus": 0}, "cache prompts in up to 8.00 GiB"),
        ("GPU memory not known", "LlamaCpp", {"max_gpus": 1}, "whether they fit cannot be told"),
        ("no weights", "Ollama", {"facts": ModelFacts()}, "The size of the weights is not known"),
        ("no context", "Ollama", {}, "the engine takes what fits"),
        ("no KV", "Ollama", {"facts": ModelFacts(weights_bytes=9), "max_model_len": 64}, "KV cache is not counted"),
    ],
)
def test_it_is_said(what: str, engine: str, more: dict[str, Any], words: str) -> None:
    assert any(words in line for line in sized(engine, **more).explanation), what


def test_tokens_that_fit_beside_the_weights() -> None:
    assert sized(memory=8, max_gpus=1).kv_cache_tokens == (4 * GIB - OVERHEAD_BYTES) // 131_072
    assert sized(max_gpus=0).kv_cache_tokens is None


@pytest.mark.parametrize(
    ("what", "more", "words"),
    [
        ("weights", {"memory": 3}, ["gpuLayers is all", "weights of 4.00 GiB", "gpuLayers up to 24 of 32"]),
        ("context", {"memory": 6, "max_model_len": 32768},
         ["4.00 GiB of KV cache", "contextSize up to 16384", "gpuLayers up to 24 of 32"]),
        ("layers of the spec", {"memory": 2, "gpu_layers": 30}, ["gpuLayers is 30", "up to 16 of 32"]),
    ],
)  # fmt: skip
def test_llama_cpp_could_not_start(what: str, more: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        sized(max_gpus=1, **more)
    assert caught.value.reason == "ImpossibleFit"
    for word in words:
        assert word in caught.value.message, what
