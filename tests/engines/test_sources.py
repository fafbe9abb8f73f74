"""Model URIs and where the model then lies."""

from dataclasses import replace

import pytest

from agentfleet.engines.sources import Source, parse_source, path_in_pod, pinned
from agentfleet.errors import InvalidSpec


@pytest.mark.parametrize(
    ("uri", "source", "path"),
    [
        (
            "hf://acme/chat@v1",
            Source("hf", repository="acme/chat", revision="v1", folder="acme--chat-6d9164d5"),
            "/models/acme--chat-6d9164d5",
        ),
        (
            "hf://acme/chat/q4/model.gguf",
            Source("hf", repository="acme/chat", file="q4/model.gguf", folder="acme--chat-32a83305"),
            "/models/acme--chat-32a83305/q4/model.gguf",
        ),
        (
            "oci://registry.example:5000/acme/q4.gguf:v1",
            Source("oci", folder="q4.gguf-f6982117"),
            "/models/q4.gguf-f6982117",
        ),
        (
            "s3://models/chat-7b",
            Source("s3", folder="chat-7b-@"),
            "/models/chat-7b-@",
        ),
        (
            "gs://models/chat/q4.gguf",
            Source("gs", file="q4.gguf", folder="q4.gguf-@"),
            "/models/q4.gguf-@/q4.gguf",
        ),
        (
            "https://files.example/a@b/chat%20q4.gguf?version=2",
            Source("https", file="chat%20q4.gguf", folder="chat-20q4.gguf-@"),
            "/models/chat-20q4.gguf-@/chat%20q4.gguf",
        ),
        ("pvc://models/a/b.gguf", Source("pvc", claim="models", file="a/b.gguf"), "/models/a/b.gguf"),
        ("file:///srv/models/tiny.gguf", Source("file", file="/srv/models/tiny.gguf"), "/models/tiny.gguf"),
        ("file:///srv/models/llama", Source("file", file="/srv/models/llama"), "/models/llama"),
        ("ollama://reg:5000/library/tiny:q4", Source("ollama", reference="reg:5000/library/tiny:q4"), "/models"),
    ],
)
def test_forms(uri: str, source: Source, path: str) -> None:
    """`@` stands for the digest of the URI, where its digits say nothing."""
    found = parse_source(uri)
    digest = found.folder.rpartition("-")[2]
    assert found == replace(source, folder=source.folder.replace("@", digest))
    assert path_in_pod(found, "/models") == path.replace("-@", f"-{digest}")


@pytest.mark.parametrize(
    ("uri", "revision", "pinned_uri"),
    [
        ("hf://acme/chat", "c0ffee", "hf://acme/chat@c0ffee"),
        ("hf://acme/chat/q4.gguf@main", "c0ffee", "hf://acme/chat/q4.gguf@c0ffee"),
        ("oci://reg:5000/acme/chat:v1", "sha256:ab", "oci://reg:5000/acme/chat@sha256:ab"),
        ("oci://reg:5000/acme/chat", "sha256:ab", "oci://reg:5000/acme/chat@sha256:ab"),
        ("s3://models/chat", "etag", "s3://models/chat"),
    ],
)
def test_names_that_can_move_are_pinned(uri: str, revision: str, pinned_uri: str) -> None:
    assert pinned(uri, revision) == pinned_uri


@pytest.mark.parametrize("uri", ["tiny", "hf://", "hf://acme", "ftp://x/y", "file:///a/../b", "pvc://"])
def test_other_forms_are_refused_by_name(uri: str) -> None:
    with pytest.raises(InvalidSpec, match=r"model\.uri"):
        parse_source(uri)


def test_files_and_revisions_of_one_repository_have_folders_of_their_own() -> None:
    """The loader clears what another source left in its folder, so no two may share one."""
    uris = ["hf://a/b", "hf://a/b@v1", "hf://a/b/one.gguf", "hf://a/b/two.gguf", "hf://a/b/two.gguf@v1"]
    assert len({parse_source(uri).folder for uri in uris}) == len(uris)
