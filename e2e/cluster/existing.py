"""Clusters that others made: a kubeconfig context that the user names, and kind on Docker.

No context is ever guessed: the current one may be somebody's production.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import layout
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import run

_FORWARDING = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) ->")


class ContextCluster:
    """The cluster behind one kubeconfig context, reached through kubectl."""

    loads_images = False

    def __init__(self, context: str, kubeconfig: Path) -> None:
        self.name = context
        self.kubeconfig = kubeconfig

    @classmethod
    def connect(cls, context: str) -> ContextCluster:
        """Take the context out of the user's kubeconfig into one of its own, so that nothing can switch it."""
        _require("kubectl", "to use a kubeconfig context")
        known = run(["kubectl", "config", "get-contexts", "-o", "name"]).split()
        if context not in known:
            raise ClusterError(f"--context {context}: no such context; there are: {', '.join(known) or 'none'}")
        minimal = run(["kubectl", "config", "view", "--minify", "--flatten", "--context", context])
        return cls(context, _save_kubeconfig(f"context-{context}", minimal))

    def kubectl_command(self, *args: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--context={self.name}", *args]

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        return run(self.kubectl_command(*args), stdin=stdin, timeout=timeout, shown=["kubectl", *args])

    def network_command(self, argv: Sequence[str | Path]) -> list[str]:
        return [str(word) for word in argv]

    @contextmanager
    def service(self, namespace: str, name: str, port: int) -> Iterator[str]:
        argv = self.kubectl_command("-n", namespace, "port-forward", f"service/{name}", f":{port}")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as forward:
            try:
                assert forward.stdout is not None
                found = _FORWARDING.match(forward.stdout.readline())
                if found is None:
                    raise ClusterError(f"kubectl port-forward to service {namespace}/{name} did not start")
                yield found.group(1)
            finally:
                forward.terminate()

    def load_image(self, archive: Path) -> None:
        raise ClusterError(f"cannot load {archive.name} into {self.name}: push the image to a registry it pulls from")


class KindCluster(ContextCluster):
    """A cluster of kind; it is made when it is not there."""

    loads_images = True

    def __init__(self, kind_name: str, kubeconfig: Path) -> None:
        super().__init__(f"kind-{kind_name}", kubeconfig)
        self._kind_name = kind_name

    @classmethod
    def connect(cls, name: str) -> KindCluster:
        for program in ("kind", "docker", "kubectl"):
            _require(program, "for --kind")
        if name not in run(["kind", "get", "clusters"]).split():
            raise ClusterError(f"--kind {name}: no such cluster; make it with `python3 e2e up --kind {name}`")
        return cls(name, _save_kubeconfig(f"kind-{name}", run(["kind", "get", "kubeconfig", "--name", name])))

    @classmethod
    def up(cls, name: str, nodes: int) -> KindCluster:
        """Make the cluster, with one worker for each edge site, unless it is there."""
        for program in ("kind", "docker"):
            _require(program, "for --kind")
        if name not in run(["kind", "get", "clusters"]).split():
            run(["kind", "create", "cluster", "--name", name, "--config", "-"], stdin=kind_config(nodes), timeout=900)
        return cls.connect(name)

    def down(self) -> None:
        run(["kind", "delete", "cluster", "--name", self._kind_name], timeout=300)

    def load_image(self, archive: Path) -> None:
        run(["kind", "load", "image-archive", str(archive), "--name", self._kind_name], timeout=900)


def kind_config(nodes: int) -> str:
    """kind's configuration: a control plane, and workers labelled as edge sites."""
    lines = ["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:", "- role: control-plane"]
    for index in range(1, nodes + 1):
        lines += ["- role: worker", f'  labels: {{"topology.kubernetes.io/zone": "{layout.node_zone(index)}"}}']
    return "\n".join(lines) + "\n"


def _save_kubeconfig(name: str, content: str) -> Path:
    folder = layout.cache_home() / "kubeconfig"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / re.sub(r"[^A-Za-z0-9._-]", "_", name)
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return path


def _require(program: str, purpose: str) -> None:
    if shutil.which(program) is None:
        raise ClusterError(f"`{program}` is not on this machine; it is needed {purpose}")
