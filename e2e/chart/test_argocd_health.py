"""argocd/health.lua against its cases, in Lua 5.1 as Argo CD speaks it, without the libraries that it leaves out."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml

from agentfleet.resources.conditions import HINTS
from agentfleet.resources.modelserver import ModelServerSpec
from agentfleet.resources.modelserver_status import ModelServerStatus
from e2e.chart.rendering import CHART

ARGOCD = CHART / "argocd"
CASES: list[dict[str, Any]] = yaml.safe_load((ARGOCD / "health_test.yaml").read_text())["tests"]
NAMES = [case["inputPath"].removeprefix("testdata/").removesuffix(".yaml") for case in CASES]
LEFT_OUT = ("string", "math", "io", "os", "debug", "coroutine", "python")


def _health(manifest: dict[str, Any]) -> dict[str, Any]:
    lua = importlib.import_module("lupa.lua51").LuaRuntime(register_eval=False, register_builtins=False)
    variables = lua.globals()
    for library in LEFT_OUT:
        variables[library] = None
    variables["obj"] = lua.table_from(manifest, recursive=True)
    return dict(lua.execute((ARGOCD / "health.lua").read_text()))


def _input(case: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((ARGOCD / case["inputPath"]).read_text())
    return manifest


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_health(case: dict[str, Any]) -> None:
    assert _health(_input(case)) == case["healthStatus"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_case_is_an_object_that_can_exist(case: dict[str, Any]) -> None:
    manifest = _input(case)
    ModelServerSpec.model_validate(manifest["spec"])
    status = manifest.get("status", {})
    assert ModelServerStatus.model_validate(status).dump() == ModelServerStatus().dump() | status
    for condition in status.get("conditions", ()):
        assert condition["message"].endswith(HINTS[condition["reason"]])


def test_every_file_is_a_case() -> None:
    assert sorted(path.stem for path in (ARGOCD / "testdata").iterdir()) == sorted(NAMES)
