"""Running the loader in tests, and what it leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Load = Callable[..., str]
"""load(server, target, source, *options, code=0) → its log. `server` has a url, and perhaps a ca."""


def arguments_of(server: Any, target: Path, source: str, *arguments: str) -> list[str]:
    """The command line of a loader whose source is a stand-in."""
    common = ["--source", source, "--target", str(target), "--endpoint", server.url]
    if getattr(server, "ca", None):
        common += ["--ca-bundle", str(server.ca)]
    return [*common, "--termination-log", str(target.parent / "termination-log"), *arguments]


def secret(folder: Path, **keys: str) -> list[str]:
    """The option for a mounted Secret with these keys; a dot is written as __."""
    mounted = folder / "secret"
    mounted.mkdir()
    for key, value in keys.items():
        (mounted / key.replace("__", ".")).write_text(value)
    return ["--credentials-dir", str(mounted)]


def told(target: Path) -> Any:
    """What the loader tells the operator."""
    return json.loads((target.parent / "termination-log").read_text())


def failure(target: Path) -> Any:
    """Why the loader failed; operator and sidecar are told the same."""
    progress = json.loads((target / ".agentfleet/progress.json").read_text())
    assert (progress["state"], progress["reason"]) == ("Failed", told(target)["reason"])
    return told(target)


def marker(target: Path) -> Any:
    """The note of a complete cache."""
    return json.loads((target / ".agentfleet/complete.json").read_text())
