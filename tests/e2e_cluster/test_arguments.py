"""The command line of ``python3 e2e``: which words are ours, and which belong to kubectl or a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.__main__ import _parser, _split

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argv", "ours", "passed_on"),
    [
        (["kubectl", "-n", "x", "get", "pods"], ["kubectl"], ["-n", "x", "get", "pods"]),
        (["kubectl", "exec", "p", "--", "up"], ["kubectl"], ["exec", "p", "--", "up"]),
        (["--context", "kubectl", "test", "-k", "a"], ["--context", "kubectl", "test"], ["-k", "a"]),
        (["--kind", "c", "demo", "--context", "other"], ["--kind", "c", "demo"], ["--context", "other"]),
        (["load", "test"], ["load", "test"], []),
        (["up", "--nodes", "3"], ["up", "--nodes", "3"], []),
        (["--context"], ["--context"], []),
        ([], [], []),
    ],
)
def test_words_behind_a_passed_on_command_are_not_ours(argv: list[str], ours: list[str], passed_on: list[str]) -> None:
    assert _split(argv) == (ours, passed_on)


@pytest.mark.parametrize("argv", [["--context", "prod", "up"], ["up", "--context", "prod"]])
def test_the_cluster_is_named_before_or_after_the_command(argv: list[str]) -> None:
    assert _parser().parse_args(argv).context == "prod"


def test_no_context_is_guessed() -> None:
    options = _parser().parse_args(["up"])
    assert not {"context", "kind"} & set(vars(options))


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [(["-h"], 0, "COMMAND"), (["up", "-h"], 0, "--nodes"), (["fly"], 2, "fly"), (["up", "--gpus", "many"], 2, "many")],
)
def test_help_and_wrong_commands_need_nothing_but_python(
    argv: list[str], status: int, said: str, tmp_path: Path
) -> None:
    env = {"PATH": os.environ["PATH"], "AGENTFLEET_E2E_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", str(REPOSITORY / "e2e"), *argv],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())
