"""The volumes of a gateway's pod, and which container sees what. Pure.

The operator never reads a Secret: pods mount them. HAProxy itself sees no API key and no credential as users wrote
them, only the maps that the decider makes of them in the shared folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from agentfleet.gateway.compile import used
from agentfleet.gateway.compile_decider import MODEL_FOLDERS
from agentfleet.gateway.layout import (
    BUDGETS_FILE,
    CONFIG_FOLDER,
    CREDENTIALS_FOLDER,
    IDENTITY_FILE,
    JWT_FOLDER,
    KEYS_FOLDER,
    RUN_FOLDER,
    TLS_FOLDER,
)
from agentfleet.gateway.resolved import Resolution
from agentfleet.manifests.gateway_identity import IDENTITY_SECRET
from agentfleet.manifests.gateway_names import budgets_name
from agentfleet.manifests.mounts import Mounted
from agentfleet.resources.agentroute import AgentRoute

_BUDGETS, _IDENTITY = PurePosixPath(BUDGETS_FILE), PurePosixPath(IDENTITY_FILE)
_RUN_SIZE = "16Mi"


@dataclass(frozen=True)
class Volume(Mounted):
    """With the containers that mount it."""

    haproxy: bool = False
    decider: bool = False


def gateway_volumes(route: AgentRoute, resolution: Resolution, config: str) -> list[Volume]:
    """All volumes, by folder; `config` is the name of the ConfigMap."""
    every = [*_always(config), *_of_callers(route), *_of_targets(route, resolution), *_of_models(resolution)]
    return sorted(every, key=lambda volume: volume.folder)


def _always(config: str) -> Iterator[Volume]:
    yield Volume("config", CONFIG_FOLDER, {"configMap": {"name": config}}, haproxy=True, decider=True)
    # In memory: hashes of keys and credentials are not for the node's disk.
    run = {"emptyDir": {"medium": "Memory", "sizeLimit": _RUN_SIZE}}
    yield Volume("run", RUN_FOLDER, run, haproxy=True, decider=True, read_only=False)
    # All keys of it: while one is replaced, the other lies beside it.
    yield Volume("identity", str(_IDENTITY.parent), {"secret": {"secretName": IDENTITY_SECRET}}, decider=True)


def _of_callers(route: AgentRoute) -> Iterator[Volume]:
    auth, gateway = route.spec.auth, route.spec.gateway
    if auth and auth.api_keys:
        # Without it nobody is let in; when it comes the decider finds it, without a restart.
        keys = _secret(auth.api_keys.secret_name, optional=True)
        yield Volume("keys", KEYS_FOLDER, keys, decider=True)
    if auth and auth.jwt:
        yield Volume("jwt", JWT_FOLDER, _secret(auth.jwt.public_key_secret_name), decider=True)
    if gateway and gateway.tls:
        # HAProxy looks for the key beside the certificate, under its name and .key.
        pair = _secret(gateway.tls.secret_name, {"tls.crt": "tls.crt", "tls.key": "tls.crt.key"})
        yield Volume("tls", TLS_FOLDER, pair, haproxy=True, decider=True)
    if route.spec.budgets:
        kept = {"configMap": {"name": budgets_name(route), "optional": True}}
        yield Volume("budgets", str(_BUDGETS.parent), kept, decider=True)


def _of_targets(route: AgentRoute, resolution: Resolution) -> Iterator[Volume]:
    for ident, _, found in used(route, resolution):
        credentials = found.endpoint.credentials if found.endpoint else None
        folder = f"{CREDENTIALS_FOLDER}/{ident}"
        if credentials and credentials.secret:
            key = _secret(credentials.secret, {"apiKey": "apiKey"}, optional=True)
            yield Volume(f"credentials-{ident}", folder, key, decider=True)
        if credentials and credentials.ca_config_map:
            items = [{"key": "ca.crt", "path": "ca.crt"}]
            authority = {"configMap": {"name": credentials.ca_config_map, "items": items}}
            yield Volume(f"ca-{ident}", folder, authority, haproxy=True)


def _of_models(resolution: Resolution) -> Iterator[Volume]:
    for field, found in resolution.models.items():
        secret = found.endpoint.credentials.secret if found.endpoint else None
        if secret:
            key = _secret(secret, {"apiKey": "apiKey"}, optional=True)
            yield Volume(
                f"credentials-{MODEL_FOLDERS[field]}", f"{CREDENTIALS_FOLDER}/{MODEL_FOLDERS[field]}", key, decider=True
            )


def _secret(name: str, items: dict[str, str] | None = None, *, optional: bool = False) -> dict[str, Any]:
    source: dict[str, Any] = {"secretName": name}
    if items:
        source["items"] = [{"key": key, "path": path} for key, path in items.items()]
    return {"secret": source | {"optional": True} if optional else source}
