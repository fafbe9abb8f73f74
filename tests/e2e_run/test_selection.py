"""Which parts `python3 e2e test` runs for which arguments, and what its exit status says."""

import pytest

from e2e import run
from e2e.cluster import ClusterError, Target


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_built", lambda build: 0)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("scenarios/drift", "e2e/scenarios/drift"),
        ("e2e/scenarios/drift/", "e2e/scenarios/drift"),
        ("chart", "e2e/chart"),
        ("tests/engines", "tests/engines"),
        ("scenarios/drift/test_drift.py::test_x", "e2e/scenarios/drift/test_drift.py::test_x"),
    ],
)
def test_paths_may_be_given_from_the_top_or_from_e2e(text: str, path: str) -> None:
    assert run._path(text) == path


def test_a_path_that_does_not_exist_is_named() -> None:
    with pytest.raises(ClusterError, match="scenarios/drifft: no such file"):
        run._path("scenarios/drifft")


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        ([], ["HAProxy, Redis", "unit tests", "lint", "format", "types", "import layers", "CRDs in sync", "chart"]),
        (["tests/engines"], ["HAProxy, Redis", "unit tests"]),
        (["e2e/chart", "tests"], ["HAProxy, Redis", "unit tests", "chart"]),
        (["e2e/scenarios/drift"], []),
    ],
)
def test_paths_select_parts(monkeypatch: pytest.MonkeyPatch, paths: list[str], parts: list[str]) -> None:
    monkeypatch.setattr(run, "_run", lambda command, **_: 0)
    assert [result.name for result in run._quick_parts(paths, [], selected=bool(paths))] == parts


@pytest.mark.parametrize(("status", "exit_status"), [(0, 0), (5, 0), (1, 1)])
def test_one_part_that_fails_fails_all_but_the_rest_is_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, exit_status: int
) -> None:
    monkeypatch.setattr(run, "_run", lambda command, **_: status if "tests" in command else 0)
    assert run.main(Target(), ["--no-cluster"]) == exit_status
    table = capsys.readouterr().out
    assert table.count("passed") == 8 - (status != 0)
    assert ("FAILED" in table) is bool(exit_status)


@pytest.mark.parametrize(
    ("scenarios", "wanted"),
    [
        (["e2e/scenarios"], ["vLLM", "policy evaluator", "LeaderWorkerSet's CRD"]),
        (["e2e/scenarios/vllm/test_vllm.py::test_x"], ["vLLM"]),
        (["e2e/scenarios/agent_offline"], ["policy evaluator"]),
        (["e2e/scenarios/drift", "-x"], []),
    ],
)
def test_what_a_scenario_needs_is_built_for_it_only(scenarios: list[str], wanted: list[str]) -> None:
    assert [name for name, _ in run._builds(scenarios)] == wanted


@pytest.mark.parametrize(("full", "wanted"), [(False, []), (True, ["clients"])])
def test_what_only_long_tests_need_is_built_for_them_only(full: bool, wanted: list[str]) -> None:
    assert [name for name, _ in run._builds(["e2e/scenarios/route"], full=full)] == wanted
