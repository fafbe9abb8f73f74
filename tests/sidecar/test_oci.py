"""oci:// against a stand-in registry: artifacts and images, tokens, resume, and archives that mean harm."""

import json
import platform
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from agentfleet.sidecar.credentials import Credentials
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.sources.oci import ARCHITECTURES, Reference, parse
from agentfleet.sidecar.sources.registry import login
from agentfleet.sidecar.unpack import members
from tests.sidecar.loading import Load, failure, marker, secret, told
from tests.sidecar.standins import Registry, archive, link

RAW = "application/vnd.acme.model"
TAR = "application/vnd.oci.image.layer.v1.tar"
IMAGE = "application/vnd.oci.image.config.v1+json"
GGUF = bytes(range(256)) * 4000
TITLE = "org_opencontainers_image_title"


@pytest.fixture
def registry(serve: Any) -> Registry:
    registry = Registry()
    registry.url = serve(registry.application())
    return registry


def loaded(target: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(target)): p.read_bytes()
        for p in target.rglob("*")
        if p.is_file() and ".agentfleet" not in p.parts
    }


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("oci://r.acme/team/tiny:v1", Reference("r.acme", "team/tiny", "v1")),
        ("oci://r.acme:5000/tiny", Reference("r.acme:5000", "tiny", "latest")),
        (f"oci://r.acme/tiny:v1@sha256:{'0' * 64}", Reference("r.acme", "tiny", f"sha256:{'0' * 64}")),
        ("oci://docker.io/tiny", Reference("docker.io", "library/tiny", "latest")),
        ("oci://r.acme", None),
        ("oci://r.acme/UPPER", None),
        ("oci://r.acme/tiny@sha256:12", None),
        ("oci://r.acme/../tiny", None),
    ],
)
def test_parse(uri: str, expected: Reference | None) -> None:
    if expected is not None:
        assert parse(uri) == expected
        return
    with pytest.raises(ModelFailed, match="names no OCI artifact"):
        parse(uri)


def test_an_artifact_is_loaded_once(load: Load, registry: Registry, target: Path) -> None:
    # ORAS gives files a tar media type when it is told none.
    digest = registry.push(
        [registry.layer(GGUF, TAR, **{TITLE: "tiny.gguf"}), registry.layer(b"{}", RAW, **{TITLE: "sub/config.json"})]
    )
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"tiny.gguf": GGUF, "sub/config.json": b"{}"}
    assert told(target)["revision"] == marker(target)["revision"] == digest
    sent = registry.sent
    load(registry, target, "oci://r.acme/acme/tiny")
    assert registry.sent == sent == len(GGUF) + 2


def test_the_one_gguf_gets_the_name_that_its_engine_knows(load: Load, registry: Registry, target: Path) -> None:
    registry.push([registry.layer(GGUF, RAW, **{TITLE: "q4/tiny.gguf"}), registry.layer(b"", RAW, **{TITLE: "README"})])
    for _ in range(2):
        load(registry, target, "oci://r.acme/acme/tiny", "--link-gguf", "model.gguf")
        assert (target / "model.gguf").samefile(target / "q4/tiny.gguf")
    registry.push([registry.layer(GGUF, RAW, **{TITLE: name}) for name in ("a.gguf", "b.gguf")], tag="two")
    load(registry, target.parent / "two", "oci://r.acme/acme/tiny:two", "--link-gguf", "model.gguf", code=1)
    assert failure(target.parent / "two")["reason"] == "BadSource"
    assert "has 2 .gguf files" in failure(target.parent / "two")["message"]


def test_a_digest_pins(load: Load, registry: Registry, target: Path) -> None:
    digest = registry.push([registry.layer(b"1", RAW, **{TITLE: "a"})])
    registry.push([registry.layer(b"2", RAW, **{TITLE: "a"})])
    load(registry, target, f"oci://r.acme/acme/tiny:latest@{digest}")
    assert loaded(target) == {"a": b"1"}
    registry.manifests[digest] = registry.manifests["latest"]
    load(registry, target.parent / "other", f"oci://r.acme/acme/tiny@{digest}", code=1)
    assert failure(target.parent / "other")["reason"] == "ChecksumMismatch"


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_gives_its_models_folder(load: Load, registry: Registry, target: Path, packed: bool) -> None:
    kind = TAR + "+gzip" if packed else TAR
    base = archive(
        ("bin/sh", b"x"), ("bin/.wh.old", b""), ("etc/link", link(tarfile.SYMTYPE, "/etc/passwd")), packed=packed
    )
    first = archive(("models/", link(tarfile.DIRTYPE, "")), ("models/a", b"1"), ("models/sub/b", b"bb"), packed=packed)
    second = archive(("./models/a", b"222"), ("models/c", link(tarfile.SYMTYPE, "sub/b")), packed=packed)
    registry.push([registry.layer(layer, kind) for layer in (base, first, second)], config=IMAGE)
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"a": b"222", "sub/b": b"bb", "c": b"bb"}
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert told(target)["bytes"] == 7
    assert not list(target.glob(".agentfleet/partial"))

    (target / "sub/b").unlink()
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"a": b"222", "sub/b": b"bb", "c": b"bb"}, "layers are laid over each other in order"


