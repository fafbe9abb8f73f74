"""s3:// and gs:// against a stand-in bucket: folders and objects, signatures, resume, and how failures read."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sidecar.loading import Load, failure, marker, secret, told
from tests.sidecar.standins import Bucket

GGUF = bytes(range(256)) * 4000
FOLDER = {
    "team/tiny/config.json": b'{"model_type": "llama"}',
    "team/tiny/model.safetensors": b"W" * 300_000,
    "team/tiny/pytorch_model.bin": b"W" * 300_000,
    "team/tiny/nested/a b+c.json": b"{}",
    "team/tiny-2/config.json": b"{}",
}


@pytest.fixture
def bucket(serve: Any) -> Bucket:
    bucket = Bucket()
    bucket.url = serve(bucket.application())
    return bucket


@pytest.fixture(scope="session")
def account() -> str:
    """The JSON key of a service account."""
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA"], check=True, capture_output=True, text=True).stdout
    account = {"type": "service_account", "client_email": "loader@acme", "private_key": key, "private_key_id": "k1"}
    return json.dumps(account | {"client_id": "1", "project_id": "acme"})


def loaded(target: Path) -> set[str]:
    return {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file() and ".agentfleet" not in p.parts}


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_folder_is_loaded_once(load: Load, bucket: Bucket, target: Path, scheme: str) -> None:
    bucket.objects = dict(FOLDER)
    load(bucket, target, f"{scheme}://models/team/tiny")
    assert loaded(target) == {"config.json", "model.safetensors", "nested/a b+c.json"}
    assert told(target)["bytes"] == marker(target)["bytes"] == 300_025
    assert told(target)["revision"].startswith("sha256:")

    bucket.requests.clear()
    load(bucket, target, f"{scheme}://models/team/tiny")
    assert bucket.requests == []


def test_one_object_is_resumed(load: Load, bucket: Bucket, target: Path) -> None:
    bucket.objects = {"q4/tiny.gguf": GGUF, "q4/other.gguf": b"x"}
    bucket.cuts = [500_000, 300_000]
    load(bucket, target, "s3://models/q4/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF
    assert loaded(target) == {"tiny.gguf"}
    assert bucket.ranges == [None, "bytes=500000-", "bytes=800000-"]
    assert bucket.sent == len(GGUF)


def test_a_split_object_brings_its_parts(load: Load, bucket: Bucket, target: Path) -> None:
    bucket.objects = {f"m/big-0000{n}-of-00002.gguf": b"%d" % n for n in (1, 2)}
    load(bucket, target, "s3://models/m/big-00001-of-00002.gguf")
    assert loaded(target) == {"big-00001-of-00002.gguf", "big-00002-of-00002.gguf"}


def test_s3_is_signed_with_the_keys(load: Load, bucket: Bucket, target: Path, tmp_path: Path) -> None:
    bucket.objects, bucket.signer = dict(FOLDER), "AKEY/"
    keys = secret(tmp_path, accessKeyId="AKEY", secretAccessKey="verysecret", sessionToken="sessionsecret")
    log = load(bucket, target, "s3://models/team/tiny", *keys, "--log-level", "DEBUG")
    assert "verysecret" not in log
    assert "sessionsecret" not in log
    assert "Signature" not in log
    assert "config.json" in loaded(target)


def test_gs_is_signed_with_the_account(load: Load, bucket: Bucket, target: Path, tmp_path: Path, account: str) -> None:
    bucket.objects = dict(FOLDER)
    log = load(bucket, target, "gs://models/team/tiny", *secret(tmp_path, serviceAccountKey=account))
    assert "PRIVATE KEY" not in log
    assert "config.json" in loaded(target)


def test_a_key_that_is_none_is_not_quoted(load: Load, bucket: Bucket, target: Path, tmp_path: Path) -> None:
    log = load(
        bucket, target, "gs://models/x", *secret(tmp_path, serviceAccountKey='{"private_key": "geheim"}'), code=1
    )
    assert failure(target)["reason"] == "ModelGated"
    assert "serviceAccountKey" in failure(target)["message"]
    assert "geheim" not in log + str(failure(target))


@pytest.mark.parametrize("path", ["team/tiny", "team/tiny/config.json"])
def test_a_refusal_names_the_keys(load: Load, bucket: Bucket, target: Path, path: str) -> None:
    bucket.objects, bucket.signer = dict(FOLDER), "AKEY/"
    load(bucket, target, f"s3://models/{path}", code=1)
    assert failure(target)["reason"] == "ModelGated"
    assert "'accessKeyId' and 'secretAccessKey' of the Secret" in failure(target)["message"]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://models/absent", "ModelNotFound"),
        ("s3://other/team/tiny", "ModelNotFound"),
        ("s3://models", "BadSource"),
        ("gs://models/absent", "ModelNotFound"),
        ("gs:///x", "BadSource"),
    ],
)
def test_what_is_not_there(load: Load, bucket: Bucket, target: Path, uri: str, reason: str) -> None:
    bucket.objects = dict(FOLDER)
    load(bucket, target, uri, code=1)
    assert failure(target)["reason"] == reason


def test_an_object_that_is_replaced_meanwhile_is_not_mixed(load: Load, bucket: Bucket, target: Path) -> None:
    bucket.objects = {"tiny.gguf": GGUF}
    bucket.cuts = [1000]
    send = bucket.send

    async def replace(*arguments: Any) -> Any:
        bucket.objects["tiny.gguf"] = GGUF[::-1]
        return await send(*arguments)

    bucket.send = replace  # type: ignore[method-assign]
    load(bucket, target, "s3://models/tiny.gguf", code=1)
    assert failure(target)["reason"] == "SourceChanged"
    load(bucket, target, "s3://models/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF[::-1]


def test_a_store_that_is_away(load: Load, target: Path) -> None:
    away = Bucket(url="http://127.0.0.1:1")
    load(away, target, "s3://models/x", code=1)
    assert failure(target)["reason"] == "SourceUnreachable"
