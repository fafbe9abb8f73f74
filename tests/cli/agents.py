"""Agents as the command line finds them, their pods, and a kubectl that does what the real one does on this machine."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agentfleet.objects import Manifest
from tests.cli.servers import READY, FakeApi, condition, listing

AGENTS = "/apis/agentfleet.dev/v1alpha1/namespaces/prod/agents"
PODS = "/api/v1/namespaces/prod/pods"
TOKEN = "/api/v1/namespaces/prod/serviceaccounts/{}/token"


def an_agent(name: str = "desk", *, spec: Manifest | None = None, **status: Any) -> Manifest:
    """An Agent of namespace prod, with one pod that serves unless status says otherwise."""
    usual = {
        "replicas": 1,
        "readyReplicas": 1,
        "model": "phi",
        "tools": [{"name": "lookup_customer", "source": "crm"}],
        "url": f"http://{name}-agent.prod.svc.cluster.local/v1",
        "conditions": [READY, condition("ModelReady", "True"), condition("ToolsReady", "True")],
    }
    return {
        "kind": "Agent",
        "metadata": {"name": name, "namespace": "prod", "uid": "u", "generation": 1},
        "spec": {"model": {"modelServerRef": {"name": "phi"}}, "access": {"default": "Allow"}, **(spec or {})},
        "status": usual | status,
    }


def a_pod(name: str = "desk-agent-0", *, ready: bool = True, **status: Any) -> Manifest:
    """A pod of it."""
    return {
        "metadata": {"name": name},
        "spec": {"serviceAccountName": "desk-agent", "containers": [{"name": "agent"}]},
        "status": {"phase": "Running", "conditions": [condition("Ready", str(ready))], **status},
    }


def serve_agents(api: FakeApi, *agents: Manifest, pods: Iterable[Manifest] = ()) -> None:
    """Let these be the Agents of namespace prod, and these its pods."""
    api.answers[AGENTS] = listing(*agents)
    api.answers |= {f"{AGENTS}/{each['metadata']['name']}": each for each in agents}
    api.answers[PODS] = listing(*pods)
    api.answers[TOKEN.format("default")] = {"status": {"token": "a-token"}}


def kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, forwards_to: int = 0, executes: str = "") -> Path:
    """Put a kubectl first in PATH whose port-forward says this port, and whose exec runs this shell text; it writes
    down its arguments, one line for each call."""
    calls = folder / "kubectl-calls"
    path = folder / "kubectl"
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n'
        f'case "$1" in\n'
        f'port-forward) echo "Forwarding from 127.0.0.1:{forwards_to} -> 8080"; exec sleep 60;;\n'
        f"exec) {executes or ':'};;\nesac\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls
