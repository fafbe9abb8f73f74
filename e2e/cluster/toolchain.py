"""The cluster's programs, built once from Go modules into the cache.

A build is keyed by the content of its Go module here, made under a temporary name and renamed when it is whole, so that
an interrupted build is never taken for a finished one. Two modules on purpose: Kubernetes keeps exactly the
dependencies that its authors tested, and the add-ons (CoreDNS, Helm, kwok) share one newer client library.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import cache_home
from e2e.cluster.progress import Step, step
from e2e.cluster.shell import exclusive, run

_SOURCES = Path(__file__).parent
KUBE_COMPONENTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl",
)  # fmt: skip


@dataclass(frozen=True)
class Build:
    """One ``go build``: which module folder, which packages, and links to make beside the result."""

    name: str
    module: str
    packages: tuple[str, ...]
    versioned_by: str
    links: tuple[tuple[str, str], ...] = ()
    """Names that the executables are called by as well: link, target."""
    module_files: tuple[str, ...] = ()
    """Files of the module ``versioned_by`` that its program needs at run time."""

    @property
    def source(self) -> Path:
        return _SOURCES / self.module

    @property
    def version(self) -> str:
        """Version of the module that this build is about, as go.mod pins it."""
        pattern = rf"^\s*(?:require )?{re.escape(self.versioned_by)} (v\S+)"
        found = re.search(pattern, self._text("go.mod"), re.MULTILINE)
        if found is None:
            raise ClusterError(f"{self.source / 'go.mod'} does not require {self.versioned_by}")
        return found.group(1)

    @property
    def ldflags(self) -> str:
        flags = "-s -w"
        if self.module == "kubernetes":
            # Without these the API server calls itself v0.0.0-master and version checks of clients and charts fail.
            major, minor, _ = self.version.removeprefix("v").split(".", 2)
            values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor}
            flags += "".join(f" -X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
        return flags

    @property
    def folder(self) -> Path:
        """Where the result lies (or will): the key covers every file that goes into the build."""
        digest = hashlib.sha256(repr((self.packages, self.ldflags, self.links, self.module_files)).encode())
        for path in sorted(self.source.rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(self.source)).encode() + b"\0" + path.read_bytes())
        return cache_home() / "bin" / f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"

    def _text(self, name: str) -> str:
        return (self.source / name).read_text(encoding="utf-8")


KUBERNETES = Build(
    name="kubernetes",
    module="kubernetes",
    packages=("./kube", "./pause"),
    versioned_by="k8s.io/kubernetes",
    links=tuple((component, "kube") for component in KUBE_COMPONENTS),
)
COREDNS = Build("coredns", "addons", ("./coredns",), "github.com/coredns/coredns")
HELM = Build("helm", "addons", ("helm.sh/helm/v3/cmd/helm",), "helm.sh/helm/v3")
KWOK = Build(
    name="kwok",
    module="addons",
    packages=("sigs.k8s.io/kwok/cmd/kwok",),
    versioned_by="sigs.k8s.io/kwok",
    module_files=(
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/fast/pod-complete.yaml",
        "kustomize/stage/pod/fast/pod-delete.yaml",
    ),
)


def ensure(build: Build) -> Path:
    """Folder with the programs of ``build``, which are built first when the cache has them not."""
    folder = build.folder
    if folder.exists():
        return folder
    with exclusive(cache_home() / "build.lock"):
        if not folder.exists():
            _build(build, folder)
    return folder


def helm() -> Path:
    """Path of the ``helm`` program."""
    return ensure(HELM) / "helm"


def kubectl() -> Path:
    """Path of the ``kubectl`` program."""
    return ensure(KUBERNETES) / "kubectl"


def _build(build: Build, folder: Path) -> None:
    unfinished = folder.parent / f".{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with step(f"build {build.name} {build.version}, once") as progress:
        _go_build(build, unfinished, progress)
    for link, target in build.links:
        (unfinished / link).symlink_to(target)
    if build.module_files:
        module = Path(run([go(), "list", "-m", "-f", "{{.Dir}}", build.versioned_by], cwd=build.source).strip())
        for name in build.module_files:
            shutil.copyfile(module / name, unfinished / Path(name).name)
    unfinished.rename(folder)


def go() -> str:
    """Path of the ``go`` program."""
    found = shutil.which("go")
    if found is None:
        raise ClusterError(
            "`go` is not on this machine: install Go 1.26 or newer to build the embedded cluster, "
            "or use another cluster with --kind NAME or --context NAME"
        )
    return found


def _go_build(build: Build, destination: Path, progress: Step) -> None:
    argv = [go(), "build", "-v", "-trimpath", "-ldflags", build.ldflags, "-o", f"{destination}/", *build.packages]
    if setpriv := shutil.which("setpriv"):
        # A killed `up` must not leave a compiler running for minutes.
        argv = [setpriv, "--pdeathsig", "TERM", *argv]
    env = {**os.environ, "CGO_ENABLED": "0", "GOOS": "linux"}
    with subprocess.Popen(
        argv, cwd=build.source, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            said = _follow(process, progress.update)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise ClusterError(f"building {build.name} failed: {' / '.join(said[-4:])}")


def _follow(process: subprocess.Popen[str], update: Callable[[str], None]) -> list[str]:
    """Report packages as they compile; return the lines that are not package names, which are messages."""
    messages: list[str] = []
    compiled = 0
    assert process.stderr is not None
    for line in process.stderr:
        text = line.strip()
        if " " in text:
            messages.append(text)
            update(text)
        else:
            compiled += 1
            update(f"{compiled} packages, {text}")
    return messages
