"""Weights, KV cache and bits per weight: every figure that was measured comes out of the arithmetic."""

import pytest

from agentfleet.planning.kv_type import kv_cache_bits
from agentfleet.planning.memory import kv_bytes_per_token, kv_tokens, parameters, weights_bytes
from agentfleet.planning.quantization import TENSOR_BITS, advice, checkpoint_bits, file_bits
from agentfleet.resources.facts import ModelFacts
from tests.planning.shapes import LLAMA_8B, LLAMA_70B, MIXTRAL, MLA, QWEN2_7B, QWEN3_8B

GIB = 2**30
SHAPES = [LLAMA_8B, LLAMA_70B, QWEN2_7B, QWEN3_8B, MIXTRAL]


@pytest.mark.parametrize(
    ("facts", "count", "bf16", "fp8", "awq", "kv", "kv_8192"),
    [
        (LLAMA_8B, 8_030_261_248, 14.96, 8.46, 5.33, 131_072, 1.0),
        (LLAMA_70B, 70_553_706_496, 131.42, 67.67, 37.04, 327_680, 2.5),
        (QWEN2_7B, 7_615_616_512, 14.19, 8.11, 5.19, 57_344, 0.438),
        (QWEN3_8B, 8_190_735_360, 15.26, 8.79, 5.68, 147_456, 1.125),
        (MIXTRAL, 46_702_792_704, 86.99, 43.74, 22.96, 131_072, 1.0),
    ],
)
def test_measured_models(
    facts: ModelFacts, count: int, bf16: float, fp8: float, awq: float, kv: int, kv_8192: float
) -> None:
    assert parameters(facts) == count
    for quantization, expected in ((None, bf16), ("fp8", fp8), ("awq", awq)):
        size = weights_bytes(facts.model_copy(update={"quantization": quantization}))
        assert size is not None
        assert round(size / GIB, 2) == expected
    assert kv_bytes_per_token(facts) == kv
    assert round(kv * 8192 / GIB, 3) == kv_8192


def test_vllm_holds_as_many_tokens_as_it_said() -> None:
    tiny = ModelFacts(layers=4, attention_heads=4, kv_heads=2, head_dim=32)
    assert kv_bytes_per_token(tiny) == 1024
    assert kv_tokens(GIB, tiny) == 1_048_576
    assert kv_tokens(GIB, tiny, tensor=2) == 2_097_152


