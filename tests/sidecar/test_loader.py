"""The loader as a process against a stand-in Hub: what is on disk afterwards, what was asked, what was told."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentfleet.sidecar.report import Report
from tests.sidecar.loading import Load, arguments_of, failure, marker, secret, told

OPERATOR = Path(__file__).parents[2] / "operator"
SNAPSHOT = {
    ".gitattributes": b"*.safetensors filter=lfs",
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"W" * 300_000,
    "pytorch_model.bin": b"W" * 300_000,
    "original/consolidated.00.pth": b"W" * 300_000,
    "nested/tokenizer.json": b"{}",
}
GGUF = bytes(range(256)) * 8000


def start(hub: Any, target: Path, source: str) -> subprocess.Popen[str]:
    """A loader as a process of its own."""
    program = "from agentfleet.sidecar.loader import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, *arguments_of(hub, target, source)]
    home = target.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(OPERATOR)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_snapshot_is_loaded_once(load: Load, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT)
    load(hub, target, "hf://org/tiny")

    loaded = {str(p.relative_to(target)): p for p in target.rglob("*") if p.is_file() and ".agentfleet" not in p.parts}
    assert set(loaded) == {"config.json", "model.safetensors", "nested/tokenizer.json"}
    assert loaded["model.safetensors"].read_bytes() == SNAPSHOT["model.safetensors"]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in loaded.values())
    assert stat.S_IMODE((target / "nested").stat().st_mode) & 0o555 == 0o555
    assert marker(target) | {"files": None} == {
        "source": "hf://org/tiny",
        "revision": "a" * 40,
        "files": None,
        "bytes": 300_025,
        "sha256": None,
    }
    progress = json.loads((target / ".agentfleet/progress.json").read_text())
    assert (progress["state"], progress["bytes"], progress["percent"]) == ("Complete", 300_025, 100)
    assert not list(target.glob(".agentfleet/partial/*"))

    hub.requests.clear()
    load(hub, target, "hf://org/tiny")
    assert hub.requests == []


def test_only_what_the_download_needs_is_asked(load: Load, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT)
    load(hub, target, "hf://org/tiny")
    assert {path for _, path in hub.requests} == {
        "/api/models/org/tiny/revision/main",
        f"/api/models/org/tiny/tree/{'a' * 40}",
        *(f"/org/tiny/resolve/{'a' * 40}/{f}" for f in ("config.json", "model.safetensors", "nested/tokenizer.json")),
    }


def test_one_file_with_its_checksum(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"q4/tiny.gguf": GGUF, "q8/tiny.gguf": b"other"}
    digest = hashlib.sha256(GGUF).hexdigest()
    load(hub, target, "hf://org/tiny/q4/tiny.gguf@main", "--sha256", digest.upper())
    assert (target / "q4/tiny.gguf").read_bytes() == GGUF
    assert not (target / "q8").exists()
    assert marker(target)["sha256"] == digest


def test_a_split_file_brings_its_parts(load: Load, hub: Any, target: Path) -> None:
    hub.files = {f"big-0000{n}-of-00003.gguf": b"%d" % n * 1000 for n in (1, 2, 3)} | {"other.gguf": b"x"}
    load(hub, target, "hf://org/tiny/big-00001-of-00003.gguf")
    assert sorted(p.name for p in target.glob("*.gguf")) == sorted(set(hub.files) - {"other.gguf"})


def test_cut_connections_are_resumed_in_process(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.cuts = [500_000, 300_000]
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF
    assert hub.ranges[0] is None
    assert [int(r.removeprefix("bytes=").rstrip("-")) for r in hub.ranges[1:]] == sorted([500_000, 800_000])


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_loader_is_resumed_by_the_next(
    load: Load, until: Any, hub: Any, target: Path, kill: signal.Signals
) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.cuts = [1_500_000, *[0] * 100]
    process = start(hub, target, "hf://org/tiny/tiny.gguf")
    until(lambda: len(hub.ranges) >= 2)
    process.send_signal(kill)
    process.communicate(timeout=5)
    assert process.returncode == (-kill if kill is signal.SIGKILL else 128 + kill)

    hub.cuts = []
    hub.ranges.clear()
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert hub.ranges == ["bytes=1500000-"], "no byte is sent twice"
    assert (target / "tiny.gguf").read_bytes() == GGUF


def test_a_server_that_ignores_ranges_is_read_from_the_start(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.cuts = [500_000]
    hub.ignore_ranges = True
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF


def test_a_file_that_plain_http_does_not_serve_comes_by_the_library(
    load: Load, hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentfleet.sidecar.sources.huggingface.PLAIN_HTTP_LIMIT", 1000)
    hub.files = {"q4/tiny.gguf": GGUF}
    load(hub, target, "hf://org/tiny/q4/tiny.gguf")
    assert (target / "q4/tiny.gguf").read_bytes() == GGUF
    assert not (target / ".agentfleet/scratch").exists()


def test_a_short_outage_is_waited_out(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.outage = 1
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF


def test_the_token_stays_with_the_hub(load: Load, hub: Any, target: Path, tmp_path: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.gated_to = "hf_secret"
    log = load(hub, target, "hf://org/tiny/tiny.gguf", *secret(tmp_path, token="hf_secret\n"), "--log-level", "DEBUG")
    assert "hf_secret" not in log
    assert hub.cdn_tokens == [None]
    for path in target.rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes()


def test_gated_without_token_names_the_secrets_key(load: Load, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT)
    hub.gated_to = "hf_secret"
    load(hub, target, "hf://org/tiny", code=1)
    told = failure(target)
    assert told["reason"] == "ModelGated"
    assert "key 'token' of the Secret in spec.model.auth.secretName" in told["message"]


def test_gated_with_the_wrong_token_says_so(load: Load, hub: Any, target: Path, tmp_path: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.gated_to = "hf_secret"
    log = load(hub, target, "hf://org/tiny/tiny.gguf", *secret(tmp_path, token="hf_wrong"), code=1)
    told = failure(target)
    assert told["reason"] == "ModelGated"
    assert "replace the token" in told["message"]
    assert "hf_wrong" not in log + told["message"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hf://org/absent", ("ModelNotFound", "org/absent does not exist")),
        ("hf://org/tiny@v9", ("ModelNotFound", "no branch, tag or commit 'v9'")),
        ("hf://org/tiny/absent.gguf", ("ModelNotFound", "no file 'absent.gguf'")),
        ("hf://tiny", ("BadSource", "hf://org/repo[@revision]")),
        ("ftp://host/file", ("BadSource", "one of gs://")),
    ],
)
def test_permanent_failures(load: Load, hub: Any, target: Path, source: str, told: tuple[str, str]) -> None:
    hub.files = {"tiny.gguf": GGUF}
    log = load(hub, target, source, code=1)
    reason, part = told
    assert failure(target)["reason"] == reason
    assert part in failure(target)["message"]
    assert "Traceback" not in log


def test_a_wrong_checksum_is_found_before_the_first_byte(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    load(hub, target, "hf://org/tiny/tiny.gguf", "--sha256", "0" * 64, code=1)
    assert failure(target)["reason"] == "ChecksumMismatch"
    assert hub.contents() == []


def test_a_wrong_checksum_of_a_file_that_lists_none_removes_it(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.bin": GGUF, "config.json": b"{}"}
    load(hub, target, "hf://org/tiny/tiny.bin", "--sha256", "0" * 64, code=1)
    assert failure(target)["reason"] == "ChecksumMismatch"
    assert not (target / "tiny.bin").exists()
    load(hub, target, "hf://org/tiny", "--sha256", "0" * 64, code=1)
    assert failure(target)["reason"] == "BadSource", "a checksum of two files makes no sense"


def test_content_that_is_not_what_the_hub_lists_is_refused(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    hub.broken = {"tiny.gguf": b"x" * len(GGUF)}
    load(hub, target, "hf://org/tiny/tiny.gguf", code=1)
    assert failure(target)["reason"] == "ChecksumMismatch"
    assert not (target / "tiny.gguf").exists()
    hub.broken = {}
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert (target / "tiny.gguf").read_bytes() == GGUF


def test_another_model_replaces_the_first(load: Load, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT) | {"tiny.gguf": GGUF}
    load(hub, target, "hf://org/tiny")
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert sorted(p.name for p in target.iterdir() if p.is_file()) == ["tiny.gguf"]


def test_a_damaged_cache_is_repaired(load: Load, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT)
    load(hub, target, "hf://org/tiny")
    (target / "model.safetensors").unlink()
    hub.requests.clear()
    load(hub, target, "hf://org/tiny")
    assert hub.contents() == [f"/org/tiny/resolve/{'a' * 40}/model.safetensors"]


def test_names_that_leave_the_target_are_refused(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"../escaped.gguf": GGUF}
    load(hub, target, "hf://org/tiny", code=1)
    assert failure(target)["reason"] == "BadSource"
    assert not (target.parent / "escaped.gguf").exists()


def test_two_loaders_share_one_download(until: Any, hub: Any, target: Path) -> None:
    hub.files = dict(SNAPSHOT)
    hub.hold = threading.Event()
    first = start(hub, target, "hf://org/tiny")
    until(hub.contents)
    second = start(hub, target, "hf://org/tiny")
    assert second.stderr is not None
    assert "another loader holds the cache" in second.stderr.readline()
    hub.hold.set()
    assert (first.wait(20), second.wait(20)) == (0, 0)
    _ = first.communicate(), second.communicate()
    assert len(hub.contents()) == 3
    assert not list((target.parent / "home").iterdir()), "the home folder is read-only in a pod"


def test_a_complete_model_needs_no_source(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"tiny.gguf": GGUF}
    load(hub, target, "hf://org/tiny/tiny.gguf")
    hub.url = "http://127.0.0.1:1"
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert told(target)["sha256"] == hashlib.sha256(GGUF).hexdigest()
    (target / "tiny.gguf").unlink()
    load(hub, target, "hf://org/tiny/tiny.gguf", code=1)
    assert failure(target)["reason"] == "SourceUnreachable"


def test_a_model_that_does_not_fit_is_refused_before_its_first_byte(
    load: Load, hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = {"tiny.gguf": GGUF}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    load(hub, target, "hf://org/tiny/tiny.gguf", code=1)
    assert failure(target)["reason"] == "DiskFull"
    assert "2048000 bytes are to be loaded, 1048000 more than the cache has left" in failure(target)["message"]
    assert hub.contents() == []


def test_a_disk_that_fills_in_the_middle(load: Load, hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files = {"tiny.gguf": GGUF}

    def full(report: Report, count: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as others:
        others.setattr(Report, "arrived", full)
        load(hub, target, "hf://org/tiny/tiny.gguf", code=1)
    assert failure(target)["reason"] == "DiskFull"
    hub.ranges.clear()
    load(hub, target, "hf://org/tiny/tiny.gguf")
    assert hub.ranges[0] is not None, "what was written is kept"


def test_a_cache_that_cannot_be_written(load: Load, hub: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = load(hub, tmp_path / "file/models", "hf://org/tiny", "--termination-log", str(tmp_path / "said"), code=1)
    assert json.loads((tmp_path / "said").read_text())["reason"] == "CacheNotWritable"
    assert "Traceback" not in log


def test_a_secret_that_is_not_mounted(load: Load, hub: Any, target: Path, tmp_path: Path) -> None:
    load(hub, target, "hf://org/tiny", "--credentials-dir", str(tmp_path / "absent"), code=1)
    assert failure(target)["reason"] == "ModelGated"


def test_empty_files_are_files(load: Load, hub: Any, target: Path) -> None:
    hub.files = {"config.json": b"{}", "__init__.py": b""}
    load(hub, target, "hf://org/tiny")
    assert (target / "__init__.py").read_bytes() == b""