def test_a_packed_folder_of_an_artifact(load: Load, registry: Registry, target: Path) -> None:
    content = archive(("tiny/config.json", b"{}"), packed=True)
    unpack = {TITLE: "tiny", "io_deis_oras_content_unpack": "true"}
    registry.push([registry.layer(content, TAR + "+gzip", **unpack)])
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"tiny/config.json": b"{}"}


def test_an_index_leads_to_this_platform(load: Load, registry: Registry, target: Path) -> None:
    machine = ARCHITECTURES.get(platform.machine(), platform.machine())
    manifests = []
    for name in ("other", machine):
        digest = registry.push([registry.layer(name.encode(), RAW, **{TITLE: "a"})], tag=name)
        manifests.append({"digest": digest, "platform": {"os": "linux", "architecture": name}})
    index = json.dumps({"manifests": manifests}).encode()
    registry.manifests["latest"] = ("application/vnd.oci.image.index.v1+json", index)
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"a": machine.encode()}


def test_cut_and_expired_downloads_go_on(load: Load, registry: Registry, target: Path) -> None:
    registry.push([registry.layer(GGUF, RAW, **{TITLE: "tiny.gguf"})])
    registry.cuts = [500_000, 200_000]
    registry.token_uses = 1
    load(registry, target, "oci://r.acme/acme/tiny")
    assert loaded(target) == {"tiny.gguf": GGUF}
    assert registry.sent == len(GGUF)
    assert registry.tokens == 4, "one for the manifest, one for each try"


def config_json(login: str) -> str:
    return json.dumps({"auths": {"https://r.acme/v1/": {"auth": b64encode(login.encode()).decode()}}})


@pytest.mark.parametrize(
    "keys",
    [{"username": "me", "password": "pass:word"}, {"__dockerconfigjson": config_json("me:pass:word")}],
)
def test_credentials_buy_a_token(
    load: Load, registry: Registry, target: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    registry.push([registry.layer(b"1", RAW, **{TITLE: "a"})])
    registry.login = "me:pass:word"
    log = load(registry, target, "oci://r.acme/acme/tiny", *secret(tmp_path, **keys), "--log-level", "DEBUG")
    assert loaded(target) == {"a": b"1"}
    assert "pass:word" not in log
    assert b64encode(b"me:pass:word").decode() not in log
    assert "token-1" not in log


def test_without_credentials_the_keys_are_named(load: Load, registry: Registry, target: Path) -> None:
    registry.push([registry.layer(b"1", RAW, **{TITLE: "a"})])
    registry.login = "me:pass"
    load(registry, target, "oci://r.acme/acme/tiny", code=1)
    assert failure(target)["reason"] == "ModelGated"
    assert "'username' and 'password' of the Secret" in failure(target)["message"]


def test_credentials_do_not_leave_over_plain_http(load: Load, registry: Registry, target: Path, tmp_path: Path) -> None:
    registry.realm = "http://elsewhere.example/token"
    load(registry, target, "oci://r.acme/acme/tiny", *secret(tmp_path, username="me", password="geheim"), code=1)
    assert failure(target)["reason"] == "BadSource"
    assert "elsewhere.example" in failure(target)["message"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"auths": {"r.acme": {"username": "u", "password": "p"}}}', ("u", "p")),
        ('{"auths": {"other": {"username": "u", "password": "p"}}}', None),
        ('{"auths": {"r.acme": {"auth": "!geheim"}}}', "refused"),
        ('{"auths": {"r.acme": {"identitytoken": "geheim"}}}', "refused"),
        ('{"auths": ["geheim"]}', "refused"),
        ('"geheim"', "refused"),
        ("geheim", "refused"),
    ],
)
def test_docker_configurations(text: str, expected: object) -> None:
    credentials = Credentials({".dockerconfigjson": text})
    if expected != "refused":
        assert login(credentials, "r.acme") == expected
        return
    with pytest.raises(ModelFailed, match="is not a Docker configuration") as caught:
        login(credentials, "r.acme")
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"mediaType": RAW, "digest": "sha256:" + "0" * 64, "size": 3}, "BadSource"),
        ({"mediaType": TAR + "+zstd", "digest": "sha256:" + "0" * 64, "size": 3}, "BadSource"),
        ({"mediaType": TAR, "digest": "md5:1", "size": 3}, "BadSource"),
        ({"mediaType": TAR, "digest": "sha256:" + "0" * 64, "size": "3"}, "BadSource"),
    ],
)
def test_layers_that_say_too_little(
    load: Load, registry: Registry, target: Path, layer: dict[str, Any], reason: str
) -> None:
    registry.push([layer])
    load(registry, target, "oci://r.acme/acme/tiny", code=1)
    assert failure(target)["reason"] == reason