def test_llama_cpp_shrinks_its_cache_as_it_said() -> None:
    """65,536 tokens of a model whose 16-bit cache takes 64 MiB for them: 30 MiB less, then 16 less again."""
    model = ModelFacts(layers=4, kv_heads=2, head_dim=32)
    sizes = []
    for name in ("f16", "q8_0", "q4_0"):
        each = kv_bytes_per_token(model, bits=kv_cache_bits(["-ctk", name, "-ctv", name]))
        assert each is not None
        sizes.append(each * 65_536 // 2**20)
    assert sizes == [64, 34, 18]


@pytest.mark.parametrize(
    ("arguments", "bits"),
    [
        ([], 16.0),
        (["--kv-cache-dtype=fp8"], 8.0),
        (["--kv-cache-dtype", "fp8_e4m3"], 8.0),
        (["--kv_cache_dtype=fp8"], 8.0),
        (["--kv-cache-dtype=auto"], 16.0),
        (["--kv-cache-dtype=sparkles"], 16.0),
        (["--cache-type-k=q8_0"], 12.25),
        (["-ctk", "q8_0", "-ctv", "q4_0"], 6.5),
        (["--kv-cache-dtype=fp8", "--kv-cache-dtype=auto"], 16.0),
        (["--kv-cache-dtype"], 16.0),
    ],
)
def test_bits_of_the_kv_cache(arguments: list[str], bits: float) -> None:
    assert kv_cache_bits(arguments) == bits


@pytest.mark.parametrize(
    ("what", "facts", "tensor", "pipeline", "each"),
    [
        ("KV heads are split", LLAMA_8B, 4, 1, 131_072 // 4),
        ("one head each", LLAMA_8B, 8, 1, 131_072 // 8),
        ("then replicated", LLAMA_8B, 16, 1, 131_072 // 8),
        ("layers are split over stages", LLAMA_8B, 1, 4, 131_072 // 4),
        ("the largest of uneven stages counts", LLAMA_8B, 1, 3, 131_072 * 11 // 32),
        ("MLA: one latent in each layer, on every GPU", MLA, 8, 1, 61 * (512 + 64) * 2),
        ("MLA without its width", MLA.model_copy(update={"qk_rope_head_dim": None}), 1, 1, None),
        ("no KV heads", LLAMA_8B.model_copy(update={"kv_heads": None}), 1, 1, None),
        ("no head size", ModelFacts(layers=2, kv_heads=2), 1, 1, None),
        ("no layers", ModelFacts(kv_heads=2, head_dim=64), 1, 1, None),
    ],
)
def test_kv_cache_of_one_token(what: str, facts: ModelFacts, tensor: int, pipeline: int, each: int | None) -> None:
    assert kv_bytes_per_token(facts, tensor, pipeline) == each, what


@pytest.mark.parametrize(
    ("what", "facts", "size"),
    [
        ("files win over arithmetic", LLAMA_8B.model_copy(update={"weights_bytes": 5}), 5),
        ("parameters × bytes", ModelFacts(parameters=1000, dtype_bytes=2), 2000),
        ("parameters in GGUF", ModelFacts(parameters=8000, quantization="Q8_0"), 8500),
        ("a mix of types", ModelFacts(parameters=8000, quantization="q4_k_m"), 4890),
        ("4 bits with scales", ModelFacts(parameters=256, quantization="gptq"), 133),
        ("no parameters", ModelFacts(dtype_bytes=2), None),
        ("no form", ModelFacts(parameters=1000), None),
        ("a form that nobody knows", ModelFacts(parameters=1000, quantization="sparkles"), None),
        ("an architecture that the formula does not know", LLAMA_8B.model_copy(update={"architecture": "GPT2"}), None),
        ("one missing dimension", LLAMA_8B.model_copy(update={"tied_embeddings": None}), None),
    ],
)
def test_weights(what: str, facts: ModelFacts, size: int | None) -> None:
    assert weights_bytes(facts) == size, what


def test_tied_embeddings_count_once() -> None:
    tied = parameters(LLAMA_8B.model_copy(update={"tied_embeddings": True}))
    assert tied == 8_030_261_248 - 128256 * 4096


def test_bits_per_weight_are_those_of_the_gguf_library() -> None:
    import gguf  # noqa: PLC0415 - only this test needs it

    for name, bits in TENSOR_BITS.items():
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        assert size * 8 / block == bits, name


@pytest.mark.parametrize(
    ("name", "bits"),
    [("Q4_K_M", 4.89), ("Q4_K", 4.89), ("q5_k_m", 5.7), ("Q5_K", 5.7), ("Q2_K", 3.16), ("Q4_0", 4.5), ("Q5_1", 6.0),
     ("Q5_K_S", 5.57), ("Q8_0", 8.5), ("bfloat16", 16.0), ("fp32", 32.0)],
)  # fmt: skip
def test_forms_of_whole_files(name: str, bits: float) -> None:
    assert file_bits(name, None) == bits
    assert checkpoint_bits(name) is None


def test_sizes_named_in_requirements() -> None:
    """Q4_0 saves about three quarters of 16-bit weights, Q8_0 about half."""
    assert (file_bits("Q4_0", None) or 0) / 16 == pytest.approx(0.25, abs=0.05)
    assert (file_bits("Q8_0", None) or 0) / 16 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("gigabytes", "device", "models", "quantization"),
    [(0.5, "Low", 1, "Q2_K"), (1, "Low", 1, "Q4_K_M"), (1.9, "Low", 1, "Q4_K_M"), (2, "Medium", 2, "Q5_K_M"),
     (4, "Medium", 2, "Q5_K_M"), (6, "High", 3, "Q8_0"), (80, "High", 3, "Q8_0")],
)  # fmt: skip
def test_advice_by_device(gigabytes: float, device: str, models: int, quantization: str) -> None:
    given = advice(int(gigabytes * 10**9))
    assert (given.device, given.models, given.quantization) == (device, models, quantization)
