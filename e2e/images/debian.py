"""Small root file systems out of Debian packages, for any release, whatever release this machine runs.

apt resolves and verifies, dpkg-deb unpacks; no package script runs, which makes it five times quicker and three
times smaller than a bootstrapped system. The few things that scripts would have made are in `_finish`. Except for
`install`, which says so, nothing here may touch the packages of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from e2e.images import BuildError, Progress
from e2e.images.shell import run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UNUSED = ("doc", "info", "lintian", "locale", "man")


def install(*packages: str, progress: Progress) -> None:
    """Install packages on this machine (as root on Debian), or say which ones are missing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BuildError(f"please install {' '.join(packages)}: this needs root, on a Debian system")
    progress(f"installing {' '.join(packages)}")
    run(["apt-get", "update"])
    run(
        ["apt-get", "install", "-y", "--no-install-recommends", *packages],
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )


def root(target: Path, release: str, packages: list[str], *, dependencies: bool = True) -> None:
    """Unpack `packages` of `release`, and by default all that they depend on, into the new folder `target`."""
    work = target.with_name(target.name + ".apt")
    debs = _download(work, release, packages, dependencies=dependencies)
    # A merged /usr, as every Debian has had since 12, whatever paths the package was built with.
    for folder in ("bin", "sbin", "lib", "lib64"):
        (target / "usr" / folder).mkdir(parents=True)
        (target / folder).symlink_to(f"usr/{folder}")
    for deb in debs:
        _unpack(deb, target)
    _finish(target)
    shutil.rmtree(work)


def _download(work: Path, release: str, packages: list[str], *, dependencies: bool) -> list[Path]:
    """Fetch packages with an apt that has its own state, so that it sees nothing installed and changes nothing here."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {release} main\n")
    options = {
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "3",
    }
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    run([*apt, "update"])
    archives = work / "cache" / "archives"
    if dependencies:
        run([*apt, "install", "-y", "--download-only", *packages])
    else:
        run([*apt, "download", *packages], cwd=archives)
    return sorted(archives.glob("*.deb"))


def _mirror() -> str:
    """The Debian mirror that this machine's apt is set up to use."""
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = run(query).split()
    if not found:
        run(["apt-get", "update"])
        found = run(query).split()
    if not found:
        raise BuildError("apt knows no Debian mirror: the images are made of Debian's packages, so build on Debian")
    return found[0]


def _unpack(deb: Path, target: Path) -> None:
    exclude = [f"--exclude=./usr/share/{name}" for name in UNUSED]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as package:
        done = subprocess.run(
            ["tar", "-x", "-C", target, "--keep-directory-symlink", *exclude], stdin=package.stdout, check=False
        )
    if done.returncode != 0 or package.returncode != 0:
        raise BuildError(f"cannot unpack {deb.name}; is the disk full?")


def _finish(target: Path) -> None:
    for folder in ("etc", "proc", "sys", "dev", "root", "run", "tmp", "var/tmp"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (target / folder).chmod(0o1777)
    (target / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (target / "etc/group").write_text("root:x:0:\n")
    authorities = sorted((target / "usr/share/ca-certificates").rglob("*.crt"))
    if authorities:
        bundle = target / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(file.read_text() for file in authorities))
