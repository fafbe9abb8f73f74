"""What an Agent may call: MCP servers, HTTP, other agents, Python functions; and who has to allow it."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import (
    Contract,
    DnsLabel,
    DnsName,
    Duration,
    FreeForm,
    atomic_list,
    map_list,
    rules,
    showing,
    string_set,
)
from agentfleet.resources.route_classify import HeaderName

ToolName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
FunctionName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]
Group = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$")]
"""A group of callers, as API keys, tokens and service accounts carry it."""

_URL = "^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9_./~{}]*)?$"
_URL_MESSAGE = "url must be https://host[:port][/path] or http://host[:port][/path]"


class SecretHeader(Contract):
    """A header whose value is kept in a Secret of the Agent's namespace."""

    name: HeaderName
    """Name of the header, such as Authorization."""

    secret_name: DnsName
    """The Secret."""

    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Its key that holds the whole value, such as `Bearer …`."""


class ServerRef(Contract):
    """An object that runs an MCP server, such as kmcp's MCPServer: its Service of the same name is asked."""

    api_version: Annotated[str, Field(min_length=2, max_length=253, pattern=r"^[a-z0-9.-]+(/[a-z0-9]+)?$")]
    """Group and version, such as kagent.dev/v1alpha1; v1 for a Service."""

    kind: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Kind, such as MCPServer or Service."""

    name: DnsName
    """Its name, in the Agent's namespace."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the Service. Default: its only one."""

    path: Annotated[str, Field(max_length=253, pattern=r"^/[-A-Za-z0-9_./]*$")] | None = None
    """Path of the MCP endpoint. Default: /mcp."""


class Mcp(Contract):
    """A server of the Model Context Protocol, by streamable HTTP."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.url) != has(self.serverRef)", "set exactly one of url and serverRef"),
            (
                f"!has(self.url) || self.url.matches('{_URL}')",
                _URL_MESSAGE,
                ".url",
                showing(_URL_MESSAGE, "self.url"),
            ),
            (
                "!has(self.include) || !has(self.exclude) || size(self.include) == 0 || size(self.exclude) == 0",
                "set include or exclude, not both",
                ".exclude",
            ),
        )
    )

    url: Annotated[str, Field(min_length=8, max_length=512)] | None = None
    """Address of its endpoint, such as http://tickets.support.svc:8080/mcp."""

    server_ref: ServerRef | None = None
    """The object that runs it."""

    include: Annotated[tuple[FunctionName, ...], string_set(64)]
    """Tools of the server that are used. Default: all."""

    exclude: Annotated[tuple[FunctionName, ...], string_set(64)]
    """Tools of the server that are not used. Default: none."""

    headers_from: Annotated[tuple[SecretHeader, ...], map_list("name", max_items=8)]
    """Headers that are sent with each request. Default: none."""


class Http(Contract):
    """One HTTP request that the model fills in."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (f"self.url.matches('{_URL}')", _URL_MESSAGE, ".url", showing(_URL_MESSAGE, "self.url")),
        )
    )

    url: Annotated[str, Field(min_length=8, max_length=512)]
    """Address; {name} in the path is filled with the argument of that name."""

    description: Annotated[str, Field(min_length=1, max_length=1024)]
    """What it does, for the model: when to call it, and what comes back."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    """Default: GET."""

    input_schema: FreeForm | None = None
    """JSON Schema of the arguments, an object. Those that are not in the path go into the query with GET and DELETE,
    else into a JSON body. Default: no arguments."""

    headers_from: Annotated[tuple[SecretHeader, ...], map_list("name", max_items=8)]
    """Headers that are sent with each request. Default: none."""

    timeout: Duration | None = None
    """How long the answer may take. Default: limits.toolTimeout."""


class AgentToolRef(Contract):
    """Another Agent, asked over A2A."""

    name: DnsLabel
    """Its name."""

    namespace: DnsLabel | None = None
    """Its namespace; another one than this Agent's needs allowedNamespaces there. Default: this Agent's."""

    timeout: Duration | None = None
    """How long its answer may take. Default: limits.toolTimeout."""


class PythonTools(Contract):
    """Typed Python functions: each public one with type hints and a docstring is a tool. They run in a container of
    their own, without secrets, token or network beyond what the Agent's policy allows."""

    config_map_name: DnsName
    """ConfigMap in the same namespace whose keys NAME.py are the files."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/:@]*$")] | None = None
    """Image that has agentfleet and the packages that the functions import. Default: the operator's runtime
    image, also where runtime.image is set."""


class ToolApproval(Contract):
    """Which calls wait until a person has allowed them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.mode == 'Listed') == (has(self.tools) && size(self.tools) > 0)",
                "mode Listed needs tools, others take none",
                ".tools",
            ),
        )
    )

    mode: Literal["Never", "Always", "Listed"]
    """Never, Always, or Listed: those in tools."""

    tools: Annotated[tuple[FunctionName, ...], string_set(64)]
    """For Listed: names of functions as the entry has them. While one of them is not there, all calls of the entry
    wait."""


_KINDS = ("mcp", "http", "agent", "python")
_COUNT = " + ".join(f"(has(self.{kind}) ? 1 : 0)" for kind in _KINDS)


class AgentTool(Contract):
    """Something that the model may call: exactly one of mcp, http, agent and python."""

    model_config = ConfigDict(
        json_schema_extra=rules((f"{_COUNT} == 1", "set exactly one of mcp, http, agent and python"))
    )

    name: ToolName
    """Its name; the name of the function for http and agent, with _ for -."""

    mcp: Mcp | None = None
    """A server of the Model Context Protocol."""

    http: Http | None = None
    """One HTTP request."""

    agent: AgentToolRef | None = None
    """Another Agent."""

    python: PythonTools | None = None
    """Python functions from a ConfigMap."""

    approval: ToolApproval | None = None
    """Which calls wait until a person has allowed them. Default: none."""

    allowed_groups: Annotated[tuple[Group, ...], string_set(32)]
    """Only callers of one of these groups may have it called. Default: all whom access lets in."""

    when_offline: Literal["Fail", "Queue"] | None = None
    """What happens to a call that finds no connection: Fail, or Queue: it is kept on the pod's data volume, the model
    is told so, and it is sent when the connection is back. Default: Fail."""


Tools = Annotated[tuple[AgentTool, ...], map_list("name", max_items=32)]


class Orchestration(Contract):
    """Several agents behind this one."""

    pattern: Literal["Sequential", "Concurrent", "GroupChat", "Handoff", "Intent"]
    """Sequential (each works on the answer of the one before), Concurrent (all at once, the answers are put together),
    GroupChat (they speak in turn), Handoff (one hands over to another), Intent (the member that the request is meant
    for answers; the last one where that is unclear)."""

    members: Annotated[tuple[DnsLabel, ...], atomic_list(16)]
    """Agents of the same namespace, in order."""

    max_rounds: Annotated[int, Field(ge=1, le=50)] | None = None
    """Most turns of GroupChat and Handoff. Default: 10."""


def orchestration_rules() -> list[tuple[str | None, ...]]:
    """CEL over the spec about orchestration."""
    members: Any = "self.orchestration.members"
    return [
        (f"!has(self.orchestration) || size({members}) > 0", "orchestration needs members", ".orchestration.members"),
        (
            f"!has(self.orchestration) || {members}.all(m, {members}.exists_one(o, o == m))",
            "a member of orchestration is named twice",
            ".orchestration.members",
        ),
        (
            "!has(self.orchestration) || !has(self.tools) || size(self.tools) == 0",
            "an Agent with orchestration calls no tools, its members do: give the tools to a member, or name the"
            " members as tools and leave orchestration out",
            ".tools",
        ),
        (
            "!has(self.orchestration) || !has(self.session) || !has(self.session.compaction)",
            "an Agent with orchestration keeps the last 40 turns: session.compaction is for its members",
            ".session.compaction",
        ),
    ]
