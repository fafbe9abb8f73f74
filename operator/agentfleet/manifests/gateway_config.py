"""The ConfigMap that gateways run with: one for each revision, so that pods of two revisions never share one. Pure."""

from collections.abc import Mapping

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.gateway_names import config_name, route_child
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Manifest
from agentfleet.resources.agentroute import AgentRoute

MOST_BYTES = 2**20
"""What the API server takes as data of one ConfigMap."""


def config_map(route: AgentRoute, revision: str, files: Mapping[str, str]) -> Manifest:
    """The ConfigMap; InvalidSpec where the files are more than one can hold."""
    size = sum(len(name) + len(content.encode()) for name, content in files.items())
    if size > MOST_BYTES:
        largest = max(files, key=lambda name: len(files[name]))
        raise InvalidSpec(
            "TooLarge",
            f"The gateway's files are {size} bytes, {largest} most of them; a ConfigMap holds {MOST_BYTES} (1Mi).",
        )
    return route_child(
        route,
        "v1",
        "ConfigMap",
        config_name(route, revision),
        labels={REVISION_LABEL: revision},
        data=dict(sorted(files.items())),
        immutable=True,
    )
