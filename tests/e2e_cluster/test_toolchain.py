"""What the cluster's programs are keyed by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.toolchain import COREDNS, HELM, KUBERNETES, KWOK, Build


@pytest.mark.parametrize("build", [KUBERNETES, COREDNS, HELM, KWOK], ids=lambda build: build.name)
def test_every_build_is_kept_under_its_pinned_version(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTFLEET_E2E_HOME", str(tmp_path))
    assert build.folder.parent == tmp_path / "bin"
    assert build.folder.name.startswith(f"{build.name}-{build.version}-")
    assert build.folder != replace(build, packages=("./other",)).folder


def test_kubernetes_knows_its_own_version() -> None:
    major, minor = KUBERNETES.version.removeprefix("v").split(".")[:2]
    assert f"gitVersion={KUBERNETES.version}" in KUBERNETES.ldflags
    assert f"gitMajor={major} " in KUBERNETES.ldflags
    assert KUBERNETES.ldflags.endswith(f"gitMinor={minor}")
