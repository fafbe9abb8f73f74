"""An Agent and what it uses → the configuration of its pods, with every default settled. Pure."""

from agentfleet.durations import parse_duration
from agentfleet.errors import InvalidSpec
from agentfleet.gateway.patterns import check
from agentfleet.manifests.agent_environment import ENVIRONMENT_FOLDER
from agentfleet.manifests.agent_names import AGENT_TLS_PORT, agent_address
from agentfleet.manifests.agent_pod import drain_seconds, tool_ports
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.agent_volumes import (
    DATA_FOLDER,
    IDENTITY_KEY_FILE,
    INSTRUCTIONS_FILE,
    MODEL_CA_FILE,
    MODEL_KEY_FILE,
    REDIS_PASSWORD_FILE,
    SESSIONS_FOLDER,
    TLS_CERT_FILE,
    TLS_KEY_FILE,
    TOKEN_FILE,
    asks_elsewhere,
    authority_file,
    has_claim,
    header_file,
    headers_of,
)
from agentfleet.resources import agent_guards, agent_runtime, agent_tools
from agentfleet.resources.agent import Agent, AgentSpec
from agentfleet.resources.compliance import PrivacySettings, privacy_in_force
from agentfleet.runtime import config, config_tools
from agentfleet.settings import Settings


def agent_config(agent: Agent, uses: Uses, settings: Settings, revision: str = "") -> config.AgentConfig:
    """The configuration; InvalidSpec where something in it could not work."""
    spec, defaults = agent.spec, config.AgentConfig("", "", "", "")
    privacy = privacy_in_force(spec)
    return config.AgentConfig(
        name=agent.name,
        namespace=agent.namespace,
        url=agent_address(agent.name, agent.namespace, settings.cluster_domain, tls=bool(spec.tls)),
        revision=revision,
        description=spec.description or "",
        role=spec.role or "",
        instructions=spec.instructions or _introduction(agent),
        instructions_file=INSTRUCTIONS_FILE if spec.instructions_from else None,
        model=_model(uses),
        sampling=_sampling(spec.sampling),
        limits=_limits(spec.limits),
        concurrency=_concurrency(spec.concurrency),
        tools=tuple(_tool(agent, tool, uses) for tool in spec.tools),
        access=_access(spec, privacy, uses),
        session=_session(agent),
        protocols=_protocols(spec.protocols),
        privacy=config.Privacy(privacy.mode, privacy.redact_logs, privacy.audit_content),
        guardrails=config.Guardrails(
            input=_guardrails("input", spec.guardrails.input if spec.guardrails else ()),
            output=_guardrails("output", privacy.output),
        ),
        fallback_reply=defaults.fallback_reply if spec.fallback_reply is None else spec.fallback_reply,
        orchestration=_orchestration(spec.orchestration, uses),
        monitoring=_monitoring(spec, privacy),
        tls=config.Tls(TLS_CERT_FILE, TLS_KEY_FILE, AGENT_TLS_PORT) if spec.tls else None,
        data_folder=DATA_FOLDER,
        environment_folder=ENVIRONMENT_FOLDER,
        drain_timeout=drain_seconds(agent),
    )


def _introduction(agent: Agent) -> str:
    return "" if agent.spec.instructions_from else f"You are {agent.name}, a helpful assistant."


def _model(uses: Uses) -> config.ModelEndpoint | None:
    model = uses.model
    if model is None:
        return None
    return config.ModelEndpoint(
        url=model.url,
        id=model.id,
        key_file=MODEL_KEY_FILE if model.key_secret else None,
        routed=model.routed,
        ca_file=MODEL_CA_FILE if model.ca_config_map else None,
    )


def _sampling(asked: agent_runtime.Sampling | None) -> config.SamplingDefaults:
    if asked is None:
        return config.SamplingDefaults()
    usual = config.SamplingDefaults()
    return config.SamplingDefaults(
        temperature=usual.temperature if asked.temperature is None else float(asked.temperature),
        max_tokens=asked.max_tokens or usual.max_tokens,
        top_p=None if asked.top_p is None else float(asked.top_p),
        seed=asked.seed,
        stop=asked.stop,
    )


def _limits(asked: agent_runtime.RunLimits | None) -> config.Limits:
    usual = config.Limits()
    if asked is None:
        return usual
    return config.Limits(
        timeout=_seconds(asked.timeout, usual.timeout),
        max_iterations=asked.max_iterations or usual.max_iterations,
        max_tool_calls=usual.max_tool_calls if asked.max_tool_calls is None else asked.max_tool_calls,
        tool_timeout=_seconds(asked.tool_timeout, usual.tool_timeout),
    )


def _concurrency(asked: agent_runtime.AgentConcurrency | None) -> config.Concurrency:
    usual = config.Concurrency()
    if asked is None:
        return usual
    return config.Concurrency(
        max=asked.max or usual.max,
        queue=usual.queue if asked.queue is None else asked.queue,
        queue_timeout=_seconds(asked.queue_timeout, usual.queue_timeout),
    )


def _tool(agent: Agent, tool: agent_tools.AgentTool, uses: Uses) -> config_tools.ToolEntry:
    approval = tool.approval
    return config_tools.ToolEntry(
        name=tool.name,
        use=_use(agent, tool, uses),
        approval=config_tools.ApprovalRule(approval.mode, approval.tools) if approval else config_tools.ApprovalRule(),
        allowed_groups=tool.allowed_groups,
        when_offline=tool.when_offline or "Fail",
    )


