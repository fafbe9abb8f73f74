"""cli/forward.py with a kubectl that says what the real one says."""

import asyncio
import os
from pathlib import Path

import pytest

from agentfleet.cli.forward import NoTunnel, forwarded


def kubectl(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of this name first in PATH; it writes down its arguments."""
    path = folder / "kubectl"
    path.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_the_port_that_kubectl_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a warning before it, and more lines behind it than a pipe holds
    says = 'echo "W: slow" >&2; echo "Forwarding from 127.0.0.1:4711 -> 8000"; yes "Handling connection" | head -20000'
    kubectl(tmp_path, f"{says}; touch {tmp_path}/unblocked; exec sleep 60", monkeypatch)
    async with forwarded("prod", "chat-0", 8000, kubeconfig="/k", context="x") as address:
        assert address == "127.0.0.1:4711"
        for _ in range(1000):
            if (tmp_path / "unblocked").exists():
                break
            await asyncio.sleep(0.01)
        assert (tmp_path / "unblocked").exists(), "kubectl is blocked by what it says"
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[0] == "port-forward"
    assert {"--namespace=prod", "--kubeconfig=/k", "--context=x", "pod/chat-0", ":8000"} <= set(arguments)


async def test_what_kubectl_complains_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl(tmp_path, 'echo "error: pods \\"chat-0\\" is forbidden" >&2; exit 1', monkeypatch)
    with pytest.raises(NoTunnel, match='fails: error: pods "chat-0" is forbidden'):
        async with forwarded("prod", "chat-0", 8000, kubeconfig=None, context=None):
            pass


async def test_no_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoTunnel, match="kubectl is not in PATH"):
        async with forwarded("prod", "chat-0", 8000, kubeconfig=None, context=None):
            pass
