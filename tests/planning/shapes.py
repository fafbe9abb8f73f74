"""Shapes of known models, as their config.json gives them. Parameter counts were checked against transformers."""

from agentfleet.resources.facts import ModelFacts

LLAMA_8B = ModelFacts(
    architecture="LlamaForCausalLM", layers=32, hidden_size=4096, intermediate_size=14336, attention_heads=32,
    kv_heads=8, vocab_size=128256, tied_embeddings=False, dtype_bytes=2, context_length=131072,
)  # fmt: skip
LLAMA_70B = LLAMA_8B.model_copy(
    update={"layers": 80, "hidden_size": 8192, "intermediate_size": 28672, "attention_heads": 64}
)
QWEN2_7B = ModelFacts(
    architecture="Qwen2ForCausalLM", layers=28, hidden_size=3584, intermediate_size=18944, attention_heads=28,
    kv_heads=4, vocab_size=152064, tied_embeddings=False, dtype_bytes=2,
)  # fmt: skip
QWEN3_8B = ModelFacts(
    architecture="Qwen3ForCausalLM", layers=36, hidden_size=4096, intermediate_size=12288, attention_heads=32,
    kv_heads=8, head_dim=128, vocab_size=151936, tied_embeddings=False, dtype_bytes=2,
)  # fmt: skip
MIXTRAL = ModelFacts(
    architecture="MixtralForCausalLM", layers=32, hidden_size=4096, intermediate_size=14336, attention_heads=32,
    kv_heads=8, vocab_size=32000, tied_embeddings=False, dtype_bytes=2, experts=8,
)  # fmt: skip
MLA = ModelFacts(
    architecture="DeepseekV3ForCausalLM", layers=61, hidden_size=7168, intermediate_size=18432, attention_heads=128,
    kv_heads=128, vocab_size=129280, kv_lora_rank=512, qk_rope_head_dim=64, weights_bytes=688 * 10**9,
)  # fmt: skip
