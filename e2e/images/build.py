"""What images there are and what each is made of.

Each one is a Dockerfile plus a folder that this module fills for it. The operator's is the Dockerfile that users build;
the others stand in for images that a machine without a registry cannot pull, under names of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from e2e.images import Image, Progress, cache, debian, docker, golang, haproxy, redis, registry, wheels
from e2e.images.buildah import Buildah

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path(__file__).parent

PYTHON = "3.11"
PYTHON_RELEASE = "bookworm"  # the Debian release with that Python
PYTHON_PACKAGES = ["python3", "python3-venv", "ca-certificates", "dash", "coreutils"]
# Newer than the C library of any machine that compiles Ollama, and the first release with llama.cpp.
ENGINE_RELEASE = "forky"
LLAMA_PACKAGES = ["llama.cpp-tools", "busybox-static"]
OLLAMA_PACKAGES = ["libstdc++6", "busybox-static"]
# Header libraries that Ollama's build copies in, but its Go module leaves out.
OLLAMA_HEADERS = ["libminiaudio-dev", "libstb-dev", "nlohmann-json3-dev"]
AUTHORITIES = "ca-certificates"

# What operator/Dockerfile copies but for lock files; operator/Dockerfile.dockerignore lets nothing else in.
SOURCES = ["LICENSE", "README.md", "pyproject.toml", "operator/agentfleet"]
LOCKS = {"operator": REPOSITORY / "requirements.lock", "runtime": REPOSITORY / "operator" / "runtime.lock"}
"""The targets of operator/Dockerfile, and which lock file each installs."""


def build_project(progress: Progress) -> list[Image]:
    """The project's own images from the working tree; seconds after a change of the source, nothing without one."""
    with cache.lock():
        return _project(progress)


def build_all(progress: Progress) -> list[Image]:
    """All images; minutes the first time, nothing when all is there."""
    with cache.lock():
        stand_ins = [build(progress) for build in (_llama_server, _registry, _ollama, _haproxy, _redis)]
        return [*_project(progress), *stand_ins]


def _project(progress: Progress) -> list[Image]:
    return [_own(target, lock, progress) for target, lock in LOCKS.items()]


