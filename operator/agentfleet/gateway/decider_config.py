"""What the decider needs besides the policy: the file decider.json. Pure data, as types.py.

Texts of users (keywords, examples) are here and in no other file of the gateway. No secret is: API keys come from
mounted Secrets.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agentfleet.gateway.layout import Budget, Peer

Method = Literal["Keywords", "Embedding", "Model"]


@dataclass(frozen=True)
class IntentText:
    """What a request may be about."""

    name: str
    description: str = ""
    keywords: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelEndpoint:
    """A ModelServer that helps to classify."""

    url: str
    """Base address of its OpenAI API, /v1 included, without a slash at the end."""
    model: str
    """Its model id."""
    key_file: str | None = None
    """Mounted API key of the server; None where it asks for none."""


@dataclass(frozen=True)
class DemandSource:
    """The ModelServer or Agent behind a target: its demand is counted for the scaling loop."""

    target: str
    """Id of the target: t0, t1, …"""
    namespace: str
    name: str
    kind: str = "ModelServer"


@dataclass(frozen=True)
class TokenCost:
    """What the tokens of a target cost: US dollars for a million, as decimal strings."""

    target: str
    """Id of the target."""
    input_per_million: str = "0"
    output_per_million: str = "0"


@dataclass(frozen=True)
class DeciderConfig:
    """One AgentRoute's decider."""

    intents: tuple[IntentText, ...] = ()
    """In the order of the spec: the first whose keyword occurs wins."""
    intent_method: Method = "Keywords"
    intent_model: ModelEndpoint | None = None
    """For methods Embedding and Model."""
    intent_ms: int = 500
    complexity_model: ModelEndpoint | None = None
    """For method Model of complexity; None: the decider is never asked for it."""
    complexity_ms: int = 500
    budgets: tuple[Budget, ...] = ()
    costs: tuple[TokenCost, ...] = ()
    """Targets without one cost nothing."""
    demand: tuple[DemandSource, ...] = ()
    peers: tuple[Peer, ...] = ()
    """All gateways of the route, this one too."""

    def to_json(self) -> str:
        """The file decider.json; equal configurations are equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "DeciderConfig":
        """The configuration that `to_json` wrote."""
        data = json.loads(text)
        return cls(
            intents=tuple(_intent(each) for each in data.pop("intents")),
            intent_model=_endpoint(data.pop("intent_model")),
            complexity_model=_endpoint(data.pop("complexity_model")),
            budgets=tuple(Budget(**each) for each in data.pop("budgets")),
            costs=tuple(TokenCost(**each) for each in data.pop("costs")),
            demand=tuple(DemandSource(**each) for each in data.pop("demand")),
            peers=tuple(Peer(**each) for each in data.pop("peers")),
            **data,
        )


def _intent(data: dict[str, Any]) -> IntentText:
    return IntentText(data["name"], data["description"], tuple(data["keywords"]), tuple(data["examples"]))


def _endpoint(data: dict[str, Any] | None) -> ModelEndpoint | None:
    return ModelEndpoint(**data) if data else None
