"""AgentRoute + what its references are → what its deciders need (decider.json). Pure."""

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.compile import milliseconds, used
from agentfleet.gateway.compile_layout import budgets
from agentfleet.gateway.decider_config import DeciderConfig, DemandSource, IntentText, ModelEndpoint, TokenCost
from agentfleet.gateway.layout import CREDENTIALS_FOLDER, Peer
from agentfleet.gateway.resolved import Resolution
from agentfleet.resources.agentroute import AgentRoute

INTENT_MODEL, COMPLEXITY_MODEL = "classify.modelRef", "classify.complexity.modelRef"
"""Fields that name models which classify; Resolution.models is keyed by them."""

MODEL_FOLDERS = {INTENT_MODEL: "intent", COMPLEXITY_MODEL: "complexity"}
"""Their folders in CREDENTIALS_FOLDER, where they want a key."""


def decider_config(route: AgentRoute, resolution: Resolution, peers: tuple[Peer, ...]) -> DeciderConfig:
    """The configuration; InvalidSpec where requests would be shown to a cloud before the privacy filter."""
    classify = route.spec.classify
    complexity = classify.complexity if classify else None
    targets = list(used(route, resolution))
    return DeciderConfig(
        intents=tuple(
            IntentText(intent.name, intent.description or "", intent.keywords, intent.examples)
            for intent in (classify.intents if classify else ())
        ),
        intent_method=(classify and classify.intent_method) or "Keywords",
        intent_model=_model(resolution, INTENT_MODEL),
        intent_ms=milliseconds(classify.intent_timeout if classify else None, 500),
        complexity_model=_model(resolution, COMPLEXITY_MODEL),
        complexity_ms=milliseconds(complexity.timeout if complexity else None, 500),
        budgets=budgets(route),
        costs=tuple(
            TokenCost(ident, said.cost.input_per_million, said.cost.output_per_million)
            for ident, said, _ in targets
            if said.cost
        ),
        demand=tuple(
            DemandSource(ident, found.namespace, found.object, found.kind)
            for ident, _, found in targets
            if found.object and found.endpoint and found.endpoint.service
        ),
        peers=peers,
    )


def _model(resolution: Resolution, field: str) -> ModelEndpoint | None:
    """The model that is asked; None where there is none, or none that can be used: then nothing is asked."""
    found = resolution.models.get(field)
    if found is None or found.endpoint is None:
        return None
    if found.location == "Cloud":
        raise InvalidSpec(
            "InvalidSpec",
            f"{field}: ModelServer {found.object} is in a cloud; requests are classified before the privacy filter, so"
            " it must be in the cluster, or have external.location Edge or Cluster.",
        )
    endpoint = found.endpoint
    url = endpoint.url.rstrip("/") if endpoint.url else f"http://{endpoint.service}/v1"
    key_file = f"{CREDENTIALS_FOLDER}/{MODEL_FOLDERS[field]}/apiKey" if endpoint.credentials.secret else None
    return ModelEndpoint(url, endpoint.model, key_file)
