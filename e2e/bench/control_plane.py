"""A control plane of its own for a benchmark: etcd, API server and some controllers on loopback, without nodes.

It stands beside the embedded cluster, whose kubelets and pods would take the CPU that is measured. Everything lies in
one temporary folder and ends with the block. The API server's audit log is the benchmark's clock and counter: it
stamps each write of the operator and of the bare client alike, and no client can forget one.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.process import Process, running
from e2e.cluster import toolchain
from e2e.cluster.shell import run, succeeds, wait_until
from e2e.support.ports import free_ports

_WRITING = ("create", "update", "patch", "delete", "deletecollection")
_CONTROLLER_MANAGER = "system:kube-controller-manager"
_CONTROLLERS = "deployment-controller,replicaset-controller,endpointslice-controller"
"""Those that act on children: what an operator at rest has beside it."""


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane."""

    folder: Path
    server: str
    tokens: dict[str, str]
    """Bearer token by user."""
    programs: Path
    processes: list[Process]

    @property
    def authority(self) -> Path:
        return self.folder / "certificates" / "apiserver.crt"  # signed by itself

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        """Kubeconfig with the token of ``user``."""
        return _write_kubeconfig(self.folder, self.server, self.authority, user, self.tokens[user])

    @contextmanager
    def controllers(self) -> Iterator[None]:
        """Run controllers for the block."""
        argv: list[str | Path] = [self.programs / "kube-controller-manager", *_controller_manager(self)]
        with running("kube-controller-manager", argv, self.folder) as process:
            self.processes.append(process)
            try:
                yield
            finally:
                self.processes.remove(process)

    @property
    def cpu_seconds(self) -> float:
        """What its processes have used so far."""
        return sum(process.cpu_seconds for process in self.processes)

    def expect_running(self) -> None:
        """Raise when a part of it has ended."""
        for process in self.processes:
            process.expect_running()


@contextmanager
def control_plane(audited: tuple[str, ...]) -> Iterator[ControlPlane]:
    """Run a control plane for the block, with a token for each of ``audited``, whose writes are in the audit log."""
    programs = toolchain.ensure(toolchain.KUBERNETES)
    with tempfile.TemporaryDirectory(prefix="agentfleet-bench-") as name, ExitStack() as stack:

        def start(program: str, flags: list[str]) -> Process:
            return stack.enter_context(running(program, [programs / program, *flags], folder))

        folder = Path(name)
        tokens = {user: secrets.token_hex(16) for user in (*audited, _CONTROLLER_MANAGER)}
        _write_files(folder, tokens, audited)
        etcd_port, peer_port, port = free_ports(3)
        etcd = start("etcd", _etcd(folder, etcd_port, peer_port))
        api_server = start("kube-apiserver", _api_server(folder, etcd_port, port))
        plane = ControlPlane(folder, f"https://127.0.0.1:{port}", tokens, programs, [etcd, api_server])
        _wait_ready(plane)
        yield plane


def _write_files(folder: Path, tokens: dict[str, str], audited: tuple[str, ...]) -> None:
    (folder / "tokens.csv").write_text(
        # Members of this group are served like any operator; others would be queued with people's requests.
        "".join(f'{token},{user},{user},"system:serviceaccounts"\n' for user, token in tokens.items()),
        encoding="utf-8",
    )
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": list(audited), "verbs": list(_WRITING)},
            {"level": "None"},
        ],
    }
    (folder / "audit-policy.json").write_text(json.dumps(policy), encoding="utf-8")
    key = folder / "service-account.key"
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])


def _etcd(folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        "--name=bench",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=bench={peer}",
        "--unsafe-no-fsync",  # the disk is not what is measured
        "--log-level=error",
    ]


def _api_server(folder: Path, etcd_port: int, port: int) -> list[str]:
    key = folder / "service-account.key"
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        "--service-cluster-ip-range=10.96.0.0/16",  # one address for each Service, thousands
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=AlwaysAllow",  # permissions are not what is measured
        "--service-account-issuer=https://bench",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--audit-policy-file={folder / 'audit-policy.json'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-mode=blocking",
        "--delete-collection-workers=8",
        "--profiling=false",
    ]


def _controller_manager(plane: ControlPlane) -> list[str]:
    return [
        f"--kubeconfig={plane.kubeconfig(_CONTROLLER_MANAGER)}",
        f"--controllers={_CONTROLLERS}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",  # the default of 20 would take minutes to catch up
        "--kube-api-burst=1000",
        "--profiling=false",
    ]


def _wait_ready(plane: ControlPlane) -> None:
    kubeconfig = plane.kubeconfig(_CONTROLLER_MANAGER)
    kubectl: list[str | Path] = [plane.programs / "kubectl", f"--kubeconfig={kubeconfig}", "get", "--raw=/readyz"]

    def ready() -> bool:
        plane.expect_running()
        return plane.authority.exists() and succeeds(kubectl)

    wait_until(ready, "the benchmark's API server is ready", timeout=90, interval=0.3)


def _write_kubeconfig(folder: Path, server: str, authority: Path, user: str, token: str) -> Path:
    path = folder / f"{user.replace(':', '-')}.kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "bench", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return path
