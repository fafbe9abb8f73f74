"""The configuration of an Agent's pods: every default is settled in it, and what could not work is refused."""

import dataclasses
from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent_uses import ModelUse, ToolUse, Uses
from agentfleet.planning.agent_config import agent_config
from agentfleet.runtime.config import (
    Access,
    AgentConfig,
    Alert,
    Concurrency,
    Grant,
    Guardrail,
    Guardrails,
    Limits,
    Member,
    Monitoring,
    Privacy,
    Protocols,
    SamplingDefaults,
    SessionStore,
)
from agentfleet.runtime.config_tools import AgentTool, ApprovalRule, Header, HttpTool, McpTool, PythonTool
from agentfleet.settings import Settings
from tests.agents import MCP, agent
from tests.builders import NAMESPACE

USES = Uses(ModelUse("http://phi-model.demo.svc.cluster.local/v1", "phi"), judges_tokens=True)


def config(uses: Uses = USES, **spec: Any) -> AgentConfig:
    return agent_config(agent(**spec), uses, Settings())


def test_an_agent_of_which_nothing_is_said_has_the_documented_defaults() -> None:
    made = config()
    assert made.url == "http://helper-agent.demo.svc.cluster.local"
    assert made.instructions == "You are helper, a helpful assistant."
    assert made.sampling == SamplingDefaults(temperature=0.1, max_tokens=512)
    assert made.limits == Limits(timeout=30, max_iterations=10, max_tool_calls=20, tool_timeout=30)
    assert made.concurrency == Concurrency(max=10, queue=20, queue_timeout=10)
    assert made.session == SessionStore()
    assert made.protocols == Protocols(openai=True, responses=True, a2a=True, mcp=False)
    assert made.privacy == Privacy("Standard", redact_logs=True, audit_content=False)
    assert made.access == Access(
        "Deny", identity_key_file="/var/run/agentfleet/identity/key", token_review=True, audience="agentfleet"
    )
    assert made.drain_timeout == 120


def test_it_is_read_back_as_it_was_written() -> None:
    tools = [MCP, {"name": "fn", "python": {"configMapName": "fn"}}]
    made = config(Uses(USES.model, {"crm": ToolUse("http://crm/mcp")}), tools=tools)
    assert AgentConfig.from_json(made.to_json()) == made


def test_what_is_said_wins() -> None:
    made = config(
        sampling={"temperature": "0", "maxTokens": 64, "topP": "0.5", "seed": 0, "stop": ["#"]},
        limits={"timeout": "1m", "maxIterations": 3, "maxToolCalls": 0, "toolTimeout": "5s"},
        concurrency={"max": 2, "queue": 0, "queueTimeout": "1s"},
        protocols={"openai": False, "mcp": True},
        drain={"timeout": "10s"},
        fallbackReply="Later.",
    )
    assert made.sampling == SamplingDefaults(0.0, 64, 0.5, 0, ("#",))
    assert made.limits == Limits(60, 3, 0, 5)
    assert made.concurrency == Concurrency(2, 0, 1)
    assert made.protocols == Protocols(openai=False, mcp=True)
    assert (made.drain_timeout, made.fallback_reply) == (10, "Later.")


def test_an_empty_fallback_reply_is_none() -> None:
    assert config(fallbackReply="").fallback_reply == ""


def test_the_model_with_its_key_and_authority() -> None:
    model = config(Uses(ModelUse("https://x/v1", "m", routed=True, key_secret="s", ca_config_map="c"))).model
    assert model is not None
    assert (model.url, model.id, model.routed) == ("https://x/v1", "m", True)
    assert (model.key_file, model.ca_file) == ("/var/run/agentfleet/model/apiKey", "/var/run/agentfleet/ca/ca.crt")


def test_instructions_that_are_kept_elsewhere_are_a_file() -> None:
    made = config(instructionsFrom={"configMapKeyRef": {"name": "words", "key": "prompt"}})
    assert (made.instructions, made.instructions_file) == ("", "/var/run/agentfleet/instructions/text")


def test_tools_of_each_kind() -> None:
    header = [{"name": "Authorization", "secretName": "s", "key": "k"}]
    tools = [
        {
            "name": "crm",
            "mcp": {"url": "http://crm", "include": ["a"], "headersFrom": header},
            "approval": {"mode": "Always"},
        },
        {"name": "stock", "http": {"url": "http://stock", "description": "d", "method": "POST", "timeout": "2s"}},
        {"name": "boss", "agent": {"name": "boss", "timeout": "9s"}, "allowedGroups": ["staff"]},
        {"name": "fn", "python": {"configMapName": "fn"}, "whenOffline": "Queue"},
    ]
    found = {"crm": ToolUse("http://crm"), "stock": ToolUse("http://stock", "d"), "boss": ToolUse("http://boss", "b")}
    crm, stock, boss, functions = config(Uses(USES.model, found), tools=tools).tools
    file = "/var/run/agentfleet/headers/crm/0"
    assert crm.use == McpTool("http://crm", include=("a",), headers=(Header("Authorization", file),))
    assert crm.approval == ApprovalRule("Always")
    assert stock.use == HttpTool("http://stock", "d", "POST", timeout=2)
    assert boss.use == AgentTool("http://boss", "b", timeout=9)
    assert boss.allowed_groups == ("staff",)
    assert functions.use == PythonTool(8100)
    assert functions.when_offline == "Queue"


def test_an_agent_of_another_namespace_is_asked_with_a_token() -> None:
    found = {"near": ToolUse("http://near"), "far": ToolUse("http://far")}
    places = {"near": NAMESPACE, "far": "elsewhere"}
    tools = [{"name": name, "agent": {"name": name, "namespace": place}} for name, place in places.items()]
    near, far = config(Uses(USES.model, found), tools=tools).tools
    assert near.use == AgentTool("http://near")
    assert far.use == AgentTool("http://far", token_file="/var/run/agentfleet/token/token")


