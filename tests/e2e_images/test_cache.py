"""The cache of built images: its keys, and that an entry is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.images import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTFLEET_E2E_HOME", str(tmp_path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_digest_covers_names_contents_and_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "source" / "a.py", "one").parent
    before = cache.digest(folder, "x")
    assert cache.digest(folder, "x") == before
    assert cache.digest("x", folder) != before
    assert cache.digest(folder, "xy") != before

    write(folder / "__pycache__" / "a.pyc", "compiled")
    assert cache.digest(folder, "x") == before

    (folder / "a.py").rename(folder / "b.py")
    assert cache.digest(folder, "x") != before


@pytest.mark.parametrize(("one", "other"), [(("ab", "c"), ("a", "bc")), (("", "a"), ("a", "")), (("a",), ("a", ""))])
def test_texts_do_not_run_into_each_other(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert cache.digest(*one) != cache.digest(*other)


def test_an_entry_is_made_once_and_replaces_the_version_before() -> None:
    made = []

    def make(path: Path) -> None:
        made.append(path.name)
        path.write_text("content")

    first = cache.entry("operator.tar", cache.digest("1"), make)
    assert cache.entry("operator.tar", cache.digest("1"), make) == first
    assert made == [first.name]

    kept = cache.entry("operator-other.tar", cache.digest("1"), make)
    second = cache.entry("operator.tar", cache.digest("2"), make)
    assert second.read_text() == "content"
    assert not first.exists()
    assert kept.exists()


def test_a_failed_entry_leaves_nothing_and_keeps_what_was_there() -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("disk full")

    good = cache.entry("base", cache.digest("1"), lambda path: path.mkdir())
    with pytest.raises(RuntimeError, match="disk full"):
        cache.entry("base", cache.digest("2"), fail)
    assert [path for path in cache.folder().iterdir() if path.name != "tmp"] == [good]
    assert list((cache.folder() / "tmp").iterdir()) == []


def test_the_lock_clears_what_a_killed_run_left() -> None:
    leftover = write(cache.folder() / "tmp" / "abc" / "part", "half")
    with cache.lock():
        assert not leftover.exists()
