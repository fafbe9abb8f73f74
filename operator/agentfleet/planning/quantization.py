"""Bits per weight of the forms that models are stored in, and which GGUF form suits which device. Pure tables."""

from dataclasses import dataclass
from typing import Literal

TENSOR_BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q4_0": 4.5, "Q4_1": 5.0, "Q5_0": 5.5, "Q5_1": 6.0, "Q8_0": 8.5,
    "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "IQ1_S": 1.5625, "IQ1_M": 1.75,
    "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "IQ3_XXS": 3.0625, "IQ3_S": 3.4375, "IQ4_NL": 4.5,
    "IQ4_XS": 4.25, "TQ1_0": 1.6875, "TQ2_0": 2.0625, "MXFP4": 4.25, "NVFP4": 4.5,
}  # fmt: skip
"""GGUF tensor types: exact, scales included."""

_FILE_BITS = {
    "Q2_K": 3.16, "Q3_K_S": 3.64, "Q3_K_M": 4.0, "Q3_K_L": 4.3, "Q4_K_S": 4.67, "Q4_K_M": 4.89, "Q5_K_S": 5.57,
    "Q5_K_M": 5.7, "IQ3_XXS": 3.25, "IQ4_XS": 4.46, "IQ4_NL": 4.68,
}  # fmt: skip
"""GGUF files are mixes of tensor types; these are a whole 8B model's, as llama.cpp's own tool measures them."""

_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "FP16": "F16", "FLOAT16": "F16", "BFLOAT16": "BF16",
            "FP32": "F32", "FLOAT32": "F32"}  # fmt: skip

_GROUPED_4_BIT = 4 + (16 + 4) / 128
_CHECKPOINT_BITS = {
    "awq": _GROUPED_4_BIT, "auto_awq": _GROUPED_4_BIT, "awq_marlin": _GROUPED_4_BIT, "gptq": _GROUPED_4_BIT,
    "auto_gptq": _GROUPED_4_BIT, "gptq_marlin": _GROUPED_4_BIT, "int4": _GROUPED_4_BIT,
    "fp8": 8.0, "fbgemm_fp8": 8.0, "int8": 8.0, "mxfp8": 8.25, "mxfp4": 4.25, "modelopt_fp4": 4.5,
}  # fmt: skip
"""Checkpoints of vLLM: 4-bit ones with a 16-bit scale and a 4-bit zero point for each 128 weights. Embeddings and norms
stay at 16 bits, unlike in GGUF files."""


def checkpoint_bits(quantization: str | None) -> float | None:
    """Bits of one weight of a linear layer in a quantized checkpoint; None for other forms."""
    return _CHECKPOINT_BITS.get((quantization or "").lower())


def file_bits(quantization: str | None, dtype_bytes: int | None) -> float | None:
    """Mean bits of one weight of the whole model; None where the form is not known."""
    if quantization is None:
        return None if dtype_bytes is None else 8.0 * dtype_bytes
    name = quantization.upper()
    name = _ALIASES.get(name, name)
    return _FILE_BITS.get(name, TENSOR_BITS.get(name))


@dataclass(frozen=True)
class Advice:
    """What a device with so much memory for models is good for."""

    device: Literal["Low", "Medium", "High"]
    models: int
    """Models at once."""
    quantization: str
    """GGUF form that balances size and quality there."""
    reason: str


_GB = 10**9
_ADVICE = (
    (1 * _GB, Advice("Low", 1, "Q2_K", "under 1 GB only the smallest form fits, at a clear loss of quality")),
    (2 * _GB, Advice("Low", 1, "Q4_K_M", "the general choice for phones and basic CPUs")),
    (6 * _GB, Advice("Medium", 2, "Q5_K_M", "desktops and medium devices have room for better quality")),
)
_PLENTY = Advice("High", 3, "Q8_0", "workstations have room for nearly the quality of the original")


def advice(memory_bytes: int) -> Advice:
    """The advice for a device that has `memory_bytes` for models, in GPU memory or RAM."""
    return next((row for below, row in _ADVICE if memory_bytes < below), _PLENTY)
