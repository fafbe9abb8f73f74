"""Clusters that others made, with programs in their place that write down how they were called."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from e2e.cluster import ClusterError, ContextCluster, KindCluster
from e2e.cluster.existing import kind_config

KIND = """
case "$1 $2" in
  "get clusters") echo "$KIND_CLUSTERS" ;;
  "get kubeconfig") echo "of $4" ;;
esac
"""
KUBECTL = """
case "$1 $2" in
  "config get-contexts") echo prod; echo dev ;;
  "config view") echo "only $6" ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which every call of kind, docker and kubectl ends up."""
    log = tmp_path / "calls"
    for program, script in {"kind": KIND, "docker": "", "kubectl": KUBECTL}.items():
        path = tmp_path / program
        path.write_text(f'#!/bin/sh\necho {program} "$@" >> {log}\n{script}', encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("AGENTFLEET_E2E_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KIND_CLUSTERS", "other mine")
    return log


def test_a_context_is_taken_out_of_the_users_kubeconfig(calls: Path) -> None:
    cluster = ContextCluster.connect("dev")
    assert cluster.kubeconfig.read_text(encoding="utf-8") == "only dev\n"
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    cluster.kubectl("get", "pods")
    assert calls.read_text(encoding="utf-8").splitlines()[-1] == (
        f"kubectl --kubeconfig={cluster.kubeconfig} --context=dev get pods"
    )


@pytest.mark.usefixtures("calls")
def test_an_unknown_context_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match="--context staging: no such context; there are: prod, dev"):
        ContextCluster.connect("staging")


def test_kind_is_used_when_it_is_there(calls: Path) -> None:
    cluster = KindCluster.up("mine", nodes=2)
    cluster.load_image(Path("/images/x.tar"))
    cluster.down()
    assert cluster.name == "kind-mine"
    assert [line for line in calls.read_text(encoding="utf-8").splitlines() if "get" not in line] == [
        "kind load image-archive /images/x.tar --name mine",
        "kind delete cluster --name mine",
    ]


def test_kind_is_made_when_it_is_not_there(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND_CLUSTERS", "")
    with pytest.raises(ClusterError, match="python3 e2e up --kind mine"):
        KindCluster.up("mine", nodes=2)
    assert "kind create cluster --name mine --config -" in calls.read_text(encoding="utf-8").splitlines()


def test_every_worker_of_kind_is_an_edge_site() -> None:
    assert kind_config(2).count("role: worker") == 2
    assert '"topology.kubernetes.io/zone": "store-2"' in kind_config(2)
