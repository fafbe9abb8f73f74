"""Sizing: explicit values are judged, Auto takes the least that fits, what cannot work says what would."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.errors import InvalidSpec
from agentfleet.planning.memory import kv_bytes_per_token, weights_bytes
from agentfleet.planning.parallel import legal_tensor_sizes
from agentfleet.planning.sizing import RESERVE_BYTES, size
from agentfleet.planning.sizing_types import Sizing, SizingRequest
from agentfleet.resources.facts import ModelFacts
from tests.planning.shapes import LLAMA_8B, LLAMA_70B, MLA, QWEN2_7B

GIB = 2**30
AWQ = ModelFacts(
    attention_heads=64, kv_heads=8, head_dim=128, layers=80, intermediate_size=29568, quantization="awq",
    weights_bytes=100 * GIB, context_length=8192,
)  # fmt: skip
"""Its feed-forward layers can be cut in 2, 4 or 8, its groups of 128 weights in none."""


def sized(facts: ModelFacts, memory: int | None = None, **more: Any) -> Sizing:
    return size(SizingRequest(facts, gpu_memory_bytes=None if memory is None else memory * GIB, **more))


def auto(facts: ModelFacts, memory: int | None = None, **more: Any) -> Sizing:
    return sized(facts, memory, **{"tensor": "Auto", "pipeline": "Auto"} | more)


def refused(facts: ModelFacts, memory: int | None = None, **more: Any) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        sized(facts, memory, **more)
    return caught.value


def shape(sizing: Sizing) -> tuple[int, int, int]:
    return sizing.tensor, sizing.pipeline, sizing.nodes


@pytest.mark.parametrize(
    ("what", "facts", "memory", "more", "layout"),
    [
        ("fits one GPU", LLAMA_8B, 80, {"max_model_len": 8192}, (1, 1, 1)),
        ("full context needs two", LLAMA_8B, 24, {"gpus_per_node": 4}, (2, 1, 1)),
        ("smallest legal that fits", LLAMA_70B, 80, {"gpus_per_node": 8, "max_model_len": 8192}, (2, 1, 1)),
        ("a longer context takes more", LLAMA_70B, 80, {"gpus_per_node": 8, "max_model_len": 131072}, (4, 1, 1)),
        ("a node is too small: stages over nodes", LLAMA_70B, 24, {"gpus_per_node": 4}, (4, 2, 2)),
        ("more stages where two are not enough", LLAMA_70B, 24, {"gpus_per_node": 2, "max_model_len": 8192}, (2, 4, 4)),
        ("stages inside a node where heads forbid more", QWEN2_7B, 5, {"gpus_per_node": 8, "max_model_len": 1024},
         (4, 2, 1)),
        ("the stages of the spec are kept", LLAMA_70B, 80, {"pipeline": 2, "gpus_per_node": 8, "max_model_len": 8192},
         (1, 2, 1)),
        ("the tensor size of the spec is kept", LLAMA_70B, 80, {"tensor": 1, "gpus_per_node": 8, "max_model_len": 8192},
         (1, 2, 1)),
        ("no more GPUs than allowed", LLAMA_8B, 24, {"gpus_per_node": 4, "max_gpus": 1}, (1, 1, 1)),
        ("a length nobody named takes no second node", LLAMA_8B, 24, {"gpus_per_node": 1}, (1, 1, 1)),
        ("nodes of the spec", LLAMA_70B, 24, {"gpus_per_node": 4, "nodes": 2, "max_model_len": 8192}, (4, 2, 2)),
        ("a scenario's length", LLAMA_70B, 80, {"max_model_len": 16384, "firm_length": False}, (2, 1, 1)),
        ("GPU memory not known", LLAMA_70B, None, {"gpus_per_node": 8}, (1, 1, 1)),
        ("nothing known", ModelFacts(), None, {}, (1, 1, 1)),
        ("on the CPU", LLAMA_8B, None, {"max_gpus": 0}, (1, 1, 1)),
        ("heads not known: one GPU is all that is surely legal", ModelFacts(weights_bytes=4 * GIB), 8, {}, (1, 1, 1)),
        ("a size that cuts 4-bit groups is passed over", AWQ, 80, {"gpus_per_node": 8}, (1, 2, 1)),
        ("but taken where nothing else fits", AWQ, 80, {"gpus_per_node": 8, "pipeline": 1}, (2, 1, 1)),
    ],
)  # fmt: skip
def test_auto(what: str, facts: ModelFacts, memory: int | None, more: dict[str, Any], layout: tuple[int, ...]) -> None:
    assert shape(auto(facts, memory, **more)) == layout, what


@pytest.mark.parametrize(
    ("what", "facts", "memory", "more", "reason", "words"),
    [
        ("heads", QWEN2_7B, None, {"tensor": 8}, "BadParallelism",
         ["parallelism.tensor is 8", "28 attention heads are not divisible by 8", "legal sizes: 1, 2, 4."]),
        ("KV heads", QWEN2_7B, None, {"tensor": 14}, "BadParallelism", ["4 KV heads", "14", "legal sizes: 1, 2, 4."]),
        ("tensor over nodes", LLAMA_8B, None, {"tensor": 8, "gpus_per_node": 4}, "BadParallelism",
         ["parallelism.tensor is 8", "the largest node has 4 GPUs", "legal sizes: 1, 2, 4;"]),
        ("more stages than layers", LLAMA_8B, None, {"pipeline": 64}, "BadParallelism",
         ["parallelism.pipeline is 64", "32 layers", "1 to 32"]),
        ("uneven nodes", LLAMA_8B, None, {"pipeline": 4, "nodes": 3}, "BadParallelism",
         ["parallelism.nodes is 3", "legal: 1, 2, 4"]),
        ("too few nodes", LLAMA_8B, None, {"tensor": 4, "pipeline": 4, "nodes": 2, "gpus_per_node": 4},
         "BadParallelism", ["parallelism.nodes is 2", "8 GPUs on a node", "use nodes 4"]),
        ("more GPUs than the replica has", LLAMA_8B, None, {"tensor": 4, "max_gpus": 2}, "BadParallelism",
         ["4 GPUs", "may have 2", "gpu.count"]),
        ("more nodes than allowed", LLAMA_8B, None, {"tensor": 4, "pipeline": 2, "gpus_per_node": 4, "max_nodes": 1},
         "BadParallelism", ["need 2 nodes", "may span 1"]),
        ("weights", LLAMA_70B, 80, {"gpus_per_node": 8, "max_model_len": 8192}, "ImpossibleFit",
         ["parallelism.tensor 1 × pipeline 1", "131.42 GiB", "73.60 GiB", "tensor 2 (legal: 1, 2, 4, 8)",
          "a quantized model"]),
        ("one request", LLAMA_8B, 24, {"max_model_len": 131072}, "ImpossibleFit",
         ["vllm.maxModelLen is 131072", "16.00 GiB of KV cache", "tensor 2", "vllm.maxModelLen up to 58331",
          "GPUs with 33.65 GiB"]),
        ("Auto in one node", LLAMA_70B, 24, {"tensor": "Auto", "pipeline": "Auto", "gpus_per_node": 4, "max_nodes": 1},
         "ImpossibleFit", ["the largest that Auto may take", "tensor 4 × pipeline 1"]),
    ],
)  # fmt: skip
def test_what_cannot_work_says_what_would(
    what: str, facts: ModelFacts, memory: int | None, more: dict[str, Any], reason: str, words: list[str]
) -> None:
    error = refused(facts, memory, **more)
    assert error.reason == reason, what
    for word in words:
        assert word in error.message, what


def test_the_room_that_is_left_becomes_kv_cache() -> None:
    sizing = sized(LLAMA_8B, 80, max_model_len=8192, max_num_seqs=256)
    weights = weights_bytes(LLAMA_8B)
    assert weights is not None
    tokens = (80 * GIB * 92 // 100 - weights - RESERVE_BYTES) // 131_072
    assert sizing.kv_cache_tokens == tokens
    assert sizing.weights_bytes == weights
    assert sizing.max_model_len == 8192
    assert any(f"That is {tokens // 8192} × 8192 tokens; of up to 256 requests" in line for line in sizing.explanation)


@pytest.mark.parametrize(
    ("what", "more", "length"),
    [
        ("explicit stays", {"max_model_len": 4096}, 4096),
        ("nobody asked: what fits", {}, 38656),
        ("a scenario's is kept where it fits", {"max_model_len": 4096, "firm_length": False}, 4096),
        ("a scenario's is cut to what fits", {"max_model_len": 65536, "firm_length": False}, 38656),
    ],
)
def test_length(what: str, more: dict[str, Any], length: int) -> None:
    assert sized(LLAMA_8B, 24, **more).max_model_len == length + (length == 38656) * 3072, what


def test_a_length_that_fits_and_that_nobody_named_is_left_to_the_engine() -> None:
    assert sized(LLAMA_8B, 80).max_model_len is None


def test_a_scenario_does_not_go_beyond_the_models_context() -> None:
    short = LLAMA_8B.model_copy(update={"context_length": 2048})
    assert sized(short, 80, max_model_len=16384, firm_length=False).max_model_len == 2048
    explicit = sized(short, 80, max_model_len=16384)
    assert explicit.max_model_len == 16384
    assert any("above the model's context 2048" in line for line in explicit.explanation)


def test_tight_is_taken_with_a_warning() -> None:
    sizing = sized(LLAMA_8B, 18, max_model_len=8192)
    assert any(line.startswith("Tight:") for line in sizing.explanation)
    assert (sizing.kv_cache_tokens or 0) >= 8192
    assert not any(line.startswith("Tight:") for line in sized(LLAMA_8B, 24, max_model_len=8192).explanation)


def test_a_sliding_window_is_all_that_must_fit() -> None:
    sliding = LLAMA_8B.model_copy(update={"sliding_window": 4096})
    assert sized(sliding, 24, max_model_len=131072).max_model_len == 131072
    assert refused(LLAMA_8B, 24, max_model_len=131072).reason == "ImpossibleFit"


def test_32_bit_checkpoints_are_loaded_with_16_bits() -> None:
    single = LLAMA_8B.model_copy(update={"dtype_bytes": 4})
    assert (
        sized(single, 24, max_model_len=8192).kv_cache_tokens == sized(LLAMA_8B, 24, max_model_len=8192).kv_cache_tokens
    )


def test_an_8_bit_cache_holds_twice_as_much() -> None:
    full, half = sized(LLAMA_8B, 24).kv_cache_tokens, sized(LLAMA_8B, 24, kv_bits=8.0).kv_cache_tokens
    assert full is not None
    assert half in (2 * full, 2 * full + 1)


def test_mla_keeps_little() -> None:
    sizing = auto(MLA, 141, gpus_per_node=8)
    assert shape(sizing) == (8, 1, 1)
    assert kv_bytes_per_token(MLA, 8) == 70_272


@pytest.mark.parametrize(
    ("what", "facts", "more", "words"),
    [
        ("GPU memory", LLAMA_8B, {}, "GPU memory is not known"),
        ("weights", ModelFacts(layers=2), {}, "The size of the weights is not known"),
        ("KV", ModelFacts(weights_bytes=9), {}, "layers, kvHeads and headDim"),
        ("MLA", ModelFacts(weights_bytes=9, kv_lora_rank=512), {}, "kvLoraRank and qkRopeHeadDim"),
        ("context", QWEN2_7B, {}, "context length is not known"),
        ("heads", ModelFacts(), {"tensor": 2}, "which tensor sizes are legal cannot be told"),
        ("nodes", LLAMA_8B, {"tensor": 2}, "GPUs of a node are not known"),
    ],
)
def test_what_is_not_known_is_said(what: str, facts: ModelFacts, more: dict[str, Any], words: str) -> None:
    assert any(words in line for line in sized(facts, **more).explanation), what


def test_auto_says_what_it_took_and_what_was_legal() -> None:
    lines = auto(LLAMA_70B, 80, gpus_per_node=8, max_model_len=8192).explanation
    assert lines[0] == "Auto takes tensor 2 × pipeline 1 on 1 node (legal tensor sizes: 1, 2, 4, 8)."


small = st.none() | st.integers(1, 64)
models = st.builds(
    ModelFacts,
    weights_bytes=st.none() | st.integers(1, 200).map(lambda gibs: gibs * GIB),
    layers=small,
    attention_heads=small,
    kv_heads=small,
    head_dim=st.none() | st.sampled_from([64, 128]),
    intermediate_size=st.none() | st.integers(1, 64).map(lambda n: n * 128),
    context_length=st.none() | st.sampled_from([2048, 8192, 131072]),
    quantization=st.sampled_from([None, "awq", "fp8"]),
    sliding_window=st.none() | st.just(4096),
)
requests = st.builds(
    SizingRequest,
    models,
    gpu_memory_bytes=st.none() | st.sampled_from([5, 24, 80]).map(lambda gibs: gibs * GIB),
    gpus_per_node=st.none() | st.integers(1, 8),
    max_gpus=st.none() | st.integers(0, 16),
    max_nodes=st.none() | st.integers(1, 4),
    tensor=st.just("Auto") | st.integers(1, 16),
    pipeline=st.just("Auto") | st.integers(1, 8),
    nodes=st.none() | st.integers(1, 4),
    max_model_len=st.none() | st.sampled_from([256, 8192, 131072]),
    firm_length=st.booleans(),
    max_num_seqs=st.none() | st.integers(1, 512),
    engine=st.sampled_from(["VLLM", "LlamaCpp", "Ollama"]),
)


@given(requests)
def test_every_request_is_sized_or_refused_in_words(request: SizingRequest) -> None:
    try:
        sizing = size(request)
    except InvalidSpec as error:
        assert error.reason in {"BadParallelism", "ImpossibleFit"}
        assert error.message.endswith(".")
        return
    assert sizing == size(request)
    assert all(0 < len(line) <= 512 for line in sizing.explanation)
    if request.engine != "VLLM":
        return
    assert request.tensor in ("Auto", sizing.tensor)
    assert request.pipeline in ("Auto", sizing.pipeline)
    if request.max_model_len and request.firm_length:
        assert sizing.max_model_len == request.max_model_len
    assert sizing.pipeline % sizing.nodes == 0
    if request.tensor == "Auto" and request.max_gpus != 0:
        assert sizing.tensor == 1 or sizing.tensor in (legal_tensor_sizes(request.facts) or ())
    if request.max_gpus:
        assert sizing.gpus <= request.max_gpus
    if request.gpus_per_node and request.max_gpus != 0:
        assert sizing.gpus // sizing.nodes <= request.gpus_per_node


@given(requests, st.integers(1, 100))
def test_more_gpu_memory_never_needs_more_gpus(request: SizingRequest, more: int) -> None:
    if request.gpu_memory_bytes is None or request.engine != "VLLM":
        return
    facts = request.facts.model_copy(update={"quantization": None})
    firm = replace(request, facts=facts, firm_length=True, max_model_len=request.max_model_len or 2048)
    try:
        before = size(firm)
    except InvalidSpec:
        return
    after = size(replace(firm, gpu_memory_bytes=request.gpu_memory_bytes + more * GIB))
    tight = any(line.startswith("Tight") for line in before.explanation)
    assert tight or after.gpus <= before.gpus
