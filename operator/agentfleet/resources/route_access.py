"""Who may use an AgentRoute, and how much: keys, tokens of an identity provider, limits and budgets."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, DnsName, atomic_list, rules, string_set
from agentfleet.resources.route_targets import Decimal

Scope = Literal["Route", "Key", "Group"]
Claim = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][-A-Za-z0-9_]*$")]


class ApiKeys(Contract):
    """API keys of clients."""

    secret_name: DnsName
    """Secret of the same namespace. Each of its keys is the id of a client; its value is the API key itself or
    `sha256:` and its hash in hexadecimal, then, after a space, `groups=a,b` where the client has groups. Gateways read
    it as a file and keep only hashes; keys that are added or removed count within two minutes, without a restart."""


class Jwt(Contract):
    """Tokens of an identity provider, as `Authorization: Bearer`."""

    issuer: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
    """The claim `iss` that tokens must have."""

    audiences: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[!-~]+$")], ...],
                         string_set(8)]  # fmt: skip
    """Values of `aud`, one of which tokens must have. Default: any."""

    public_key_secret_name: DnsName
    """Secret of the same namespace whose keys end in .pem: up to four public keys that tokens may be signed with. When
    they change the gateways are replaced, one by one."""

    algorithm: Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"] | None = None
    """The one algorithm that is taken. Default: RS256."""

    groups_claim: Claim | None = None
    """Claim that lists the caller's groups. Default: groups."""

    subject_claim: Claim | None = None
    """Claim that names the caller, who is then called jwt:VALUE. Default: sub."""


class Auth(Contract):
    """How callers are known. With both kinds either will do."""

    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.apiKeys) || has(self.jwt)", "auth needs apiKeys or jwt")),
    )

    api_keys: ApiKeys | None = None
    """API keys. Default: none are taken."""

    jwt: Jwt | None = None
    """Tokens of an identity provider. Default: none are taken."""


class Limit(Contract):
    """So many requests or tokens in a time; more are answered 429 with Retry-After, and do not count."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.requests) != has(self.tokens)", "set exactly one of requests and tokens"),
        )
    )

    scope: Scope
    """Route (all together), Key (each caller) or Group (each group; a caller counts in all of its own)."""

    requests: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Requests."""

    tokens: Annotated[int, Field(ge=1, le=10_000_000_000)] | None = None
    """Tokens of requests and answers. A request counts as estimated (bytes by four) until its answer tells."""

    per: Literal["Second", "Minute", "Hour"]
    """The time, as a sliding window. Counts are shared by the gateways within a second or so: a burst at all of them
    at once may pass up to once more."""


class Budget(Contract):
    """So much in a calendar day or month (UTC). Counts are kept over restarts, to the minute."""

    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.tokens) != has(self.usd)", "set exactly one of tokens and usd")),
    )

    scope: Scope
    """Route, Key or Group, as for limits."""

    tokens: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = None
    """Tokens of requests and answers."""

    usd: Decimal | None = None
    """US dollars by targets' cost, as a decimal string such as "250.00"."""

    window: Literal["Day", "Month"]
    """Day or Month."""

    on_exceeded: Literal["Reject", "SmallerTier", "LocalOnly"]
    """Reject (429), SmallerTier (only targets of tier Lightweight, as long as any of them can answer) or LocalOnly (no
    Cloud targets)."""


Limits = Annotated[tuple[Limit, ...], atomic_list(6)]
Budgets = Annotated[tuple[Budget, ...], atomic_list(6)]
