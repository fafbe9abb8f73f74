"""Endpoints outside the cluster: a Foundry Local on a desk, LM Studio, MLX, ONNX Runtime, a cloud."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, DnsName, rules, showing
from agentfleet.resources.model import ConfigMapName

EXTERNAL_ENGINES = ("FoundryLocal", "External")

_URL_MESSAGE = "url must be https://host[:port][/path] or http://host[:port][/path]"


class ExternalAuth(Contract):
    """How to be let in."""

    secret_name: DnsName | None = None
    """Secret in the same namespace whose key `apiKey` is sent as a Bearer token. Default: none is sent."""

    ca_bundle: ConfigMapName | None = None
    """ConfigMap whose key `ca.crt` holds the certificates (PEM) that the endpoint's is checked against.
    Default: the public ones."""


class External(Contract):
    """An OpenAI-compatible endpoint outside the cluster, watched by one small pod in the ModelServer's namespace."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.url.matches('^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9_./]*)?$')",
                _URL_MESSAGE,
                ".url",
                showing(_URL_MESSAGE, "self.url"),
            ),
            (
                "!has(self.auth) || !has(self.auth.secretName) || self.url.startsWith('https://')",
                "a key would be sent in the clear: auth.secretName needs an https:// url",
                ".auth.secretName",
            ),
        )
    )

    url: Annotated[str, Field(min_length=8, max_length=512)]
    """Base address of the OpenAI API, such as https://api.example.com/v1 or http://10.0.3.7:5273/v1. Addresses of the
    node itself, link-local ones and the API server's are refused; redirects are not followed."""

    model: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.:/]*$")] | None = None
    """The model's id at the endpoint. Default: model.uri's alias for FoundryLocal; else, with discover, any."""

    auth: ExternalAuth | None = None
    """Credentials. Default: none."""

    location: Literal["Edge", "Cluster", "Cloud"] | None = None
    """Where the endpoint is, for the privacy rules of routes (AgentRoute), the
    only ones that read it: Edge, Cluster or Cloud. Default: Cloud, the most careful."""

    discover: bool | None = None
    """List all models that the endpoint serves in status.models. Default: true without model, else false."""
