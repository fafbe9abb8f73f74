"""__main__.py: the table of commands, and that small commands do not load the operator's libraries."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import agentfleet
from agentfleet import __main__ as command_line


@pytest.mark.parametrize("command", command_line.COMMANDS)
def test_every_command_has_a_main(command: str) -> None:
    module = importlib.import_module(command_line.COMMANDS[command][0])
    assert callable(module.main)


def test_the_rest_of_the_line_belongs_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    class Module:
        @staticmethod
        def main(argv: list[str]) -> int:
            given.append(argv)
            return 7

    monkeypatch.setattr(importlib, "import_module", lambda name: Module)
    monkeypatch.setattr(sys, "argv", ["agentfleet", "sidecar", "--port", "1", "--help"])
    assert command_line.main() == 7
    assert given == [["--port", "1", "--help"]]


@pytest.mark.parametrize("command", ["sidecar", "loader"])
def test_what_runs_beside_engines_loads_no_kubernetes_client(command: str) -> None:
    module = command_line.COMMANDS[command][0]
    program = (
        f"import sys, agentfleet.__main__, {module}; "
        "print(sorted({'kopf', 'kubernetes', 'huggingface_hub'} & set(sys.modules)))"
    )
    folder = Path(agentfleet.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
