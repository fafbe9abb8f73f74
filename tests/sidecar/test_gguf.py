"""GGUF headers: real ones by the format's own library, and ones that lie."""

import re
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.resources.facts import ModelFacts
from agentfleet.sidecar.facts import FILE_TYPES, PLAIN_FILE_TYPES, of_gguf
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.gguf import KEPT_STRING, Array, Header, read_header
from e2e.models import tiny_gguf


def header_of(content: bytes) -> Header:
    return read_header(lambda start, length: content[start : start + length], "m.gguf")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf.make(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


def test_a_real_file(tiny: bytes) -> None:
    facts = of_gguf([header_of(tiny)])
    assert facts == {
        "architecture": "llama",
        "parameters": 205_120,
        "layers": 2,
        "hiddenSize": 64,
        "intermediateSize": 128,
        "attentionHeads": 4,
        "kvHeads": 2,
        "vocabSize": 1024,
        "contextLength": 4096,
        "dtypeBytes": 4,
        "tiedEmbeddings": False,
        "chatTemplate": True,
    }
    known = ModelFacts.model_validate(facts)
    assert known.kv_heads == 2


def test_only_the_header_is_read(tiny: bytes) -> None:
    furthest = 0

    def read(start: int, length: int) -> bytes:
        nonlocal furthest
        furthest = max(furthest, start)
        return tiny[start : start + length]

    read_header(read, "m.gguf")
    assert furthest < 100_000


def test_every_file_type_of_the_library_has_its_name() -> None:
    for kind in gguf.LlamaFileType:
        name = re.sub("^(ALL|MOSTLY)_", "", kind.name)
        if kind.value in PLAIN_FILE_TYPES:
            assert name in ("F32", "F16", "BF16")
        elif name != "GUESSED":
            assert FILE_TYPES[kind.value] == name


def written(path: Path, architecture: str = "deepseek2") -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    return writer


def test_experts_latent_attention_and_layers_that_differ(tmp_path: Path) -> None:
    writer = written(tmp_path / "m.gguf")
    writer.add_expert_count(64)
    writer.add_kv_lora_rank(512)
    writer.add_rope_dimension_count(64)
    writer.add_sliding_window(4096)
    writer.add_key_length(192)
    writer.add_head_count_kv([0, 8, 4])
    writer.add_token_list([f"t{n}" for n in range(5000)])
    writer.add_token_scores([0.5] * 5000)
    writer.add_chat_template("x" * 10_000)
    writer.add_array("general.tags", ["a", "b"])
    writer.add_bool("x.flag", True)
    writer.add_float64("x.double", 0.25)
    writer.add_int8("x.small", -3)
    writer.add_tensor("token_embd.weight", np.zeros((10, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = header_of((tmp_path / "m.gguf").read_bytes())
    assert of_gguf([header]) == {
        "architecture": "deepseek2",
        "parameters": 320,
        "kvHeads": 8,
        "headDim": 192,
        "vocabSize": 5000,
        "experts": 64,
        "kvLoraRank": 512,
        "qkRopeHeadDim": 64,
        "slidingWindow": 4096,
        "quantization": "Q4_K_M",
        "tiedEmbeddings": True,
        "chatTemplate": True,
    }
    assert header.metadata["x.flag"] is True
    assert header.metadata["x.double"] == 0.25
    assert header.metadata["x.small"] == -3
    assert header.metadata["general.tags"] == Array(2)
    template = header.metadata["tokenizer.chat_template"]
    assert isinstance(template, str)
    assert len(template) == KEPT_STRING


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


HUGE = 2**62
KEY = u64(1) + b"k"
LIES: dict[str, bytes] = {
    "nothing": b"",
    "another format": b"PK\x03\x04" + bytes(100),
    "big endian": b"GGUF" + struct.pack(">I", 3) + bytes(100),
    "version 1": b"GGUF" + u32(1) + bytes(100),
    "tensors": b"GGUF" + u32(3) + u64(HUGE) + u64(0),
    "keys": b"GGUF" + u32(3) + u64(0) + u64(HUGE),
    "key": b"GGUF" + u32(3) + u64(0) + u64(1) + u64(HUGE),
    "string": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(8) + u64(HUGE),
    "type": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(99),
    "array": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(9) + u32(4) + u64(HUGE),
    "array of strings": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(9) + u32(8) + u64(HUGE),
    "arrays in arrays": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(9) + (u32(9) + u64(1)) * 50,
    "array of nothing": b"GGUF" + u32(3) + u64(0) + u64(1) + KEY + u32(9) + u32(77) + u64(1),
    "dimensions": b"GGUF" + u32(3) + u64(1) + u64(0) + u64(1) + b"t" + u32(2**31),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_lies(lie: str) -> None:
    with pytest.raises(ModelFailed, match=r"m\.gguf is no GGUF file that can be read") as caught:
        header_of(LIES[lie])
    assert caught.value.reason == "BadSource"


@given(st.data())
def test_damage_is_an_error_or_harmless(tiny: bytes, data: st.DataObject) -> None:
    changed = bytearray(tiny[:40_000])
    for _ in range(data.draw(st.integers(1, 5))):
        # The first kilobyte holds all counts and most types.
        changed[data.draw(st.integers(4, 1023) | st.integers(4, 39_999))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    try:
        facts = of_gguf([header_of(bytes(changed[:cut]))])
    except ModelFailed as failure:
        assert failure.reason == "BadSource"
        assert len(str(failure)) < 5000
    else:
        ModelFacts.model_validate(facts)


@given(st.binary(max_size=300))
def test_anything_else(content: bytes) -> None:
    for start in (b"", b"GGUF", b"GGUF" + u32(3) + u64(2) + u64(3)):
        try:
            of_gguf([header_of(start + content)])
        except ModelFailed as failure:
            assert failure.reason == "BadSource"