def test_members_of_an_orchestration() -> None:
    uses = Uses(members=(("a", ToolUse("http://a", "does a")),))
    made = config(uses, model=None, orchestration={"pattern": "Sequential", "members": ["a"]}).orchestration
    assert made is not None
    assert (made.members, made.max_rounds) == ((Member("a", "http://a", "does a"),), 10)


def test_sessions_and_who_may_ask() -> None:
    session = {
        "store": "Redis",
        "redis": {"url": "redis://r/0", "secretName": "s"},
        "ttl": "2h",
        "compaction": {"strategy": "Summarize", "tokens": 512},
    }
    made = config(
        session=session, access={"default": "Allow", "allow": [{"groups": ["g"], "serviceAccounts": ["a:b"]}]}
    )
    assert made.session == SessionStore(
        "Redis", None, "redis://r/0", "/var/run/agentfleet/redis/password", 7200, 1000, "Summarize", 512
    )
    assert (made.access.default, made.access.allow) == ("Allow", (Grant(("g",), ("a:b",)),))
    assert config(session={"store": "PersistentVolume"}).session.folder == "/var/lib/agent/sessions"


def test_what_is_watched() -> None:
    alerts = [
        {"metric": "ResponseTime", "threshold": "2s", "action": "SmallerTier"},
        {"metric": "Memory", "thresholdPercent": 80, "action": "Shed"},
        {"metric": "QueueDepth", "thresholdCount": 5},
    ]
    made = config(
        monitoring={"alerts": alerts, "otlpEndpoint": "http://o:4318"}, runtime={"memorySoftLimitPercent": 70}
    )
    assert made.monitoring == Monitoring(
        alerts=(Alert("ResponseTime", 2, "SmallerTier"), Alert("Memory", 80, "Shed"), Alert("QueueDepth", 5)),
        otlp_endpoint="http://o:4318",
        memory_soft_limit_percent=70,
    )


def test_guardrails() -> None:
    rules = [{"type": "PII", "action": "Mask"}, {"type": "Regex", "pattern": "ab{2}", "action": "Reject"}]
    made = config(guardrails={"input": rules, "output": [{"type": "JSONSchema", "schema": {"a": 1}, "action": "Warn"}]})
    assert made.guardrails == Guardrails(
        input=(
            Guardrail("PII", "Mask", builtins=("Email", "Phone", "CreditCard", "SSN")),
            Guardrail("Regex", "Reject", pattern="ab{2}"),
        ),
        output=(Guardrail("JSONSchema", "Warn", json_schema={"a": 1}),),
    )


@pytest.mark.parametrize("pattern", ["(", "(a+)+$", "(?=a)"])
def test_a_pattern_that_could_not_work_is_refused_before_a_pod_starts(pattern: str) -> None:
    with pytest.raises(InvalidSpec, match=r"guardrails\.input\[0\]"):
        config(guardrails={"input": [{"type": "Regex", "pattern": pattern, "action": "Reject"}]})


# --- privacy and compliance ----------------------------------------------------------------------------------------

TALKATIVE = {"audit": {"content": True}, "monitoring": {"captureContent": True}}


def test_texts_are_kept_where_they_are_asked_for_and_never_by_a_private_agent() -> None:
    assert config(**TALKATIVE).privacy.audit_content
    assert config(**TALKATIVE).monitoring.capture_content
    for privacy in ({"mode": "Private"}, {"mode": "Offline"}, {"compliance": ["GDPR"]}):
        made = config(privacy=privacy, **TALKATIVE)
        assert not made.privacy.audit_content
        assert not made.monitoring.capture_content


@pytest.mark.parametrize("compliance", [["HIPAA"], ["GDPR"], ["HIPAA", "GDPR"]])
def test_compliance_is_private_and_its_logs_are_redacted(compliance: list[str]) -> None:
    made = config(privacy={"compliance": compliance, "redactLogs": False})
    assert made.privacy == Privacy("Private", redact_logs=True, audit_content=False)
    assert config(privacy={"mode": "Offline", "compliance": compliance}).privacy.mode == "Offline"


def test_hipaa_denies_and_masks_what_answers_say_of_persons() -> None:
    made = config(privacy={"compliance": ["HIPAA"]}, access={"default": "Allow"})
    assert made.access.default == "Deny"
    [rule] = made.guardrails.output
    assert (rule.type, rule.action, len(rule.builtins)) == ("PII", "Mask", 4)
    own = {"output": [{"type": "PII", "action": "Reject", "builtins": ["SSN"]}, {"type": "PII", "action": "Warn"}]}
    rules = config(privacy={"compliance": ["HIPAA"]}, guardrails=own).guardrails.output
    assert [(rule.action, rule.builtins) for rule in rules] == [
        ("Reject", ("SSN",)),
        ("Warn", ("Email", "Phone", "CreditCard", "SSN")),
        ("Mask", ("Email", "Phone", "CreditCard")),  # what is only told of is not held back
    ]
    whole = {"output": [{"type": "PII", "action": "Reject"}]}
    [rule] = config(privacy={"compliance": ["HIPAA"]}, guardrails=whole).guardrails.output
    assert rule.action == "Reject"
    assert config(privacy={"compliance": ["GDPR"]}).guardrails.output == ()


def test_equal_specs_are_equal_bytes_and_another_is_not() -> None:
    assert config().to_json() == config().to_json()
    assert config().to_json() != config(role="x").to_json()
    assert dataclasses.replace(config(), revision="a").to_json() != config().to_json()
