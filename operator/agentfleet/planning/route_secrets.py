"""Secrets that gateways of an AgentRoute have found empty, in words. Pure.

The operator reads no Secret. Deciders see what is mounted, and tell folders without a usable key (decider/mounted.py):
gateways of the same revision mean the same Secrets by them.
"""

from collections.abc import Iterator

from agentfleet.gateway.compile import used
from agentfleet.gateway.compile_decider import MODEL_FOLDERS
from agentfleet.gateway.layout import KEYS
from agentfleet.gateway.resolved import Resolution, Resolved
from agentfleet.resources.agentroute import AgentRoute

JWT = "jwt"
_FOUND = "Gateways find it by themselves, within two minutes."


def without_keys(route: AgentRoute, resolution: Resolution, lacking: frozenset[str]) -> str:
    """What is wrong with them, and what follows; empty where all is well."""
    said = [words for folder, words in _every(route, resolution) if folder in lacking]
    return " ".join([*said, _FOUND]) if said else ""


def _every(route: AgentRoute, resolution: Resolution) -> Iterator[tuple[str, str]]:
    """Folder → what to say, for each Secret."""
    auth = route.spec.auth
    if auth and auth.api_keys:
        name = auth.api_keys.secret_name
        yield KEYS, f"auth.apiKeys: Secret {name} is not there or has no usable key, so no API key is let in (401)."
    if auth and auth.jwt:
        name = auth.jwt.public_key_secret_name
        yield JWT, f"auth.jwt: Secret {name} has no sound public key, so no new gateway could start."
    for ident, target, found in used(route, resolution):
        for name in _secret(found):
            yield ident, f"Target {target.name}: Secret {name} is not there or has no usable key apiKey (so 401)."
    for field, found in resolution.models.items():
        for name in _secret(found):
            yield MODEL_FOLDERS[field], f"{field}: Secret {name} is not there or has no usable key apiKey."


def _secret(found: Resolved) -> Iterator[str]:
    if found.endpoint and found.endpoint.credentials.secret:
        yield found.endpoint.credentials.secret
