"""What protects an Agent and those who use it: access, sessions, privacy, guardrails."""

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field

from agentfleet.resources.agent_tools import Group
from agentfleet.resources.base import Contract, DnsName, Duration, FreeForm, Quantity, atomic_list, rules, string_set

ServiceAccount = Annotated[
    str, Field(min_length=3, max_length=317, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?:[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]
"""NAMESPACE:NAME."""


class Grant(Contract):
    """Callers who may ask: those of any of these groups, and these service accounts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.groups) && size(self.groups) > 0) || (has(self.serviceAccounts) &&"
                " size(self.serviceAccounts) > 0)",
                "a grant needs groups or serviceAccounts",
            ),
        )
    )

    groups: Annotated[tuple[Group, ...], string_set(32)]
    """Groups of API keys, tokens and service accounts."""

    service_accounts: Annotated[tuple[ServiceAccount, ...], string_set(32)]
    """Service accounts, as NAMESPACE:NAME."""


class Access(Contract):
    """Who may ask the agent. Callers are told by a gateway (AgentRoute), or show the token of a service account."""

    default: Literal["Deny", "Allow"] | None = None
    """What holds for callers whom no grant names: Deny, or Allow (whoever proves who they are; and callers of routes
    without auth). Default: Deny."""

    allow: Annotated[tuple[Grant, ...], atomic_list(16)]
    """Who may ask. Default: nobody."""


class Redis(Contract):
    """A Redis, or what speaks its protocol."""

    url: Annotated[
        str,
        Field(
            min_length=9, max_length=253, pattern=r"^rediss?://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?(/[0-9]{1,3})?$"
        ),
    ]
    """Its address, such as redis://sessions.support.svc:6379/0."""

    secret_name: DnsName | None = None
    """Secret whose key `password` is its password; `username` where there is one. Default: none."""


class Volume(Contract):
    """The volume that sessions are kept on."""

    size: Quantity | None = None
    """Default: 1Gi."""

    storage_class_name: DnsName | None = None
    """Default: the cluster's."""

    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """ReadWriteMany where more than one replica shall share it. Default: ReadWriteOnce."""


class Compaction(Contract):
    """What happens to long conversations."""

    strategy: Literal["None", "Sliding", "Summarize"]
    """None, Sliding (the oldest turns go) or Summarize (the model sums up the oldest turns)."""

    tokens: Annotated[int, Field(ge=256, le=1_000_000)] | None = None
    """Estimated tokens of history above which it is done. Default: 4096."""


class Session(Contract):
    """Conversations that last. A session belongs to who is calling and the id they give (header x-session-id, or A2A's
    contextId)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.store) && self.store == 'Redis') == has(self.redis)",
                "store Redis needs redis, others take none",
                ".redis",
            ),
            (
                "!has(self.volume) || (has(self.store) && self.store == 'PersistentVolume')",
                "volume is for store PersistentVolume",
                ".volume",
            ),
        )
    )

    store: Literal["Memory", "PersistentVolume", "Redis"] | None = None
    """Memory (gone with its pod), PersistentVolume or Redis. Default: Memory."""

    redis: Redis | None = None
    """For store Redis."""

    volume: Volume | None = None
    """For store PersistentVolume. Default: 1Gi of the cluster's default class."""

    ttl: Duration | None = None
    """How long a session lasts after its last turn. Default: 1h."""

    max: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most sessions that are kept, in whichever store, of all callers together: in Memory for each replica, in a volume
    and in Redis for all replicas. The one that was used longest ago goes first. Default: 1000."""

    compaction: Compaction | None = None
    """What happens to long conversations. Default: Sliding above 4096 tokens."""


class AgentPrivacy(Contract):
    """What may leave, and what is kept."""

    mode: Literal["Standard", "Private", "Offline"] | None = None
    """Standard, Private (no model in a cloud, also not by a route; no content in logs, traces and audit lines) or
    Offline (Private, and the pods reach nothing but DNS, their model and tools in the cluster). Default: Standard;
    Private with compliance."""

    compliance: Annotated[tuple[Literal["HIPAA", "GDPR"], ...], string_set(2)]
    """Bundles of settings, which docs/agents-security.md lists one by one: HIPAA, GDPR. A field that contradicts one is
    refused. They set what this software does; they are no certificate. Default: none."""

    redact_logs: bool | None = None
    """Keep what guardrails of type PII find, and secrets, out of logs. Default: true."""


Builtin = Literal["Email", "Phone", "CreditCard", "SSN"]
PII_BUILTINS: tuple[Builtin, ...] = get_args(Builtin)
"""What is looked for in personal data."""


class Guardrail(Contract):
    """One check of texts. One that cannot be done counts as found."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("(self.type == 'Regex') == has(self.pattern)", "pattern goes with type Regex", ".pattern"),
            ("(self.type == 'MaxLength') == has(self.maxLength)", "maxLength goes with type MaxLength", ".maxLength"),
            ("(self.type == 'JSONSchema') == has(self.schema)", "schema goes with type JSONSchema", ".schema"),
            (
                "self.type == 'PII' || !has(self.builtins) || size(self.builtins) == 0",
                "builtins go with type PII",
                ".builtins",
            ),
            (
                "self.action != 'Mask' || self.type in ['Regex', 'PII', 'MaxLength']",
                "action Mask is for Regex, PII and MaxLength (which cuts)",
                ".action",
            ),
        )
    )

    type: Literal["Regex", "MaxLength", "JSONSchema", "PII"]
    """Regex (finds pattern), MaxLength (finds longer texts), JSONSchema (finds what does not conform) or PII."""

    pattern: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """For Regex: what must not occur, as in Python's re."""

    max_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """For MaxLength: characters."""

    schema_: Annotated[FreeForm | None, Field(alias="schema")] = None
    """For JSONSchema: the schema (draft 2020-12). The new pods read it: with one that is none they do not start, their
    log says where it is wrong, and the pods of before go on."""

    builtins: Annotated[tuple[Builtin, ...], string_set(4)]
    """For PII: what is looked for. Default: all."""

    action: Literal["Reject", "Mask", "Warn"]
    """Reject, Mask ([EMAIL] for what was found) or Warn; of both there is a line in the audit."""


class Guardrails(Contract):
    """Checks of what goes in and out."""

    input: Annotated[tuple[Guardrail, ...], atomic_list(16)]
    """Of requests, in order. Default: none."""

    output: Annotated[tuple[Guardrail, ...], atomic_list(16)]
    """Of answers, in order, streams too. Default: none."""
