"""Language models small enough for a test: random weights, real format, a megabyte or ten.

It is a Llama with a byte-level BPE tokenizer of its own and a chat template, in one GGUF file that llama-server and
Ollama both load. What it says is noise; that it is loaded, tokenised, batched, streamed and counted is real.

A file is the same, byte for byte, wherever it is made (with the locked versions of its three packages), so its digest
can stand in a manifest. It must not depend on the clock, the platform or the machine's files.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONTEXT_LENGTH = 4096
VOCABULARY = 1024
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = Path(__file__).with_name("corpus.txt")

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Shape:
    """The dimensions of a Llama."""

    embedding: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int

    @property
    def head_dim(self) -> int:
        return self.embedding // self.heads


TINY = Shape(embedding=64, feed_forward=128, layers=2, heads=4, kv_heads=2)
# Deep and thin: a layer costs time whatever its width, so this one is slow enough to queue, drain and cut, yet small.
SLOW = Shape(embedding=32, feed_forward=32, layers=400, heads=2, kv_heads=1)


def make(path: Path, *, shape: Shape = TINY, name: str = "tiny", seed: int = 0) -> Path:
    """Write the model to `path`, whole or not at all, and return the path; another `seed` gives another model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".gguf-") as folder:
        part = Path(folder, path.name)
        _write(part, shape, name, seed)
        part.chmod(0o644)  # pods read it under another user
        part.replace(path)
    return path


def _write(path: Path, shape: Shape, name: str, seed: int) -> None:
    tokens, merges = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(SPECIAL.index("<s>"))
    writer.add_eos_token_id(SPECIAL.index("<|im_end|>"))
    writer.add_pad_token_id(SPECIAL.index("<pad>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for tensor, values in _weights(shape, len(tokens), seed).items():
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer, learnt from the text beside this file."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([_CORPUS.read_text(encoding="utf-8")], trainer)
    return bpe


def _vocabulary() -> tuple[list[str], list[str]]:
    """Vocabulary in the order of its ids, and the merges ("a b")."""
    learnt = json.loads(tokenizer().to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in learnt["merges"]]
    return tokens, merges


def _weights(shape: Shape, vocabulary: int, seed: int) -> dict[str, Matrix]:
    # RandomState rather than default_rng: its stream is frozen for good, across versions of NumPy.
    random = np.random.RandomState(seed)

    def matrix(rows: int, columns: int) -> Matrix:
        return (random.standard_normal((rows, columns)) * 0.05).astype(np.float32)

    def ones() -> Matrix:
        return np.ones(shape.embedding, dtype=np.float32)

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    weights = {
        "token_embd.weight": matrix(vocabulary, shape.embedding),
        "output_norm.weight": ones(),
        "output.weight": matrix(vocabulary, shape.embedding),
    }
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        weights |= {
            block + "attn_norm.weight": ones(),
            block + "attn_q.weight": matrix(queries, shape.embedding),
            block + "attn_k.weight": matrix(keys, shape.embedding),
            block + "attn_v.weight": matrix(keys, shape.embedding),
            block + "attn_output.weight": matrix(shape.embedding, queries),
            block + "ffn_norm.weight": ones(),
            block + "ffn_gate.weight": matrix(shape.feed_forward, shape.embedding),
            block + "ffn_up.weight": matrix(shape.feed_forward, shape.embedding),
            block + "ffn_down.weight": matrix(shape.embedding, shape.feed_forward),
        }
    return weights
