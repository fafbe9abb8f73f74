"""Facts about models: from config.json and its neighbours, far away by ranged reads, mounted, and after loading."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from agentfleet.resources.facts import ModelFacts
from agentfleet.sidecar.facts import of_config
from agentfleet.sidecar.inspection import LocalFiles
from agentfleet.sidecar.loader import main
from e2e.models import tiny_gguf
from tests.sidecar.conftest import COMMIT
from tests.sidecar.loading import Load, told
from tests.sidecar.standins import Bucket, Registry, Site

QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN_FACTS = {
    "architecture": "Qwen2ForCausalLM",
    "layers": 28,
    "hiddenSize": 3584,
    "intermediateSize": 18944,
    "attentionHeads": 28,
    "kvHeads": 4,
    "vocabSize": 152064,
    "contextLength": 32768,
    "tiedEmbeddings": False,
    "dtypeBytes": 2,
}


def safetensors(**shapes: list[int]) -> bytes:
    """A file with these tensors (2 bytes an element)."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (QWEN, QWEN_FACTS),
        # MLA and experts
        (
            {"num_attention_heads": 128, "n_routed_experts": 256, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
            {"attentionHeads": 128, "kvHeads": 128, "experts": 256, "kvLoraRank": 512, "qkRopeHeadDim": 64},
        ),
        # quantized, by new and old names
        (
            {"dtype": "float16", "quantization_config": {"quant_method": "awq"}},
            {"dtypeBytes": 2, "quantization": "awq"},
        ),
        # GPT-2's names; no key-value heads of its own
        (
            {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024},
            {"layers": 12, "hiddenSize": 768, "attentionHeads": 12, "kvHeads": 12, "contextLength": 1024},
        ),
        ({"n_head": 71, "multi_query": True}, {"attentionHeads": 71, "kvHeads": 1}),
        # several modalities
        (
            {"architectures": ["X"], "text_config": {"num_hidden_layers": 3}, "vision_config": {"hidden_size": 9}},
            {"architecture": "X", "layers": 3},
        ),
        ({"sliding_window": 4096}, {"slidingWindow": 4096}),
        # nonsense is unknown
        ({}, {}),
        (
            {
                "architectures": "X",
                "num_hidden_layers": "28",
                "hidden_size": -1,
                "vocab_size": 10**12,
                "num_attention_heads": True,
                "torch_dtype": 7,
                "quantization_config": {"quant_method": "x" * 100},
                "head_dim": None,
                "intermediate_size": [1],
            },
            {},
        ),
    ],
)
def test_config_json(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert of_config(config) == expected
    ModelFacts.model_validate(expected)


@pytest.fixture
def snapshot() -> dict[str, bytes]:
    return {
        "config.json": json.dumps(QWEN).encode(),
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "model-00001-of-00002.safetensors": safetensors(a=[100, 1000]),
        "model-00002-of-00002.safetensors": safetensors(b=[50, 1000], c=[]),
        "pytorch_model.bin": bytes(400_000),
    }


def weights(snapshot: dict[str, bytes]) -> int:
    return sum(len(content) for name, content in snapshot.items() if name.endswith(".safetensors"))


def expected(snapshot: dict[str, bytes]) -> dict[str, Any]:
    return QWEN_FACTS | {"parameters": 150_001, "weightsBytes": weights(snapshot), "chatTemplate": True}


def test_a_repository_is_inspected_without_its_weights(
    load: Load, hub: Any, target: Path, snapshot: dict[str, bytes]
) -> None:
    hub.files = snapshot
    load(hub, target, "hf://org/tiny", "--inspect")
    assert told(target)["facts"] == expected(snapshot)
    assert told(target)["revision"] == COMMIT
    assert told(target)["bytes"] == sum(map(len, snapshot.values())) - 400_000
    assert not target.exists()


def test_the_same_is_told_after_loading_and_when_it_was_loaded_before(
    load: Load, hub: Any, target: Path, snapshot: dict[str, bytes]
) -> None:
    hub.files = snapshot
    for _ in range(2):
        load(hub, target, "hf://org/tiny")
        assert told(target)["facts"] == expected(snapshot)
        assert told(target)["revision"] == COMMIT


def test_a_bucket_is_inspected_by_ranged_reads(
    load: Load, serve: Any, target: Path, snapshot: dict[str, bytes]
) -> None:
    bucket = Bucket(objects={f"m/{name}": content for name, content in snapshot.items()})
    bucket.url = serve(bucket.application())
    load(bucket, target, "s3://models/m", "--inspect")
    assert told(target)["facts"] == expected(snapshot)
    assert bucket.sent < 4000


def test_an_index_tells_the_parameters(load: Load, hub: Any, target: Path, snapshot: dict[str, bytes]) -> None:
    index = {"metadata": {"total_parameters": 7_000_000_000, "total_size": 14_000_000_000}}
    hub.files = snapshot | {"model.safetensors.index.json": json.dumps(index).encode()}
    load(hub, target, "hf://org/tiny", "--inspect")
    assert told(target)["facts"]["parameters"] == 7_000_000_000
    assert told(target)["facts"]["weightsBytes"] == weights(snapshot)


def test_a_gguf_on_a_web_server_is_inspected_by_its_header(load: Load, serve: Any, target: Path) -> None:
    content = tiny_gguf.make(target.parent / "made.gguf").read_bytes() + bytes(5_000_000)
    site = Site(files={"tiny.gguf": content})
    site.url = serve(site.application())
    load(site, target, "https://files.acme/tiny.gguf", "--inspect")
    assert told(target)["facts"]["parameters"] == 205_120
    assert told(target)["facts"]["weightsBytes"] == told(target)["bytes"] == len(content)
    assert site.sent < 1_100_000


def test_an_artifact_is_inspected(load: Load, serve: Any, target: Path) -> None:
    registry = Registry()
    registry.url = serve(registry.application())
    config = registry.layer(json.dumps(QWEN).encode(), "application/x", org_opencontainers_image_title="config.json")
    digest = registry.push([config])
    load(registry, target, "oci://r.acme/acme/tiny", "--inspect")
    assert told(target)["facts"] == QWEN_FACTS | {"chatTemplate": False}
    assert told(target)["revision"] == digest


def test_packed_layers_tell_no_facts(load: Load, serve: Any, target: Path) -> None:
    registry = Registry()
    registry.url = serve(registry.application())
    registry.push([registry.layer(b"x" * 100, "application/vnd.oci.image.layer.v1.tar")])
    load(registry, target, "oci://r.acme/acme/tiny", "--inspect")
    assert told(target)["facts"] is None
    assert told(target)["bytes"] == 100


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"[1]", "no JSON object"), (b"{", "is not JSON"), (b"[" * 100_000, "is not JSON"), (b"\xff", "is not JSON")],
)
def test_a_description_that_is_broken(load: Load, hub: Any, target: Path, content: bytes, part: str) -> None:
    hub.files = {"config.json": content}
    load(hub, target, "hf://org/tiny", "--inspect", code=1)
    assert told(target)["reason"] == "BadSource"
    assert part in told(target)["message"]
    # An engine may read it all the same.
    assert "no facts" in load(hub, target, "hf://org/tiny")
    assert told(target)["facts"] is None


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 2**60), struct.pack("<Q", 9) + b'{"a":{}}'])
def test_safetensors_that_lie(load: Load, hub: Any, target: Path, content: bytes) -> None:
    hub.files = {"config.json": b"{}", "model.safetensors": content}
    load(hub, target, "hf://org/tiny", "--inspect", code=1)
    assert told(target)["reason"] == "BadSource"


