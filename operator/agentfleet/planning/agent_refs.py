"""References of an Agent to other agentfleet objects: they have to be there, and to let its namespace in. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from agentfleet.errors import InvalidSpec
from agentfleet.objects import Key, Manifest
from agentfleet.planning.allowed import lets_in
from agentfleet.planning.route_cycles import Lookup


@dataclass(frozen=True)
class Refs:
    """Looks references from one namespace up."""

    own: str
    """The namespace."""
    lookup: Lookup
    labels: Mapping[str, str]
    """Those of the namespace."""

    def found(self, field: str, key: Key) -> Manifest:
        """An object that is there."""
        manifest = self.lookup(key)
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            raise InvalidSpec("ReferenceNotFound", f"{field}: there is no {key}.")
        return manifest

    def allowed(self, field: str, key: Key) -> Manifest:
        """An object that is there and lets the namespace in."""
        manifest = self.found(field, key)
        if not lets_in(manifest, self.labels, same=key.namespace == self.own):
            raise InvalidSpec("RefNotPermitted", f"{field}: {key} does not let namespace {self.own} in.")
        return manifest
