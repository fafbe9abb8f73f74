"""The tiny models: the same bytes everywhere, and described to a registry as Ollama expects."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import gguf
import httpx
import pytest

from e2e import models
from e2e.models import ollama, tiny_gguf

TINY = "bf6ccba92c5ec0508acc618c389d611f86f8bb915a0a2ba751a9c05985fcd6ec"
SLOW = "1b48435d7d597f7ba8a6b51c142ee64f18a6a61b69dd1b784b871b8f693f582c"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return models.prepare(tmp_path_factory.mktemp("models"))


def test_the_files_are_always_the_same(made: dict[str, Path]) -> None:
    """Their digests stand in manifests; new ones after an upgrade of gguf or tokenizers are fine, then change both."""
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in made.items()} == {
        "tiny": TINY,
        "slow": SLOW,
    }


def test_the_files_are_small_and_readable_by_anyone(made: dict[str, Path]) -> None:
    for path in made.values():
        assert path.stat().st_size < 12_000_000
        assert path.stat().st_mode & 0o444 == 0o444
        assert [other.suffix for other in path.parent.iterdir()] == [".gguf"] * len(made)


def test_the_file_holds_a_llama_with_a_chat_template(made: dict[str, Path]) -> None:
    reader = gguf.GGUFReader(made["tiny"])
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["tokenizer.chat_template"].contents() == tiny_gguf.CHAT_TEMPLATE
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == tiny_gguf.VOCABULARY


def test_another_seed_is_another_model(tmp_path: Path, made: dict[str, Path]) -> None:
    other = tiny_gguf.make(tmp_path / "other.gguf", seed=1)
    assert other.stat().st_size == made["tiny"].stat().st_size
    assert other.read_bytes() != made["tiny"].read_bytes()


def test_a_push_stores_every_blob_before_the_manifest_that_names_it(made: dict[str, Path]) -> None:
    stored: dict[str, bytes] = {}
    manifests: dict[str, dict[str, object]] = {}

    def registry(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST" and path == "/v2/library/tiny/blobs/uploads/":
            return httpx.Response(202, headers={"Location": "http://registry/v2/library/tiny/blobs/uploads/1?_state=x"})
        if request.method == "PUT" and path.endswith("/uploads/1"):
            assert request.url.params["_state"] == "x"
            digest = f"sha256:{hashlib.sha256(request.content).hexdigest()}"
            assert request.url.params["digest"] == digest
            stored[digest] = request.content
            return httpx.Response(201)
        if request.method == "PUT" and path == "/v2/library/tiny/manifests/latest":
            assert request.headers["Content-Type"] == ollama.MANIFEST
            manifest = json.loads(request.content)
            assert {part["digest"] for part in [manifest["config"], *manifest["layers"]]} == set(stored)
            manifests[path] = manifest
            return httpx.Response(201)
        return httpx.Response(404)

    with httpx.Client(transport=httpx.MockTransport(registry), base_url="http://registry") as client:
        ollama.push(client, "library/tiny", "latest", made["tiny"])

    (manifest,) = manifests.values()
    layers = manifest["layers"]
    assert isinstance(layers, list)
    assert [layer["mediaType"] for layer in layers] == [ollama.MODEL, ollama.TEMPLATE, ollama.PARAMETERS]
    assert layers[0]["digest"] == f"sha256:{TINY}"


def test_a_refusing_registry_is_an_error(made: dict[str, Path]) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(405))
    with (
        httpx.Client(transport=transport, base_url="http://registry") as client,
        pytest.raises(httpx.HTTPStatusError, match="405"),
    ):
        ollama.push(client, "library/tiny", "latest", made["tiny"])
