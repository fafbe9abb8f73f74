"""What the API server refuses: each file of a folder says in its first line what the refusal must contain."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster import CommandError
from e2e.scenarios.scenario import Scenario

_MARK = "# refused: "


def refused_files(test: str) -> list[Path]:
    """The files beside a test module."""
    return sorted((Path(test).parent / "refused").glob("*.yaml"))


def check_refused(scenario: Scenario, file: Path) -> None:
    """Applying `file` fails, in words that help."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(_MARK)
    with pytest.raises(CommandError) as refused:
        scenario.apply(f"refused/{file.name}")
    for word in first.removeprefix(_MARK).split(" | "):
        assert word in refused.value.stderr
