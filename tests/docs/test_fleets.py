"""The example fleets cannot rot unseen: manifests are legal, what they name is there, each function is a tool."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
import yaml

from agentfleet.resources.agent import Agent
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.modelserver import ModelServer
from agentfleet.runtime.tools.python_functions import load

FLEETS = Path(__file__).parents[2] / "e2e/scenarios/fleets"
FOLDERS = sorted(file.parent for file in FLEETS.glob("*/kustomization.yaml"))
_KINDS = {"Agent": Agent, "AgentRoute": AgentRoute, "ModelServer": ModelServer}
_MODEL = "small"
"""Which the user brings."""

Document = dict[str, Any]


def _kustomization(folder: Path) -> Document:
    found: Document = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    return found


def _documents(folder: Path) -> Iterator[Document]:
    for resource in _kustomization(folder)["resources"]:
        path = (folder / resource).resolve()
        if path.is_dir():
            yield from _documents(path)
        else:
            yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def _generated(folder: Path) -> dict[str, list[Path]]:
    """Files by ConfigMap, of the fleets that this one holds, too."""
    kustomization = _kustomization(folder)
    found = {
        each["name"]: [folder / file for file in each["files"]] for each in kustomization.get("configMapGenerator", ())
    }
    for resource in kustomization["resources"]:
        if (folder / resource).is_dir():
            found |= _generated((folder / resource).resolve())
    return found


def _named(folder: Path, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in _documents(folder) if each["kind"] == kind}


def _agents(folder: Path) -> list[Agent]:
    return [Agent.from_manifest(_placed(each)) for each in _documents(folder) if each["kind"] == "Agent"]


def _placed(manifest: Document) -> Document:
    return manifest | {"metadata": manifest["metadata"] | {"namespace": "fleets", "uid": "1", "generation": 1}}


def test_all_fleets_of_the_readme_are_there() -> None:
    text = (FLEETS / "README.md").read_text(encoding="utf-8")
    assert [folder.name for folder in FOLDERS] == sorted(
        line.split("[")[1].split("]")[0] for line in text.splitlines() if line.startswith("| [")
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_manifests_are_legal_and_name_what_is_there(folder: Path) -> None:
    for each in _documents(folder):
        if each["kind"] in _KINDS:
            _KINDS[each["kind"]].from_manifest(_placed(each))
    models, others = {_MODEL, *_named(folder, "ModelServer")}, _named(folder, "Agent")
    for agent in _agents(folder):
        model = agent.spec.model
        assert model is not None
        assert model.model_server_ref is None or model.model_server_ref.name in models
        tools = agent.spec.tools
        assert {tool.python.config_map_name for tool in tools if tool.python} <= set(_generated(folder))
        members = agent.spec.orchestration.members if agent.spec.orchestration else ()
        assert {*members, *(tool.agent.name for tool in tools if tool.agent)} <= others


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_function_is_a_tool(folder: Path, tmp_path: Path) -> None:
    generated = _generated(folder)
    for tool in (tool for agent in _agents(folder) for tool in agent.spec.tools if tool.python):
        place = tmp_path / tool.name
        place.mkdir()
        assert tool.python is not None
        for file in generated[tool.python.config_map_name]:
            copy(file, place)
        functions, problems = load(place)
        assert not problems
        assert functions


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_token_stands_in_an_address(folder: Path) -> None:
    """Arguments of GET and DELETE do, and addresses are in the logs of every proxy."""
    for tool in (tool for agent in _agents(folder) for tool in agent.spec.tools if tool.http):
        assert tool.http is not None
        arguments = set((tool.http.input_schema or {}).get("properties", {}))
        assert "{token}" not in tool.http.url
        assert "token" not in arguments or tool.http.method not in {None, "GET", "DELETE"}