def test_a_repository_that_is_not_there(load: Load, registry: Registry, target: Path) -> None:
    load(registry, target, "oci://r.acme/acme/absent", code=1)
    assert failure(target)["reason"] == "ModelNotFound"


def test_an_image_without_models(load: Load, registry: Registry, target: Path) -> None:
    registry.push([registry.layer(archive(("bin/sh", b"x")), TAR)], config=IMAGE)
    load(registry, target, "oci://r.acme/acme/tiny", code=1)
    assert failure(target)["reason"] == "BadSource"
    assert "/models" in failure(target)["message"]


def test_content_with_another_digest_is_refused(load: Load, registry: Registry, target: Path) -> None:
    layer = registry.layer(GGUF, RAW, **{TITLE: "tiny.gguf"})
    registry.push([layer])
    registry.blobs[layer["digest"]] = GGUF[::-1]
    load(registry, target, "oci://r.acme/acme/tiny", code=1)
    assert failure(target)["reason"] == "ChecksumMismatch"
    assert loaded(target) == {}


HOSTILE: dict[str, bytes] = {
    "parent": archive(("../escaped", b"x")),
    "absolute": archive(("/escaped", b"x")),
    "inner parent": archive(("a/../../escaped", b"x")),
    "symlink out": archive(("a", link(tarfile.SYMTYPE, "/etc/passwd"))),
    "symlink up": archive(("a", link(tarfile.SYMTYPE, "../../escaped"))),
    "hard link out": archive(("a", link(tarfile.LNKTYPE, "../escaped"))),
    "link to nothing": archive(("a", link(tarfile.SYMTYPE, "b"))),
    "links in a ring": archive(("a", link(tarfile.SYMTYPE, "b")), ("b", link(tarfile.SYMTYPE, "a"))),
    "through a link": archive(("a", link(tarfile.SYMTYPE, ".")), ("a/b", b"x")),
    "device": archive(("a", link(tarfile.CHRTYPE, ""))),
    "pipe": archive(("a", link(tarfile.FIFOTYPE, ""))),
    "whiteout": archive((".wh.a", b"")),
    "our own folder": archive((".agentfleet/complete.json", b"{}")),
    "a bomb": archive(("a", bytes(200 * 2**20)), packed=True),
    "cut": archive(("a", b"x" * 5000))[:3000],
    "no archive": b"hello" * 200,
    "cut gzip": archive(("a", bytes(range(256)) * 100), packed=True)[:200],
}


@pytest.mark.parametrize("harm", sorted(HOSTILE))
def test_archives_that_mean_harm(load: Load, registry: Registry, target: Path, harm: str) -> None:
    unpack = {TITLE: "folder", "io_deis_oras_content_unpack": "true"}
    registry.push([registry.layer(HOSTILE[harm], TAR, **unpack)])
    before = set(target.parent.iterdir())
    log = load(registry, target, "oci://r.acme/acme/tiny", code=1)
    assert failure(target)["reason"] == "BadSource"
    assert "Traceback" not in log
    assert {path.name for path in set(target.parent.iterdir()) - before} == {"models", "termination-log"}
    assert not (target / ".agentfleet/complete.json").exists()


def test_a_header_as_large_as_memory_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40
    path = tmp_path / "archive"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(ModelFailed, match="refused"):
        list(members(path, ""))
