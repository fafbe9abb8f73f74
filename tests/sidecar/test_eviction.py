"""Room in a shared cache: who goes, in which order, who stays, and what is said when it is not enough."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentfleet.sidecar.cache import Cache
from agentfleet.sidecar.eviction import IDLE_COMPLETE, IDLE_PARTIAL, Room, keep
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.usage import Lease, last_used, touch, unused
from tests.sidecar.loading import Load, failure
from tests.sidecar.standins import Site

NOW = 1_800_000_000.0
OPERATOR = Path(__file__).parents[2] / "operator"


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Another loader works on `folder`."""
    with Cache(folder).locked(waiting=lambda: None):
        yield


def model(root: Path, name: str, size: int, age: float, *, complete: bool = True) -> Path:
    """A model of `size` bytes that was last used `age` seconds ago."""
    folder = root / name
    with loading(folder):
        (folder / "weights").write_bytes(bytes(size))
        if complete:
            (folder / ".agentfleet/complete.json").touch()
        touch(folder)
    os.utime(folder / ".agentfleet/used", (NOW - age, NOW - age))
    return folder


def room(root: Path, limit: int) -> Room:
    return Room(root, limit, clock=lambda: NOW)


def there(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob("*/weights")}


DAY = 86_400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, days in (("old", 3), ("older", 4), ("oldest", 5), ("newest", 1)):
        model(tmp_path, name, 10_000, days * DAY)
    return tmp_path


def target(root: Path) -> Path:
    (root / "new/.agentfleet").mkdir(parents=True)
    return root / "new"


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        (60_000, {"newest", "old", "older", "oldest"}),
        (45_000, {"newest", "old", "older"}),
        (30_000, {"newest", "old"}),
        (13_000, set()),
    ],
)
def test_the_least_recently_used_go_and_no_more_than_needed(root: Path, limit: int, left: set[str]) -> None:
    new = target(root)
    room(root, limit).make(new, 10_000, 10_000)
    assert there(root) == left
    assert json.loads((new / ".agentfleet/expected.json").read_text()) == {"bytes": 10_000}


def test_what_is_evicted_counts_as_nothing_and_can_be_loaded_again(root: Path) -> None:
    room(root, 30_000).make(target(root), 10_000, 10_000)
    assert not (root / "oldest/.agentfleet/complete.json").exists()
    with loading(root / "oldest"):
        pass


def test_a_model_in_use_stays(root: Path) -> None:
    lease = Lease(root / "oldest")
    assert lease.hold()
    os.utime(root / "oldest/.agentfleet/used", (0, 0))
    room(root, 45_000).make(target(root), 10_000, 10_000)
    assert there(root) == {"newest", "old", "oldest"}
    lease.release()
    assert time.time() - last_used(root / "oldest") < 60, "it was in use until a moment ago"


