"""Legal parallel sizes are those that vLLM accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.planning.parallel import (
    legal_pipeline_sizes,
    legal_tensor_sizes,
    possible_tensor_sizes,
    tensor_doubt,
    tensor_problems,
)
from agentfleet.resources.facts import ModelFacts
from tests.planning.shapes import LLAMA_8B, LLAMA_70B, MIXTRAL, MLA, QWEN2_7B, QWEN3_8B


@pytest.mark.parametrize(
    ("what", "facts", "legal"),
    [
        ("8 KV heads, replicated on 16", LLAMA_8B, (1, 2, 4, 8, 16)),
        ("64 heads, 8 KV heads", LLAMA_70B, (1, 2, 4, 8, 16)),
        ("28 heads, 4 KV heads: not 7, not 14", QWEN2_7B, (1, 2, 4)),
        ("8B with its own head size", QWEN3_8B, (1, 2, 4, 8, 16)),
        ("experts", MIXTRAL, (1, 2, 4, 8, 16)),
        ("MLA: the latent is replicated, so KV heads forbid nothing", MLA, (1, 2, 4, 8, 16)),
        ("multi-query: one KV head on every GPU", ModelFacts(attention_heads=12, kv_heads=1), (1, 2, 3, 4, 6, 12)),
        ("12 heads, 4 KV heads: not 3, not 6", ModelFacts(attention_heads=12, kv_heads=4), (1, 2, 4, 12)),
        ("odd feed-forward width", ModelFacts(attention_heads=8, kv_heads=8, intermediate_size=4098), (1, 2)),
        ("the padded vocabulary counts", ModelFacts(attention_heads=9, kv_heads=9, vocab_size=100), (1,)),
        ("no KV heads known", ModelFacts(attention_heads=8), None),
        ("nothing known", ModelFacts(), None),
    ],
)
def test_legal_tensor_sizes(what: str, facts: ModelFacts, legal: tuple[int, ...] | None) -> None:
    assert legal_tensor_sizes(facts, 16) == legal, what


def test_known_facts_rule_sizes_out_even_when_others_are_unknown() -> None:
    assert possible_tensor_sizes(ModelFacts(attention_heads=6), 6) == (1, 2, 3, 6)
    assert possible_tensor_sizes(ModelFacts(), 4) == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("facts", "size", "words"),
    [
        (QWEN2_7B, 8, "28 attention heads are not divisible by 8"),
        (QWEN2_7B, 7, "4 KV heads can neither be divided nor replicated evenly over 7"),
        (ModelFacts(intermediate_size=100), 3, "feed-forward width 100 is not divisible by 3"),
        (ModelFacts(vocab_size=32001), 5, "vocabulary 32064 (padded) is not divisible by 5"),
    ],
)
def test_each_problem_is_told_in_words(facts: ModelFacts, size: int, words: str) -> None:
    assert words in list(tensor_problems(facts, size))


def test_a_4_bit_group_that_would_be_cut_is_a_doubt_not_a_rule() -> None:
    awq = ModelFacts(attention_heads=64, kv_heads=8, intermediate_size=29568, quantization="awq")
    assert 8 in (legal_tensor_sizes(awq) or ())
    assert "3696 of 29568" in (tensor_doubt(awq, 8) or "")
    assert tensor_doubt(awq, 1) is None
    assert tensor_doubt(awq.model_copy(update={"quantization": "fp8"}), 8) is None


@pytest.mark.parametrize(("layers", "legal"), [(3, (1, 2, 3)), (None, None), (100, tuple(range(1, 65)))])
def test_legal_pipeline_sizes(layers: int | None, legal: tuple[int, ...] | None) -> None:
    assert legal_pipeline_sizes(ModelFacts(layers=layers)) == legal


@given(heads=st.integers(1, 128), kv_heads=st.integers(1, 128), size=st.integers(1, 64))
def test_a_legal_size_gives_every_gpu_the_same_share(heads: int, kv_heads: int, size: int) -> None:
    legal = legal_tensor_sizes(ModelFacts(attention_heads=heads, kv_heads=kv_heads)) or ()
    assert 1 in legal
    if size in legal:
        assert heads % size == 0
        assert kv_heads % size == 0 or size % kv_heads == 0
