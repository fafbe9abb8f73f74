"""Programs from Go modules. Each has a folder here with its go.mod, which pins all that it is built from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from e2e.images import BuildError
from e2e.images.shell import run


def build(module: Path, package: str, program: Path, *, includes: Sequence[Path] | None = None) -> None:
    """Compile `package` into the file `program`; with `includes`, its C and C++ parts too, against those headers."""
    if not shutil.which("go"):
        raise BuildError(f"{program.name} is compiled for the tests: please install {_required(module)} or newer")
    env = {"CGO_ENABLED": "0"}
    if includes is not None:
        if not shutil.which("g++"):
            raise BuildError(f"{program.name} is compiled for the tests: please install g++")
        env = {"CGO_ENABLED": "1", "CGO_CPPFLAGS": " ".join(f"-I{folder}" for folder in includes)}
    run(["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, package], env=env, cwd=module)


def version(module: Path, dependency: str) -> str:
    """The version of `dependency` that `module` pins, such as v1.2.3."""
    pins = (module / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(dependency)} (v\S+)", pins, re.MULTILINE)
    if not found:
        raise BuildError(f"{module / 'go.mod'} does not require {dependency}")
    return found.group(1)


def _required(module: Path) -> str:
    found = re.search(r"^go (\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    return f"Go {found.group(1)}" if found else "Go"
