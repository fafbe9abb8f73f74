"""N ModelServers and what the operator makes of them, as request bodies: made by the project's own builders. Pure.

Bodies are made before any clock runs, for the bare client is to have nothing to do but to write. Only the uid of an
owner is not known then: it is put in place of a placeholder of the same length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from agentfleet.kubecluster import path_of
from agentfleet.objects import FIELD_MANAGER, GROUP, KINDS, VERSION, Manifest, key_of
from agentfleet.planning.health import assess
from agentfleet.planning.interim import status_of
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import plan
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.settings import Settings

_UID = b"00000000-0000-4000-8000-000000000000"
_STATUS_BEFORE = {"observedGeneration": -1}  # the CRD's default


Target = tuple[str, str]
"""What a write is to, as in the audit log: plural, with the sub-resource behind a slash; and the object's name."""


@dataclass(frozen=True)
class Request:
    """One write: path with query, and body."""

    path: str
    body: bytes
    target: Target

    def owned_by(self, uid: str) -> Request:
        """The same with the owner's uid."""
        return replace(self, body=self.body.replace(_UID, uid.encode()))


@dataclass(frozen=True)
class Member:
    """One ModelServer: its creation, and the applies that the operator would answer with, in order."""

    name: str
    create: Request
    applies: tuple[Request, ...]


def fleet(namespace: str, count: int, now: datetime, prefix: str = "m") -> list[Member]:
    """``count`` ModelServers without pods, so that nothing but the API server is busy with them."""
    return [_member(namespace, f"{prefix}-{index:04}", now) for index in range(count)]


def _member(namespace: str, name: str, now: datetime) -> Member:
    written: Manifest = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ModelServer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"engine": "VLLM", "model": {"uri": "hf://acme/chat-7b@main"}, "replicas": 0},
    }
    stored = {**written, "metadata": {**written["metadata"], "uid": _UID.decode(), "generation": 1}}
    server = ModelServer.from_manifest(stored)
    settings = Settings()
    wanted = plan(server, Observed(), settings)
    before = status_of(ModelServerStatus, {"status": _STATUS_BEFORE})
    status = assess(server, before, Observed(), wanted, settings, now).status.dump()
    kind = KINDS["ModelServer"]
    return Member(
        name,
        create=Request(path_of(kind, namespace), json.dumps(written).encode(), (kind.plural, name)),
        applies=(*(_apply(manifest) for manifest in wanted.apply), _apply({**written, "status": status}, "status")),
    )


def _apply(manifest: Manifest, subresource: str = "") -> Request:
    key = key_of(manifest)
    kind = KINDS[key.kind]
    path = path_of(kind, key.namespace, key.name, subresource)
    if subresource:
        manifest = {name: value for name, value in manifest.items() if name != "spec"}
    # As the operator does it: a child is made without force, the status is its own.
    force = "true" if subresource else "false"
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    query = f"fieldManager={FIELD_MANAGER}&force={force}"
    return Request(f"{path}?{query}", json.dumps(manifest).encode(), (resource, key.name))
