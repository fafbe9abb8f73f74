"""vLLM for the tests: what is pinned, and that nobody takes half of it for all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentfleet.engines.base import image_version
from agentfleet.engines.vllm_flags import FLAGS
from e2e.images import cache, vllm


def test_the_operator_knows_the_flags_of_the_pinned_version() -> None:
    assert image_version(vllm._tag()) in FLAGS


def test_the_scenario_uses_the_image_that_is_built() -> None:
    manifest = vllm.FOLDER.parents[1] / "scenarios" / "vllm" / "modelserver.yaml"
    assert f"image: {vllm._tag()}\n" in manifest.read_text(encoding="utf-8")


def test_every_package_is_pinned_with_a_digest() -> None:
    lock = vllm.LOCK.read_text(encoding="utf-8")
    packages = re.findall(r"^[a-z0-9]", lock, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE))


def test_it_is_there_only_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLEET_E2E_HOME", str(tmp_path))
    assert vllm.built() is None
    archive = cache.entry("vllm.tar", vllm._image_key(), lambda path: path.touch())
    assert vllm.built() is None
    packages = cache.entry("vllm-packages", vllm._packages_key(), lambda path: path.mkdir())
    built = vllm.built()
    assert built is not None
    assert (built.image.archive, built.packages) == (archive, packages)
