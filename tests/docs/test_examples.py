"""The documentation cannot rot: its manifests are legal and plannable, its links and the tests that it names exist.

CEL rules need an API server and are not judged here; everything else about an example is.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentfleet.gateway import haproxy
from agentfleet.objects import KINDS, Key, Manifest
from agentfleet.planning.agent_observed import AgentObserved
from agentfleet.planning.agent_plan import plan_agent
from agentfleet.planning.agent_uses import agent_uses
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import plan
from agentfleet.planning.preparation import prepare
from agentfleet.planning.route_plan import plan_route
from agentfleet.resources.agent import Agent
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.resources.profile import Profile
from agentfleet.settings import Settings
from tests.agents import UID as AGENT_UID
from tests.agents import served, service
from tests.builders import NAMESPACE, UID
from tests.planning.route_fleet import RouteFleet
from tests.routes import ROUTE_UID, SETTINGS, Held, resolved

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "charts/agentfleet/README.md", *(ROOT / "operator/docs").glob("*.md")])
LINKING = [*PAGES, ROOT / "operator/README.md", ROOT / "e2e/README.md"]
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)

_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"`((?:tests|e2e)/[\w/]+\.py)(?:::(\w+))?`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

Document = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """One document of a page's YAML blocks."""

    page: Path
    line: int
    content: Document

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _documents() -> Iterator[Found]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            yield from (Found(page, line, each) for each in yaml.safe_load_all(block[1]) if isinstance(each, dict))


DOCUMENTS = tuple(_documents())
SERVERS = [found for found in DOCUMENTS if found.content.get("kind") == "ModelServer"]
ROUTES = [found for found in DOCUMENTS if found.content.get("kind") == "AgentRoute"]
AGENTS = [found for found in DOCUMENTS if found.content.get("kind") == "Agent"]


def _profiles(page: Path) -> dict[str, Profile]:
    """The hardware profiles of a page's chart values; an error where one is not legal."""
    values = [found.content["profiles"] for found in DOCUMENTS if found.page == page and "profiles" in found.content]
    return {name: Profile.model_validate(profile) for each in values for name, profile in each.items()}


def _settings(page: Path) -> Settings:
    return Settings(
        host_path_root="/var/lib/agentfleet", sidecar_image="agentfleet/operator:test", profiles=_profiles(page)
    )


@cache
def _schema(plural: str) -> Document:
    crd = yaml.safe_load((ROOT / f"crds/{plural}.yaml").read_text(encoding="utf-8"))
    schema: Document = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Fields that the API server would drop without a word."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, item in value.items():
            if name in schema["properties"]:
                yield from _unknown(item, schema["properties"][name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"


@pytest.mark.parametrize("found", SERVERS, ids=str)
def test_a_manifest_is_legal_and_can_be_planned(found: Found) -> None:
    unknown = _unknown(found.content["spec"], _schema("modelservers")["properties"]["spec"], "spec")
    assert list(unknown) == []
    stored = {"namespace": "default", "uid": UID, "generation": 1}
    server = ModelServer.from_manifest(found.content | {"metadata": found.content["metadata"] | stored})
    observed = Observed(served=frozenset(KINDS))
    settings = _settings(found.page)
    ready = prepare(server, ModelServerStatus(), observed, settings, NOW)
    assert plan(ready.server, observed, settings).apply


@pytest.mark.parametrize("found", ROUTES, ids=str)
def test_a_route_is_legal_and_becomes_gateways(found: Found) -> None:
    unknown = _unknown(found.content["spec"], _schema("agentroutes")["properties"]["spec"], "spec")
    assert list(unknown) == []
    stored = {"namespace": NAMESPACE, "uid": ROUTE_UID, "generation": 1}
    route = AgentRoute.from_manifest(found.content | {"metadata": found.content["metadata"] | stored})
    held = Held()
    for name in _servers_of(found.content["spec"]):
        held.server(name)
    fleet = RouteFleet(held)
    fleet.step(route)
    resolution = resolved(route, held)
    assert {target.reason for target in resolution.targets.values()} <= {"Serving", "External"}
    assert plan_route(route, resolution, fleet.observed(), SETTINGS, haproxy.render).apply


@pytest.mark.parametrize("found", AGENTS, ids=str)
def test_an_agent_is_legal_and_becomes_pods(found: Found) -> None:
    """Whatever it refers to is there: that is the reader's to make."""
    unknown = _unknown(found.content["spec"], _schema("agents")["properties"]["spec"], "spec")
    assert list(unknown) == []
    stored = {"namespace": NAMESPACE, "uid": AGENT_UID, "generation": 1}
    agent = Agent.from_manifest(found.content | {"metadata": found.content["metadata"] | stored})

    def there(key: Key) -> Manifest:
        if key.kind == "Service":
            return service(key.name, key.namespace, 80)
        spec = {"targets": []} if key.kind == "AgentRoute" else {"allowedNamespaces": {"from": "All"}}
        return served(key.kind, key.name, key.namespace, **spec)

    uses = agent_uses(agent, there, SETTINGS)
    assert plan_agent(agent, uses, AgentObserved(), 1, SETTINGS).apply


def _servers_of(value: Any) -> Iterator[str]:
    """Names of the ModelServers that a spec refers to."""
    if isinstance(value, list):
        for item in value:
            yield from _servers_of(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("modelServerRef", "modelRef"):
                yield item["name"]
            else:
                yield from _servers_of(item)


def test_the_examples_are_found() -> None:
    assert {found.page.name for found in ROUTES} >= {
        "README.md", "classification.md", "routing.md", "routing-layouts.md",
    }  # fmt: skip
    assert {found.content["spec"]["engine"] for found in SERVERS} == {
        "VLLM", "LlamaCpp", "Ollama", "External", "FoundryLocal",
    }  # fmt: skip
    assert {page.name for page in PAGES if _profiles(page)} == {"README.md", "hardware.md"}


@cache
def _tests_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    missing = []
    for path, name in _TEST.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        if not file.is_file() or (name and name not in _tests_in(file)):
            missing.append(f"{path}::{name}")
    assert missing == []


@cache
def _anchors(page: Path) -> frozenset[str]:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    headings = (heading.lower().replace(" ", "-") for heading in _HEADING.findall(text))
    return frozenset(re.sub(r"[^\w-]", "", heading) for heading in headings)


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    dead = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []
