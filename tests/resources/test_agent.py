"""The contract of Agents as the operator reads it; an API server judges its CEL rules (e2e/scenarios/agent_invalid)."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from agentfleet.resources.agent import Agent, AgentSpec
from agentfleet.resources.crd import DEFINITIONS, crd
from tests.agents import agent_manifest

REFUSED = Path(__file__).parents[2] / "e2e/scenarios/agent_invalid/refused"
FULL: dict[str, Any] = {
    "description": "Answers customers.",
    "role": "customer-service",
    "instructions": "Be kind.",
    "sampling": {"temperature": "0.1", "maxTokens": 512, "topP": "0.9", "seed": 1, "stop": ["###"]},
    "limits": {"timeout": "30s", "maxIterations": 10, "maxToolCalls": 20, "toolTimeout": "30s"},
    "concurrency": {"max": 10, "queue": 20, "queueTimeout": "10s"},
    "tools": [
        {
            "name": "crm",
            "mcp": {"url": "http://crm.support.svc:8080/mcp", "include": ["lookup_customer"]},
            "approval": {"mode": "Listed", "tools": ["lookup_customer"]},
            "allowedGroups": ["staff"],
        },
        {
            "name": "stock",
            "http": {
                "url": "http://stock.shop.svc/items/{sku}",
                "description": "How many there are.",
                "inputSchema": {"type": "object", "properties": {"sku": {"type": "string"}}},
            },
        },
        {"name": "boss", "agent": {"name": "boss"}},
        {"name": "fn", "python": {"configMapName": "fn"}, "whenOffline": "Queue"},
    ],
    "access": {"default": "Deny", "allow": [{"groups": ["staff"], "serviceAccounts": ["shop:web"]}]},
    "session": {"store": "Redis", "redis": {"url": "redis://r.x.svc:6379/0"}, "compaction": {"strategy": "Sliding"}},
    "protocols": {"mcp": True, "a2a": False},
    "privacy": {"mode": "Offline", "compliance": ["HIPAA"]},
    "guardrails": {
        "input": [{"type": "PII", "action": "Mask", "builtins": ["Email"]}],
        "output": [{"type": "JSONSchema", "schema": {"type": "object"}, "action": "Reject"}],
    },
    "scaling": {"minReplicas": 0, "maxReplicas": 3, "targetConcurrency": 8, "scaleToZeroAfter": "10m"},
    "runtime": {"resources": {"limits": {"memory": "2Gi"}}},
}


def read(**spec: Any) -> AgentSpec:
    return Agent.from_manifest(agent_manifest(**spec)).spec


def test_a_full_spec_is_read_and_written_as_it_stands() -> None:
    spec = read(**FULL)
    assert read(**spec.dump()) == spec
    assert spec.dump()["guardrails"]["output"][0]["schema"] == {"type": "object"}
    assert [tool.name for tool in spec.tools] == ["crm", "stock", "boss", "fn"]


def test_every_field_of_it_is_in_the_crd() -> None:
    [definition] = [each for each in DEFINITIONS if each.kind == "Agent"]
    schema = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert set(FULL) <= set(schema["properties"])
    assert "a2a" in schema["properties"]["protocols"]["properties"], "not a2A, as an alias would be made"
    assert "schema" in schema["properties"]["guardrails"]["properties"]["input"]["items"]["properties"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"sampling": {"temperature": "3"}}, "temperature"),
        ({"sampling": {"temperature": 0.1}}, "temperature"),
        ({"limits": {"timeout": "soon"}}, "timeout"),
        ({"limits": {"timeout": "200h"}}, "timeout"),
        ({"concurrency": {"max": 0}}, "max"),
        ({"tools": [{"name": "CRM", "mcp": {"url": "http://crm/mcp"}}]}, "name"),
        ({"privacy": {"mode": "Secret"}}, "mode"),
        ({"guardrails": {"input": [{"type": "PII", "action": "Delete"}]}}, "action"),
        ({"access": {"allow": [{"serviceAccounts": ["web"]}]}}, "serviceAccounts"),
        ({"session": {"store": "Redis", "redis": {"url": "http://r"}}}, "url"),
    ],
)
def test_what_one_field_shows_is_refused_here_too(spec: dict[str, Any], field: str) -> None:
    """For objects that were stored before the API server knew better."""
    with pytest.raises(ValidationError) as error:
        read(**spec)
    assert error.value.errors()[0]["loc"][-1] in (field, 0)


def test_what_the_api_server_refuses_is_read_all_the_same_or_refused_here() -> None:
    """None of the manifests that CEL refuses may bring the operator down, where it was not in force."""
    for file in sorted(REFUSED.glob("*.yaml")):
        stored = yaml.safe_load(file.read_text(encoding="utf-8"))
        try:
            Agent.from_manifest(agent_manifest() | {"spec": stored["spec"]})
        except ValidationError as error:
            assert error.errors(), file.stem