def _own(target: str, lock: Path, progress: Progress) -> Image:
    """The image agentfleet/TARGET:dev from that target of operator/Dockerfile."""
    tag, dockerfile = f"agentfleet/{target}:dev", REPOSITORY / "operator" / "Dockerfile"
    with_docker = docker.available()
    sources = cache.digest(dockerfile, lock, *(REPOSITORY / source for source in SOURCES))

    def make(archive: Path) -> None:
        progress(f"building {tag}")
        if with_docker:
            docker.build(tag, REPOSITORY, dockerfile, target, archive)
            return
        buildah = Buildah(progress)
        buildah.clean()
        buildah.build(
            tag,
            REPOSITORY,
            dockerfile,
            target=target,
            ignorefile=dockerfile.with_name("Dockerfile.dockerignore"),
            arguments={"BASE": _base(buildah, progress), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"},
            volumes={_wheels(target, lock, progress): "/wheels"},
        )
        buildah.save(tag, archive)

    key = cache.digest("docker" if with_docker else _base_tag(), sources)
    return Image(tag, cache.entry(f"{target}.tar", key, make))


def _wheels(target: str, lock: Path, progress: Progress) -> Path:
    return wheels.wheelhouse(f"{target}-wheels", lock, REPOSITORY / "pyproject.toml", PYTHON, progress)


def _base_tag() -> str:
    key = cache.digest(FOLDER / "base", FOLDER / "debian.py", PYTHON_RELEASE, *PYTHON_PACKAGES)
    return f"localhost/agentfleet/base:{key}"


def _base(buildah: Buildah, progress: Progress) -> str:
    tag = _base_tag()
    if not buildah.has(tag):
        progress(f"unpacking Debian {PYTHON_RELEASE} with Python {PYTHON}")
        with cache.scratch() as context:
            debian.root(context / "root", PYTHON_RELEASE, PYTHON_PACKAGES)
            buildah.build(tag, context, FOLDER / "base" / "Dockerfile")
    return tag


def _llama_server(progress: Progress) -> Image:
    def fill(context: Path) -> None:
        root = context / "root"
        debian.root(root, ENGINE_RELEASE, LLAMA_PACKAGES)
        _add_shell(root)
        (root / "app").mkdir()
        (root / "app" / "llama-server").symlink_to("/usr/bin/llama-server")

    key = cache.digest(FOLDER / "llama-server", FOLDER / "debian.py", ENGINE_RELEASE, *LLAMA_PACKAGES)
    return _image("llama-server", key, fill, progress)


def _ollama(progress: Progress) -> Image:
    def compile_program(program: Path) -> None:
        progress(f"compiling Ollama {golang.version(module, package)} (minutes)")
        with cache.scratch() as work:
            debian.root(work / "headers", ENGINE_RELEASE, OLLAMA_HEADERS, dependencies=False)
            include = work / "headers" / "usr" / "include"
            # Ollama's sources name the header with its folder, Debian has it without.
            (work / "own").mkdir()
            (work / "own" / "miniaudio").symlink_to(include)
            golang.build(module, package, program, includes=[work / "own", include])

    def fill(context: Path) -> None:
        root = context / "root"
        debian.root(root, ENGINE_RELEASE, OLLAMA_PACKAGES)
        _add_shell(root)
        # Apart from the image: minutes to compile, and a new Dockerfile or release of Debian changes nothing about it.
        compiled_from = cache.digest(module / "go.mod", module / "go.sum", *OLLAMA_HEADERS)
        program = cache.entry("ollama-program", compiled_from, compile_program)
        shutil.copy(program, root / "bin" / "ollama")

    module, package = FOLDER / "ollama", "github.com/ollama/ollama"
    key = cache.digest(module, FOLDER / "debian.py", ENGINE_RELEASE, *OLLAMA_PACKAGES, *OLLAMA_HEADERS)
    return _image("ollama", key, fill, progress)


def _registry(progress: Progress) -> Image:
    def fill(context: Path) -> None:
        golang.build(registry.FOLDER, ".", context / "registry")
        shutil.copy(registry.FOLDER / "config.yml", context)
        with cache.scratch() as work:
            registry.fill(context / "registry", context / "data", work)

    return _image("registry", cache.digest(registry.FOLDER, REPOSITORY / "e2e" / "models"), fill, progress)


def _haproxy(progress: Progress) -> Image:
    def fill(context: Path) -> None:
        root = context / "root"
        shutil.copytree(haproxy.tree(haproxy.SERVED, progress), root, symlinks=True)
        _add_shell(root)
        _add_authorities(root, context / "authorities")
        local = root / "usr" / "local"
        (local / "etc" / "haproxy").mkdir(parents=True)
        (local / "sbin").mkdir()
        (local / "sbin" / "haproxy").symlink_to("/usr/sbin/haproxy")

    key = cache.digest(FOLDER / "haproxy" / "Dockerfile", haproxy.SERVED.key, AUTHORITIES)
    return _image("haproxy", key, fill, progress)


def _redis(progress: Progress) -> Image:
    def fill(context: Path) -> None:
        shutil.copytree(redis.tree(progress), context / "root", symlinks=True)
        _add_shell(context / "root")

    return _image("redis", cache.digest(FOLDER / "redis" / "Dockerfile", redis.KEY), fill, progress)


def _image(name: str, key: str, fill: Callable[[Path], None], progress: Progress) -> Image:
    """The image agentfleet/NAME:e2e from NAME/Dockerfile and a context that `fill` makes."""
    tag = f"agentfleet/{name}:e2e"

    def make(archive: Path) -> None:
        progress(f"building {tag}")
        buildah = Buildah(progress)
        buildah.clean()
        with cache.scratch() as context:
            fill(context)
            buildah.build(tag, context, FOLDER / name / "Dockerfile")
        buildah.save(tag, archive)
        buildah.remove(tag)

    return Image(tag, cache.entry(f"{name}.tar", key, make))


def _add_shell(root: Path) -> None:
    """A shell for `kubectl exec`, as the images that these stand in for have one."""
    (root / "bin" / "sh").symlink_to("busybox")


def _add_authorities(root: Path, unpacked: Path) -> None:
    """The public certificate authorities, where OpenSSL looks for them: without any HAProxy does not start with a route
    to a cloud. Not in HAProxy's own tree, which also runs on this machine, with the authorities from there."""
    debian.root(unpacked, haproxy.RELEASE, [AUTHORITIES], dependencies=False)
    shutil.copytree(unpacked / "etc" / "ssl", root / "etc" / "ssl", dirs_exist_ok=True)
    openssl = root / "usr" / "lib" / "ssl"
    openssl.mkdir(parents=True, exist_ok=True)
    (openssl / "certs").unlink(missing_ok=True)
    (openssl / "certs").symlink_to("/etc/ssl/certs")