def mounted(place: Path, source: str, code: int = 0) -> Any:
    log = place.parent / "termination-log"
    arguments = ["--source", source, "--inspect", "--target", str(place), "--termination-log", str(log)]
    assert main(arguments) == code
    return json.loads(log.read_text())


def test_a_mounted_folder(load: Load, target: Path, snapshot: dict[str, bytes]) -> None:
    target.mkdir()
    for name, content in snapshot.items():
        (target / name).write_bytes(content)
    first = mounted(target, "pvc://claim/models")
    assert first["facts"] == expected(snapshot)
    assert mounted(target, "pvc://claim/models") == first
    (target / "config.json").write_text("{}")
    assert mounted(target, "pvc://claim/models")["revision"] != first["revision"]


def test_a_mounted_file(load: Load, target: Path) -> None:
    target.mkdir()
    place = tiny_gguf.make(target / "tiny.gguf")
    (target / "other.gguf").write_bytes(b"other")
    found = mounted(place, "file:///models/tiny.gguf")
    assert found["facts"]["parameters"] == 205_120
    assert found["bytes"] == place.stat().st_size


def test_several_models_in_one_folder_are_no_model(load: Load, target: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        tiny_gguf.make(target / name)
    assert mounted(target, "pvc://claim/")["facts"] is None


def test_a_mounted_place_that_is_not_there(load: Load, target: Path) -> None:
    assert mounted(target, "pvc://claim/absent", code=1)["reason"] == "ModelNotFound"


def test_our_own_folder_is_no_part_of_a_model(tmp_path: Path) -> None:
    (tmp_path / ".agentfleet").mkdir()
    (tmp_path / ".agentfleet/complete.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    assert [file.path for file in LocalFiles(tmp_path).resolve().files] == ["config.json"]


def test_the_termination_log_has_room(load: Load, hub: Any, target: Path, snapshot: dict[str, bytes]) -> None:
    hub.files = snapshot
    load(hub, target, "hf://org/tiny", "--inspect")
    assert len((target.parent / "termination-log").read_bytes()) < 4096


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "hf://org/tiny"],
        ["--source", "pvc://claim/x", "--inspect"],
        ["--source", "hf://org/tiny", "--target", "x", "--cache-root", "x"],
        ["--source", "hf://org/tiny", "--target", "x", "--evict-after", "soon"],
    ],
)
def test_wrong_options(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capfd.readouterr().err
