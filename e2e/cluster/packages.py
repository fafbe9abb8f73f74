"""What the embedded cluster needs from the machine: programs, found by name, installed on Debian where missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import SYSTEM_PATH
from e2e.cluster.progress import step
from e2e.cluster.shell import run

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


@dataclass(frozen=True)
class Requirement:
    """A Debian package and the programs that make it unnecessary when they are there already."""

    package: str
    programs: tuple[str, ...]


REQUIREMENTS = (
    Requirement("containerd", ("containerd", "ctr")),
    Requirement("runc", ("runc",)),
    Requirement("iptables", ("iptables",)),
    Requirement("nftables", ("nft",)),
    Requirement("conntrack", ("conntrack",)),
    Requirement("iproute2", ("ip",)),
    Requirement("openssl", ("openssl",)),
    Requirement("util-linux", ("nsenter", "unshare", "setpriv", "mount")),
)


def require_root() -> None:
    """The embedded cluster makes namespaces, mounts and control groups."""
    if os.geteuid() != 0:
        raise ClusterError(
            "the embedded cluster needs root (namespaces, mounts, control groups): use sudo, "
            "or another cluster with --kind NAME (kind and Docker) or --context NAME (a kubeconfig context)"
        )


def cni_folder() -> Path | None:
    """Folder of the CNI plug-ins that the nodes use, None when there is none."""
    wanted = ("ptp", "host-local", "portmap", "loopback")
    return next((folder for folder in CNI_FOLDERS if all((folder / name).exists() for name in wanted)), None)


def missing_packages() -> list[str]:
    """Debian names of what is not on this machine."""
    missing = [
        requirement.package
        for requirement in REQUIREMENTS
        if not all(shutil.which(program, path=SYSTEM_PATH) for program in requirement.programs)
    ]
    if cni_folder() is None:
        missing.append("containernetworking-plugins")
    return missing


def ensure() -> None:
    """Install what is missing on Debian and Ubuntu; elsewhere name it."""
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing on this machine: {', '.join(missing)} (Debian's package names); install them, "
            "or use another cluster with --kind NAME or --context NAME"
        )
    _apt_install(missing)
    still_missing = missing_packages()
    if still_missing:
        raise ClusterError(f"still missing after the installation: {', '.join(still_missing)}; install them by hand")


def _apt_install(names: Sequence[str]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"install {' '.join(names)}"):
        run(["apt-get", "update", "-q"], env=env, timeout=600)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *names], env=env, timeout=1200)