def test_the_use_of_a_killed_pod_ends_with_it(root: Path) -> None:
    program = (
        "import sys, pathlib; from agentfleet.sidecar.usage import Lease; lease = Lease(pathlib.Path(sys.argv[1]));"
        "print(lease.hold(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(root / "oldest")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={"PYTHONPATH": str(OPERATOR)}, **pipes) as pod:
        assert pod.stdout is not None
        assert pod.stdout.readline() == "True\n"
        with unused(root / "oldest") as free:
            assert not free
        pod.kill()
        pod.wait()
    with unused(root / "oldest") as free:
        assert free


def test_who_comes_while_a_model_goes_waits(root: Path) -> None:
    lease = Lease(root / "oldest")
    with unused(root / "oldest") as free:
        assert free
        assert not lease.hold()
    assert lease.hold()
    lease.release()


def test_a_model_that_was_used_a_moment_ago_stays(tmp_path: Path) -> None:
    model(tmp_path, "moment", 10_000, IDLE_COMPLETE - 1)
    with pytest.raises(ModelFailed, match="1000 bytes and the cache may hold 5000") as caught:
        room(tmp_path, 5_000).make(target(tmp_path), 1_000, 1_000)
    assert caught.value.reason == "DiskFull"
    assert "10000 bytes of other models" in caught.value.message
    assert there(tmp_path) == {"moment"}


def test_a_model_that_is_kept_stays(root: Path) -> None:
    keep(root / "oldest", True)
    room(root, 45_000).make(target(root), 10_000, 10_000)
    assert "oldest" in there(root)
    keep(root / "oldest", False)


def test_nothing_goes_in_vain(root: Path) -> None:
    with pytest.raises(ModelFailed, match="too few"):
        room(root, 45_000).make(target(root), 50_000, 50_000)
    assert there(root) == {"newest", "old", "older", "oldest"}


def test_a_model_that_is_being_loaded_stays_and_counts_as_whole(tmp_path: Path) -> None:
    folder = model(tmp_path, "arriving", 1_000, 9 * DAY, complete=False)
    (folder / ".agentfleet/expected.json").write_text('{"bytes": 90000}')
    with loading(folder), pytest.raises(ModelFailed, match="90000 bytes of other models"):
        room(tmp_path, 100_000).make(target(tmp_path), 20_000, 20_000)
    assert there(tmp_path) == {"arriving"}
    room(tmp_path, 22_000).make(tmp_path / "new", 20_000, 20_000)
    assert there(tmp_path) == {"arriving"}, "without a loader it is as large as it is"


@pytest.mark.parametrize(("age", "left"), [(IDLE_PARTIAL - 1, {"partial"}), (IDLE_PARTIAL + 1, set())])
def test_a_download_that_nobody_goes_on_with_goes_after_an_hour(tmp_path: Path, age: float, left: set[str]) -> None:
    model(tmp_path, "partial", 10_000, age, complete=False)
    new = target(tmp_path)
    if left:
        with pytest.raises(ModelFailed):
            room(tmp_path, 5_000).make(new, 1_000, 1_000)
    else:
        room(tmp_path, 5_000).make(new, 1_000, 1_000)
    assert there(tmp_path) == left


def test_folders_that_no_loader_made_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/weights").write_bytes(bytes(10_000))
    room(tmp_path, 5_000).make(target(tmp_path), 1_000, 1_000)
    assert there(tmp_path) == {"theirs"}


def test_a_disk_that_is_smaller_than_the_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentfleet.sidecar.transfer.missing_space", lambda folder, needed: 15_000)
    room(root, 10**9).make(target(root), 10_000, 10_000)
    assert there(root) == {"newest", "old"}


def test_two_loaders_do_not_take_the_same_room(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    outcomes: list[str] = []
    ready, done = threading.Barrier(2), threading.Barrier(2)

    def load(folder: Path) -> None:
        with loading(folder):
            ready.wait(10)
            try:
                room(tmp_path, 100_000).make(folder, 60_000, 60_000)
                outcomes.append("granted")
            except ModelFailed as refusal:
                outcomes.append(refusal.reason)
            done.wait(10)

    threads = [threading.Thread(target=load, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["DiskFull", "granted"]


def test_a_loader_makes_room(load: Load, serve: Any, tmp_path: Path) -> None:
    site = Site(files={"a.gguf": bytes(60_000), "b.gguf": bytes(60_000), "c.gguf": bytes(100)})
    site.url = serve(site.application())
    root = tmp_path / "cache"
    limits = ["--cache-root", str(root), "--cache-bytes", "100000"]
    load(site, root / "a", "https://x/a.gguf", *limits, "--keep")
    load(site, root / "b", "https://x/b.gguf", *limits, code=1)
    assert failure(root / "b")["reason"] == "DiskFull"
    load(site, root / "a", "https://x/a.gguf", *limits)
    load(site, root / "b", "https://x/b.gguf", *limits, code=1)
    load(site, root / "b", "https://x/b.gguf", *limits, "--evict-after", "0s")
    load(site, root / "c", "https://x/c.gguf", *limits)
    assert {path.name for path in root.glob("*/*.gguf")} == {"b.gguf", "c.gguf"}
    load(site, root / "a", "https://x/a.gguf", *limits, "--evict-after", "0s")
    assert {path.name for path in root.glob("*/*.gguf")} == {"a.gguf", "c.gguf"}


def test_a_lease_on_a_read_only_volume(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: int = 0) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    lease = Lease(root / "old")
    assert lease.hold()
    assert lease.hold()
    lease.release()
    assert not Lease(root / "absent").hold()
