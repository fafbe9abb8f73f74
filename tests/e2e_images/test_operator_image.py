"""What operator/Dockerfile, its ignore file, the cache key and the pinned versions must agree on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.images import BuildError, build, docker, golang
from e2e.images.shell import run

DOCKERFILE = build.REPOSITORY / "operator" / "Dockerfile"


def copied() -> set[str]:
    """Sources of the COPY instructions that read the build context."""
    instructions = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    return {source for instruction in instructions for source in instruction.split()}


def test_the_cache_key_covers_all_that_the_dockerfile_copies() -> None:
    locks = {str(lock.relative_to(build.REPOSITORY)) for lock in build.LOCKS.values()}
    assert {*build.SOURCES, *locks} == copied()


def test_every_target_is_built() -> None:
    stages = re.findall(r"^FROM python AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert set(build.LOCKS) == set(stages)


def test_the_context_holds_exactly_what_the_dockerfile_copies() -> None:
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied()
    assert "*" in lines


def test_no_package_shadows_the_standard_library_module_operator() -> None:
    assert not (build.REPOSITORY / "operator" / "__init__.py").exists()


def test_docker_gets_the_commands_that_users_are_told() -> None:
    archive = Path("/cache/operator.tar")
    assert docker.commands("agentfleet/operator:dev", Path("/repo"), DOCKERFILE, "operator", archive) == [
        ["docker", "build", f"--file={DOCKERFILE}", "--target=operator", "--tag=agentfleet/operator:dev", "/repo"],
        ["docker", "save", "--output=/cache/operator.tar", "agentfleet/operator:dev"],
    ]


@pytest.mark.parametrize(
    ("module", "dependency"),
    [("ollama", "github.com/ollama/ollama"), ("registry", "github.com/distribution/distribution/v3")],
)
def test_the_version_of_a_go_program_is_pinned(module: str, dependency: str) -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+", golang.version(build.FOLDER / module, dependency))


def test_a_missing_dependency_is_named() -> None:
    with pytest.raises(BuildError, match=r"ollama/go\.mod does not require example\.com/nothing"):
        golang.version(build.FOLDER / "ollama", "example.com/nothing")


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(BuildError, match=r"failed \(exit 3\):\nno space left"):
        run(["sh", "-c", "echo no space left >&2; exit 3"])


def test_a_missing_program_is_named() -> None:
    with pytest.raises(BuildError, match="`no-such-program` is not on this machine"):
        run(["no-such-program"])
