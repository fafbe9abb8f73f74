"""Model URIs and where the model then lies."""

import pytest

from agentfleet.engines.sources import Source, parse_source, path_in_pod


@pytest.mark.parametrize(
    ("uri", "source", "path"),
    [
        ("hf://acme/chat@v1", Source("hf", repository="acme/chat", revision="v1"), "/models/acme--chat"),
        (
            "hf://acme/chat/q4/model.gguf",
            Source("hf", repository="acme/chat", file="q4/model.gguf"),
            "/models/acme--chat/q4/model.gguf",
        ),
        ("pvc://models/a/b.gguf", Source("pvc", claim="models", file="a/b.gguf"), "/models/a/b.gguf"),
        ("file:///srv/models/tiny.gguf", Source("file", file="/srv/models/tiny.gguf"), "/models/tiny.gguf"),
        ("file:///srv/models/llama", Source("file", file="/srv/models/llama"), "/models/llama"),
        ("ollama://reg:5000/library/tiny:q4", Source("ollama", reference="reg:5000/library/tiny:q4"), "/models"),
    ],
)
def test_forms(uri: str, source: Source, path: str) -> None:
    assert parse_source(uri) == source
    assert path_in_pod(source, "/models") == path


@pytest.mark.parametrize("uri", ["tiny", "hf://", "hf://acme", "ftp://x/y", "file:///a/../b", "pvc://"])
def test_other_forms_are_refused_by_name(uri: str) -> None:
    with pytest.raises(ValueError, match=r"model\.uri"):
        parse_source(uri)
