"""cli/arguments.py and cli/main.py: the command line, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

import agentfleet
from agentfleet.cli.arguments import parse
from agentfleet.cli.main import main

OPERATOR = str(Path(agentfleet.__file__).parent.parent)


@pytest.mark.parametrize("argv", [["-n", "a", "status"], ["status", "-n", "a"], ["-n", "b", "status", "-n", "a"]])
def test_options_may_stand_before_and_after_the_command(argv: list[str]) -> None:
    assert parse(argv).namespace == "a"


def test_defaults() -> None:
    arguments = parse(["recommend", "chat"])
    assert (arguments.namespace, arguments.output, arguments.operator_namespace) == (None, "table", "agentfleet-system")
    assert arguments.module == "recommendations"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["status", "-o", "yaml"], "invalid choice: 'yaml'"),
        (["approve"], "required: NAME"),
        (["report", "a", "--samples", "1001"], "'1001' is not a whole number from 0 to 1000"),
        (["bench", "a", "--level-time", "15"], "'15' is not a duration: write for example 500ms"),
        (["simulate", "a", "--set", "replicas=2"], "'replicas=2' is not of the form scaling.FIELD=VALUE"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_changes_of_a_simulation() -> None:
    arguments = parse(
        ["simulate", "a", "--set", "spec.scaling.minReplicas=2", "--set", "scaling.slo.timeToFirstToken=1s"]
    )
    assert arguments.changes == [("scaling.minReplicas", "2"), ("scaling.slo.timeToFirstToken", "1s")]


def test_no_kubeconfig(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kubeconfig", "/nowhere", "status"]) == 1
    assert "the kubeconfig cannot be used" in capsys.readouterr().err


def test_no_api_server(capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("kube") / "config"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: t}}]\n"
    )
    assert main(["--kubeconfig", str(path), "status"]) == 1
    assert "error: cannot reach http://127.0.0.1:1" in capsys.readouterr().err


def test_help_imports_nothing_slow() -> None:
    code = "import sys; from agentfleet.cli.arguments import parse; parse(['status']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": OPERATOR}, capture_output=True, check=True)
    loaded = run.stdout.decode().split()
    assert not {"kubernetes", "aiohttp", "pydantic", "httpx"} & set(loaded)
