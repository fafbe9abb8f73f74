"""hf:// references, the choice of files, and the table of schemes."""

from pathlib import Path

import pytest

from agentfleet.sidecar.credentials import Credentials
from agentfleet.sidecar.failures import ModelFailed, SourceUnreachable
from agentfleet.sidecar.sources import open_source, shown
from agentfleet.sidecar.sources.base import Access, RemoteFile
from agentfleet.sidecar.sources.huggingface import HubReference, environment, parse
from agentfleet.sidecar.sources.selection import needed, parts_of
from agentfleet.sidecar.transfer import persistently


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/repo", HubReference("org/repo", None, "main")),
        ("hf://org/repo@v1", HubReference("org/repo", None, "v1")),
        ("hf://org/repo@refs/pr/7", HubReference("org/repo", None, "refs/pr/7")),
        ("hf://Qwen/Qwen2.5-0.5B_x/a/b-q4.gguf", HubReference("Qwen/Qwen2.5-0.5B_x", "a/b-q4.gguf", "main")),
        ("hf://org/repo/a b.gguf", None),
        ("hf://org/repo/a.gguf@v1", HubReference("org/repo", "a.gguf", "v1")),
        ("hf://repo", None),
        ("hf://org/", None),
        ("hf://org/repo@", None),
        ("hf:///repo/x", None),
        ("hf://-org/repo", None),
    ],
)
def test_parse(uri: str, expected: HubReference | None) -> None:
    if expected is not None:
        assert parse(uri) == expected
        return
    with pytest.raises(ModelFailed, match="is not a Hugging Face source") as caught:
        parse(uri)
    assert caught.value.reason == "BadSource"


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 1, path) for path in paths]


def test_safetensors_make_other_formats_superfluous() -> None:
    kept = ("config.json", "model-00001-of-00002.safetensors", "tokenizer.model", "vision/preprocessor_config.json")
    dropped = (
        "pytorch_model-00001-of-00002.bin",
        "a.pt",
        "original/params.json",
        "tf_model.h5",
        "x.msgpack",
        "q4.gguf",
    )
    assert tuple(file.path for file in needed(files(*kept, *dropped))) == kept
    without = tuple(file for file in (*kept, *dropped) if not file.endswith(".safetensors"))
    assert tuple(file.path for file in needed(files(*without))) == without


def test_parts_of() -> None:
    assert parts_of("q4/model.gguf") == ["q4/model.gguf"]
    assert parts_of("q4/m-00002-of-00003.gguf") == [f"q4/m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]


def test_the_token_shows_nowhere() -> None:
    access = Access(Path("/scratch"), Credentials({"token": "hf_secret"}))
    assert "hf_secret" not in repr(access)
    assert "hf_secret" not in str(environment(access))


def test_the_library_writes_into_the_cache_only_and_a_mirror_is_not_bypassed() -> None:
    assert environment(Access(Path("/scratch")))["HF_HOME"] == "/scratch/huggingface"
    assert "HF_HUB_DISABLE_XET" not in environment(Access(Path("/scratch")))
    assert environment(Access(Path("/scratch"), endpoint="http://mirror"))["HF_HUB_DISABLE_XET"] == "1"


@pytest.mark.parametrize("uri", ["file:///x", "pvc://claim/x", "org/repo", "", "ollama://smollm2"])
def test_unknown_schemes_name_the_legal_ones(uri: str) -> None:
    with pytest.raises(ModelFailed, match="one of gs://, hf://, https://, oci://, s3://"):
        open_source(uri, Access(Path("/scratch")))


def test_patience_ends_only_without_progress() -> None:
    pauses: list[float] = []
    won = 0

    def fetch() -> None:
        nonlocal won
        won += len(pauses) < 20  # the first 20 tries win a byte each
        raise SourceUnreachable("cut")

    with pytest.raises(SourceUnreachable):
        persistently(fetch, lambda: won, pauses.append)
    assert pauses == [1.0] * 20 + [2.0, 4.0, 8.0, 16.0]


def test_a_mounted_secret_is_read_through_kubelets_links(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026/token").write_text("hf_secret\n")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "token").symlink_to("..data/token")
    (tmp_path / ".dockerconfigjson").write_text("{}")
    credentials = Credentials.read(tmp_path)
    assert dict(credentials.values) == {"token": "hf_secret", ".dockerconfigjson": "{}"}
    assert "hf_secret" not in repr(credentials)
    assert Credentials.read(None).get("token") is None


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://host/file?signature=geheim", "https://host/file"),
        ("https://me:geheim@host/file", "https://***@host/file"),
        ("hf://org/repo@v1", "hf://org/repo@v1"),
        ("oci://host:5000/repo@sha256:12", "oci://host:5000/repo@sha256:12"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, expected: str) -> None:
    assert shown(uri) == expected
