"""Variables of an Agent's container that come from Secrets and ConfigMaps, as files beside it. Pure.

Kubernetes reads such a variable once, when the container begins. The files follow their source, so the pod sees that
one has changed since (runtime/environment.py) and tells at /readyz; the operator, which reads no Secret, then replaces
the pods (planning/agent_renewal.py).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentfleet.manifests.mounts import Mounted

ENVIRONMENT_FOLDER = "/var/run/agentfleet/environment"
RENEWED_ANNOTATION = "agentfleet.dev/environment-renewed"
"""On the pod template: when pods last had to be replaced for it."""
_FILE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""Kubernetes lets pod templates name variables in other ways too, of which not all are names of files."""
_SOURCES = {"secretKeyRef": "secret", "configMapKeyRef": "configMap"}


def environment_volume(variables: Iterable[Mapping[str, Any]]) -> Mounted | None:
    """The folder with a file for each of a container's `env` that has a changing source; None where none has."""
    sources = {variable["name"]: source for variable in variables for source in _sources(variable)}
    if not sources:
        return None
    return Mounted("agentfleet-environment", ENVIRONMENT_FOLDER, {"projected": {"sources": list(sources.values())}})


def _sources(variable: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is no reference at all is left to the API server, which says so of the variable itself."""
    origin = variable.get("valueFrom") if _FILE_NAME.fullmatch(variable["name"]) else None
    if not isinstance(origin, Mapping):
        return
    for field, source in _SOURCES.items():
        ref = origin.get(field)
        if isinstance(ref, Mapping) and ref.get("name") and ref.get("key"):
            items = [{"key": ref["key"], "path": variable["name"]}]
            # optional: what is missing is told of the variable, as without these files
            yield {source: {"name": ref["name"], "items": items, "optional": True}}