def _use(
    agent: Agent, tool: agent_tools.AgentTool, uses: Uses
) -> config_tools.McpTool | config_tools.HttpTool | config_tools.AgentTool | config_tools.PythonTool:
    headers = tuple(
        config_tools.Header(header.name, header_file(tool.name, index)) for index, header in enumerate(headers_of(tool))
    )
    if tool.python:
        return config_tools.PythonTool(port=tool_ports(agent)[tool.name])
    if tool.name not in uses.tools:
        raise InvalidSpec("InvalidSpec", f"tools.{tool.name}: set exactly one of mcp, http, agent and python.")
    found = uses.tools[tool.name]
    if tool.mcp:
        return config_tools.McpTool(found.url, tool.mcp.include, tool.mcp.exclude, headers)
    if tool.agent:
        return config_tools.AgentTool(
            found.url,
            found.description,
            _if_asked(tool.agent.timeout),
            _authority(found.ca_config_map),
            TOKEN_FILE if asks_elsewhere(agent, tool) else None,
        )
    http = tool.http
    return config_tools.HttpTool(
        url=found.url,
        description=found.description,
        method=(http and http.method) or "GET",
        input_schema=http.input_schema if http else None,
        headers=headers,
        timeout=_if_asked(http.timeout if http else None),
    )


def _authority(config_map: str | None) -> str | None:
    return authority_file(config_map) if config_map else None


def _access(spec: AgentSpec, privacy: PrivacySettings, uses: Uses) -> config.Access:
    allow = spec.access.allow if spec.access else ()
    return config.Access(
        default=privacy.access_default,
        allow=tuple(config.Grant(grant.groups, grant.service_accounts) for grant in allow),
        identity_key_file=IDENTITY_KEY_FILE,
        token_review=uses.judges_tokens,
    )


def _session(agent: Agent) -> config.SessionStore:
    asked, usual = agent.spec.session, config.SessionStore()
    if asked is None:
        return usual
    compaction = asked.compaction
    return config.SessionStore(
        store=asked.store or usual.store,
        folder=SESSIONS_FOLDER if has_claim(agent) else None,
        redis_url=asked.redis.url if asked.redis else None,
        redis_password_file=REDIS_PASSWORD_FILE if asked.redis and asked.redis.secret_name else None,
        ttl=_seconds(asked.ttl, usual.ttl),
        max=asked.max or usual.max,
        compaction=compaction.strategy if compaction else usual.compaction,
        compaction_tokens=(compaction and compaction.tokens) or usual.compaction_tokens,
    )


def _protocols(asked: agent_runtime.Protocols | None) -> config.Protocols:
    if asked is None:
        return config.Protocols()
    return config.Protocols(
        openai=asked.openai is not False,
        responses=asked.responses is not False,
        a2a=asked.a2a is not False,
        mcp=bool(asked.mcp),
    )


def _guardrails(side: str, asked: tuple[agent_guards.Guardrail, ...]) -> tuple[config.Guardrail, ...]:
    return tuple(_guardrail(f"guardrails.{side}[{index}]", rule) for index, rule in enumerate(asked))


def _guardrail(field: str, rule: agent_guards.Guardrail) -> config.Guardrail:
    if rule.pattern is not None:
        try:
            check(rule.pattern)
        except ValueError as error:
            raise InvalidSpec("InvalidSpec", f"{field}: {error}.") from error
    return config.Guardrail(
        type=rule.type,
        action=rule.action,
        pattern=rule.pattern,
        max_length=rule.max_length,
        json_schema=rule.schema_,
        builtins=(rule.builtins or agent_guards.PII_BUILTINS) if rule.type == "PII" else (),
    )


def _orchestration(asked: agent_tools.Orchestration | None, uses: Uses) -> config.Orchestration | None:
    if asked is None:
        return None
    members = tuple(
        config.Member(name, found.url, found.description, _authority(found.ca_config_map))
        for name, found in uses.members
    )
    return config.Orchestration(asked.pattern, members, asked.max_rounds or 10)


def _monitoring(spec: AgentSpec, privacy: PrivacySettings) -> config.Monitoring:
    asked, soft = spec.monitoring, spec.runtime.memory_soft_limit_percent if spec.runtime else None
    return config.Monitoring(
        alerts=tuple(_alert(alert) for alert in asked.alerts) if asked else (),
        otlp_endpoint=asked.otlp_endpoint if asked else None,
        capture_content=privacy.capture_content,
        memory_soft_limit_percent=soft or config.Monitoring().memory_soft_limit_percent,
    )


def _alert(asked: agent_runtime.AgentAlert) -> config.Alert:
    value = parse_duration(asked.threshold) if asked.threshold else asked.threshold_percent or asked.threshold_count
    if value is None:
        raise InvalidSpec("InvalidSpec", f"monitoring.alerts: {asked.metric} needs a threshold.")
    return config.Alert(asked.metric, float(value), asked.action)


def _seconds(asked: str | None, otherwise: float) -> float:
    return parse_duration(asked) if asked else otherwise


def _if_asked(asked: str | None) -> float | None:
    return parse_duration(asked) if asked else None
